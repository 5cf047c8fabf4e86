"""Strategies side by side on few and on many rows a label: one row of the csv for each run, and a run that is there is skipped.

    python benchmarks/strategies.py --data FOLDER --out docs/strategies.csv
    python benchmarks/strategies.py --out docs/strategies.csv --summary

FOLDER holds `sst2/` and `trec/`, or other sets that `--sets` names, with train.parquet and validation.parquet. Of each training file `rows` rows a label are
drawn by the seed to train on and as many (at most 50 a label) to choose on; the validation file, of which at most 500 rows are
drawn once for all runs, is the test that is reported. Epochs are the recipe's: about 8,000 rows seen, 3 to 20 epochs.
`--strategies` takes PEFT methods too, and a rate other than the default behind an @: `pfeiffer@1e-3`.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from results_file import add, held

from hf_transfer.strategies.peft_methods import METHODS as PEFT

SETS = {  # the columns of the text and of its label
    "sst2": ("sentence", "label"),
    "trec": ("text", "coarse_label"),
    "tweet_eval_emotion": ("text", "label"),
    "scicite": ("text", "label"),
    "ag_news": ("text", "label"),
}
GRID = ["sst2", "trec"]  # without --sets
STRATEGIES = (
    *("feature-extraction", "full", "lp-ft", "partial:2", "gradual", "two-phase", "bitfit", "lora"),
    *("norms", "prototypes", "ridge", "knn", "contrastive", "feature-extraction+mean"),
)
FIELDS = ("set", "rows", "seed", "strategy", "accuracy", "f1_macro", "validation", "seconds")


def drawn(data: Path, name: str, rows: int, seed: int) -> dict[str, pd.DataFrame]:
    """`train`, `validation` and `test` with the columns text and label."""
    text, label = SETS[name]
    whole, test = (pd.read_parquet(data / name / f"{split}.parquet") for split in ("train", "validation"))
    whole, test = (
        frame.rename(columns={text: "text", label: "label"})[["text", "label"]] for frame in (whole, test)
    )
    whole = whole[~whole["text"].isin(set(test["text"]))].drop_duplicates("text")
    shuffled = whole.sample(frac=1, random_state=seed)
    place = shuffled.groupby("label").cumcount()
    train, held = shuffled[place < rows], shuffled[(place >= rows) & (place < rows + min(50, rows))]
    return {"train": train, "validation": held, "test": test.sample(min(500, len(test)), random_state=0)}


def measured(frames: dict[str, pd.DataFrame], strategy: str, seed: int, folder: str) -> dict[str, float]:
    """The results of one run."""
    from datasets import Dataset, DatasetDict

    from hf_transfer import finetune, minilm

    splits = {
        split: Dataset.from_pandas(frame.astype({"label": str}), preserve_index=False)
        for split, frame in frames.items()
    }
    args: dict[str, Any] = {"output_dir": folder, "report_to": "none", "disable_tqdm": True, "save_strategy": "no",
            "load_best_model_at_end": False, "eval_strategy": "no"}  # fmt: skip
    strategy, _, rate = strategy.partition("@")
    args |= {"learning_rate": float(rate)} if rate else {}
    strategy, _, pooling = strategy.partition("+")
    peft = strategy if strategy in PEFT else None
    run = finetune(
        "text-classification", minilm(), DatasetDict(splits), args=args, seed=seed, peft_config=peft,
        strategy="full" if peft else strategy, pooling=pooling or None, skip_reload_check=True, probe=False, overwrite_output_dir=True,
        text_column="text", label_column="label",
    )  # fmt: skip
    return run.metrics


def show(out: Path) -> None:
    """Mean accuracy over seeds and its standard error, in Markdown: a row a strategy, a column a set and size."""
    grouped = pd.read_csv(out).groupby(["strategy", "set", "rows"])["accuracy"]
    there = {key[1:] for key in grouped.groups}
    columns = sorted(there, key=lambda key: (list(SETS).index(key[0]), key[1]))
    print(
        "| | "
        + " | ".join(f"{name}, {rows}" for name, rows in columns)
        + " |\n"
        + "|---" * (len(columns) + 1)
        + "|"
    )
    for strategy in dict.fromkeys((*STRATEGIES, *PEFT, *sorted({key[0] for key in grouped.groups}))):
        cells = []
        for name, rows in columns:
            found = grouped.get_group(key) if (key := (strategy, name, rows)) in grouped.groups else []
            error = f" +- {found.sem():.3f}" if len(found) > 1 else ""
            cells.append(f"{found.mean():.3f}{error} ({len(found)})" if len(found) else "")
        print(f"| `{strategy}` | " + " | ".join(cells) + " |")


def main() -> None:
    """Run what the csv does not hold yet, small sets and all strategies first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--summary", action="store_true", help="show the means and stop")
    parser.add_argument("--sets", nargs="+", default=GRID, choices=list(SETS))
    parser.add_argument("--rows", nargs="+", type=int, default=[8, 64, 512])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    asked = parser.parse_args()
    if asked.summary:
        show(asked.out)
        return
    if asked.data is None:
        parser.error("--data is needed")
    done = held(asked.out, FIELDS[:4])
    for rows, seed, name, strategy in product(asked.rows, asked.seeds, asked.sets, asked.strategies):
        if (name, str(rows), str(seed), strategy) in done:
            continue
        frames, folder = drawn(asked.data, name, rows, seed), tempfile.mkdtemp()
        started = time.monotonic()
        found = measured(frames, strategy, seed, folder)
        shutil.rmtree(folder)
        row: dict[str, Any] = {"set": name, "rows": rows, "seed": seed, "strategy": strategy}
        row |= {key: round(found[f"test_{key}"], 4) for key in ("accuracy", "f1_macro")}
        row |= {"validation": round(found["eval_accuracy"], 4)}
        row["seconds"] = round(time.monotonic() - started, 1)
        add(asked.out, row, FIELDS)
        print(row, flush=True)


if __name__ == "__main__":
    main()
