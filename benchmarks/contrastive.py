"""`--strategy contrastive` beside SetFit's own package, on the same rows and encoder: one row of the csv for each run.

    pip install setfit
    python benchmarks/contrastive.py --data FOLDER --out docs/contrastive.csv
    python benchmarks/contrastive.py --out docs/contrastive.csv --summary

Rows are drawn as in strategies.py. Both have their own defaults; SetFit makes every pair of rows (`--setfit_steps` cuts its training
short, as these grow with the square of the rows). `seconds` is the whole way from the checkpoint in memory to the predictions on
test: for SetFit its training and its predictions, for us all that a run does, report and saving included.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
import time
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from results_file import add, held
from strategies import GRID, SETS, drawn, measured

FIELDS = ("set", "rows", "seed", "method", "steps", "accuracy", "f1_macro", "seconds")


def ours(frames: dict[str, pd.DataFrame], seed: int, folder: str) -> tuple[np.ndarray, int]:
    """Predictions on test, and the steps that were trained."""
    from hf_transfer.run_folder import read_json

    measured(frames, "contrastive", seed, folder)
    table = pd.read_parquet(Path(folder) / "predictions.parquet").sort_values("row")
    return table["prediction"].astype(int).to_numpy(), read_json(Path(folder) / "run.json")["global_step"]


def theirs(frames: dict[str, pd.DataFrame], seed: int, folder: str, most: int) -> tuple[np.ndarray, int]:
    """Predictions on test, and the steps that were trained."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    from hf_transfer import minilm

    model = SetFitModel.from_pretrained(minilm())
    args = TrainingArguments(
        output_dir=folder, seed=seed, report_to="none", show_progress_bar=False, save_strategy="no", max_steps=most
    )  # fmt: skip
    train = Dataset.from_pandas(frames["train"][["text", "label"]], preserve_index=False)
    trainer = Trainer(model=model, args=args, train_dataset=train)
    trainer.train()
    predicted = model.predict(frames["test"]["text"].tolist(), show_progress_bar=False)
    return np.asarray(predicted).astype(int), trainer.st_trainer.state.global_step


def show(out: Path) -> None:
    """The table of means, in Markdown: theirs, ours, and the difference with its standard error over the seeds."""
    groups: dict[tuple[str, str], dict[str, dict[str, dict[str, str]]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for row in csv.DictReader(out.open()):
        groups[row["set"], row["rows"]][row["seed"]][row["method"]] = row
    print(
        "| set | rows a label | seeds | SetFit | ours | difference | SetFit, s | ours, s |\n|---|---|---|---|---|---|---|---|"
    )
    for (name, rows), seeds in groups.items():
        both = [found for found in seeds.values() if len(found) == 2]
        if not both:
            continue
        score, seconds = (
            np.array([[float(found[m][key]) for m in ("setfit", "ours")] for found in both])
            for key in ("accuracy", "seconds")
        )
        gain = score[:, 1] - score[:, 0]
        error = f" +- {gain.std(ddof=1) / len(gain) ** 0.5:.3f}" if len(gain) > 1 else ""
        means, times = score.mean(axis=0), seconds.mean(axis=0)
        print(f"| {name} | {rows} | {len(both)} | {means[0]:.3f} | {means[1]:.3f} | {gain.mean():+.3f}{error} | "
              f"{times[0]:.0f} | {times[1]:.0f} |")  # fmt: skip


def main() -> None:
    """Run what the csv does not hold yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--summary", action="store_true", help="show the means and stop")
    parser.add_argument("--sets", nargs="+", default=GRID, choices=list(SETS))
    parser.add_argument("--rows", nargs="+", type=int, default=[8])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--setfit_steps", type=int, default=-1, help="at most so many of SetFit's steps")
    asked = parser.parse_args()
    if not asked.summary and asked.data is None:
        parser.error("--data is needed")
    done = held(asked.out, FIELDS[:4])
    for rows, seed, name, method in product(
        asked.rows, asked.seeds, asked.sets, ("setfit", "ours") if not asked.summary else ()
    ):
        if (name, str(rows), str(seed), method) in done:
            continue
        frames, folder = drawn(asked.data, name, rows, seed), tempfile.mkdtemp()
        warm_up(method)
        started = time.monotonic()
        found, steps = (
            ours(frames, seed, folder)
            if method == "ours"
            else theirs(frames, seed, folder, asked.setfit_steps)
        )
        seconds = time.monotonic() - started
        shutil.rmtree(folder)
        add(
            asked.out,
            scored(name, rows, seed, method, steps, found, frames["test"]["label"], seconds),
            FIELDS,
        )
    show(asked.out)


def warm_up(method: str) -> None:
    """Imports are no part of the seconds."""
    import matplotlib.pyplot  # noqa: F401
    import sentence_transformers  # noqa: F401
    from transformers import Trainer  # noqa: F401

    if method == "setfit":
        import setfit  # noqa: F401
    else:
        import hf_transfer.finishing
        import hf_transfer.training.train  # noqa: F401


def scored(
    name: str,
    rows: int,
    seed: int,
    method: str,
    steps: int,
    found: np.ndarray,
    labels: pd.Series,
    seconds: float,
) -> dict[str, Any]:
    """A row of the csv."""
    from sklearn.metrics import f1_score

    row = {"set": name, "rows": rows, "seed": seed, "method": method, "steps": steps}
    row |= {"accuracy": round(float((found == labels.to_numpy()).mean()), 4)}
    row |= {
        "f1_macro": round(float(f1_score(labels, found, average="macro")), 4),
        "seconds": round(seconds, 1),
    }
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
