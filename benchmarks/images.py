"""Strategies on a folder of images, over seeds: one row of the csv for each run, and a run that is there is skipped.

    python benchmarks/images.py --data FOLDER --models MODEL [MODEL ...] --out docs/images.csv

FOLDER holds train and validation folders of classes. `scratch` is `full` on a model with the architecture of MODEL and
random weights, for as many epochs. The weights lie channels last, which CPUs and GPUs convolve faster; `--bf16` is faster
still where the processor has instructions for it.
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
SETTINGS = ("num_train_epochs", "learning_rate")  # the defaults' unless given
GIVEN = (*SETTINGS, "head_learning_rate", "bf16")
FIELDS = ("model", "strategy", "seed", *GIVEN, "accuracy", "f1_macro", "seconds")


def parts(model: Path, labels: int, seed: int, scratch: bool) -> dict[str, Any]:
    """The model, with random weights if asked for, and its processor."""
    import torch
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification, set_seed

    set_seed(seed)
    if scratch:
        config = AutoConfig.from_pretrained(str(model), num_labels=labels)
        network = AutoModelForImageClassification.from_config(config)
    else:
        network = AutoModelForImageClassification.from_pretrained(
            str(model), num_labels=labels, ignore_mismatched_sizes=True, dtype="float32"
        )
    network = network.to(memory_format=torch.channels_last)
    return {"model": network, "processor": AutoImageProcessor.from_pretrained(str(model))}


def measured(asked: Any, model: Path, strategy: str, seed: int, folder: str) -> dict[str, float]:
    """The results of one run."""
    from hf_transfer import finetune

    args = {"output_dir": folder, "report_to": "none", "disable_tqdm": True, "save_total_limit": 1}
    args |= {"bf16": True, "use_cpu": True} if asked.bf16 else {}
    if strategy != "feature-extraction":
        args |= {name: value for name in SETTINGS if (value := getattr(asked, name)) is not None}
    more = {} if strategy == "feature-extraction" else {"head_learning_rate": asked.head_learning_rate}
    labels = sum(p.is_dir() for p in (asked.data / "train").iterdir())
    run = finetune(
        "image-classification", dataset=asked.data, args=args, seed=seed, skip_reload_check=True, probe=False,
        peft_config="lora" if strategy == "lora" else None,
        strategy="full" if strategy in ("lora", "scratch") else strategy, overwrite_output_dir=True,
        **parts(model, labels, seed, strategy == "scratch"), **more,
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
    parser.add_argument("--num_train_epochs", type=float)
    parser.add_argument("--learning_rate", type=float)
    parser.add_argument("--head_learning_rate", type=float)
    parser.add_argument("--bf16", action="store_true", help="on a CPU")
    asked = parser.parse_args()
    done = held(asked.out, FIELDS[:7])
    for seed, strategy, model in product(asked.seeds, asked.strategies, asked.models):
        solved = strategy == "feature-extraction"
        given = {n: "" if (value := getattr(asked, n)) is None or solved else value for n in GIVEN}
        row: dict[str, Any] = {"model": model.name, "strategy": strategy, "seed": seed} | given
        if tuple(map(str, row.values())) in done:
            continue
        folder, started = tempfile.mkdtemp(), time.monotonic()
        found = measured(asked, model, strategy, seed, folder)
        shutil.rmtree(folder)
        row |= {key: round(found[f"eval_{key}"], 4) for key in ("accuracy", "f1_macro")}
        row["seconds"] = round(time.monotonic() - started, 1)
        add(asked.out, row, FIELDS)
        print(row, flush=True)


if __name__ == "__main__":
    main()
