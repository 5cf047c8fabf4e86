"""Strategies on a folder of images, over seeds: one row of the csv for each run, and a run that is there is skipped.

    python benchmarks/images.py --data FOLDER --models MODEL [MODEL ...] --out docs/images.csv

FOLDER holds train and validation folders of classes. `scratch` is `full` on a model with the architecture of MODEL and
random weights, for as many epochs.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

from results_file import add, held

STRATEGIES = ("feature-extraction", "full", "lp-ft", "lora", "scratch")
FIELDS = ("model", "strategy", "seed", "accuracy", "f1_macro", "seconds")


def untrained(model: Path, labels: int, seed: int) -> tuple[Any, Any]:
    """The architecture of `model` with random weights, and its processor."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification, set_seed

    set_seed(seed)
    config = AutoConfig.from_pretrained(str(model), num_labels=labels)
    return AutoModelForImageClassification.from_config(config), AutoImageProcessor.from_pretrained(str(model))


def measured(model: Path, data: Path, strategy: str, seed: int, folder: str) -> dict[str, float]:
    """The results of one run."""
    from hf_transfer import finetune

    args = {"output_dir": folder, "report_to": "none", "disable_tqdm": True, "save_total_limit": 1}
    what: Any = {"model": str(model)}
    if strategy == "scratch":
        network, processor = untrained(model, sum(p.is_dir() for p in (data / "train").iterdir()), seed)
        what = {"model": network, "processor": processor}
    run = finetune(
        "image-classification", dataset=data, args=args, seed=seed, skip_reload_check=True, probe=False,
        peft_config="lora" if strategy == "lora" else None,
        strategy="full" if strategy in ("lora", "scratch") else strategy, overwrite_output_dir=True, **what,
    )  # fmt: skip
    return run.metrics


def main() -> None:
    """Run what the csv does not hold yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    asked = parser.parse_args()
    done = held(asked.out, FIELDS[:3])
    for seed, strategy, model in product(asked.seeds, asked.strategies, asked.models):
        if (model.name, strategy, str(seed)) in done:
            continue
        folder, started = tempfile.mkdtemp(), time.monotonic()
        found = measured(model, asked.data, strategy, seed, folder)
        shutil.rmtree(folder)
        row: dict[str, Any] = {"model": model.name, "strategy": strategy, "seed": seed}
        row |= {key: round(found[f"eval_{key}"], 4) for key in ("accuracy", "f1_macro")}
        row["seconds"] = round(time.monotonic() - started, 1)
        add(asked.out, row, FIELDS)
        print(row, flush=True)


if __name__ == "__main__":
    main()
