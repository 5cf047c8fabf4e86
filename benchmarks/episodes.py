"""N-way K-shot episodes on the features of a frozen checkpoint: one row of the csv for each solver and number of shots.

    python benchmarks/episodes.py --data FOLDER --set omniglot --model FOLDER/models/mobilenetv2_100_timm --size 96
    python benchmarks/episodes.py --data FOLDER --set trec --pooling mean

FOLDER holds `omniglot_small/train.parquet` (136 characters, 20 drawings of each) or `trec/train.parquet`. Nothing is trained;
features are read once, and all solvers see the same episodes.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd
from results_file import add

SETS = {"omniglot": "image-classification", "trec": "text-classification"}


def rows_of(data: Path, name: str, most: int) -> tuple[Any, str]:
    """The rows as a Dataset with the column `label`, and the name of their input column."""
    from datasets import Dataset, Image

    if name == "trec":
        frame = pd.read_parquet(data / "trec" / "train.parquet").drop_duplicates("text")
        frame = frame.sample(min(most, len(frame)), random_state=0)
        frame["label"] = frame["coarse_label"].astype(str)
        return Dataset.from_pandas(frame[["text", "label"]], preserve_index=False), "text"
    frame = pd.read_parquet(data / "omniglot_small" / "train.parquet")
    frame["label"] = frame["alphabet"] + " " + frame["character"]
    rows = Dataset.from_pandas(frame[["image", "label"]], preserve_index=False)
    return rows.cast_column("image", Image()), "image"


def processor_of(model: str, size: int | None) -> Any:
    """The checkpoint's image processor, a timm one's for smaller images if asked."""
    from transformers import AutoConfig, AutoImageProcessor

    if size is None:
        return None
    told = AutoConfig.from_pretrained(model).pretrained_cfg
    return type(AutoImageProcessor.from_pretrained(model))(
        pretrained_cfg=told | {"input_size": [3, size, size]}
    )


def main() -> None:
    """Print and append the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=list(SETS), default="omniglot")
    parser.add_argument("--model", help="Hub id or folder; for texts MiniLM by default")
    parser.add_argument("--out", type=Path, help="csv to append to")
    parser.add_argument("--ways", type=int, default=5)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--queries", type=int, default=15)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--pooling", choices=["own", "mean"], default="own")
    parser.add_argument("--size", type=int, help="pixels a side, for checkpoints of timm")
    parser.add_argument("--rows", type=int, default=1_000, help="at most so many texts")
    parser.add_argument("--seed", type=int, default=42)
    asked = parser.parse_args()
    from hf_transfer import evaluate_episodes, minilm
    from hf_transfer.embedded import hub_id_of

    rows, column = rows_of(asked.data, asked.set, asked.rows)
    model = asked.model or (minilm() if asked.set == "trec" else parser.error("images need --model"))
    started = time.monotonic()
    found = evaluate_episodes(
        SETS[asked.set], model, rows, processor=processor_of(model, asked.size), ways=asked.ways,
        shots=asked.shots, queries=asked.queries, episodes=asked.episodes, pooling=asked.pooling,
        seed=asked.seed, label_column="label", **{f"{column}_column": column},
    )  # fmt: skip
    seconds = round(time.monotonic() - started, 1)
    for key in [key for key in found if key.endswith("accuracy")]:
        solver, shots, _ = key.split("_")
        row: dict[str, Any] = {
            "set": asked.set,
            "model": Path(hub_id_of(model) or model).name,
            "pooling": asked.pooling,
        }
        row |= {"ways": asked.ways, "shots": shots.removesuffix("shot"), "episodes": asked.episodes}
        row |= {"solver": solver, "accuracy": round(found[key], 4)}
        row |= {end: round(found[f"{key}_{end}"], 4) for end in ("ci95_low", "ci95_high")} | {
            "seconds": seconds
        }
        print(row, flush=True)
        if asked.out:
            add(asked.out, row)


if __name__ == "__main__":
    main()
