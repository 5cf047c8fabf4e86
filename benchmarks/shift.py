"""From book reviews to reviews of electronics: what target rows without labels are worth. One row of the csv for each run.

    python benchmarks/shift.py --data FOLDER --out docs/shift.csv
    python benchmarks/shift.py --out docs/shift.csv --summary

FOLDER holds books_train.csv, books_validation.csv, electronics_train.csv and electronics_validation.csv. Of the first `rows`
are drawn by the seed, half of each label, to train on; as many texts of electronics_train.csv are the target rows, without
labels. The test is electronics_validation.csv, which nothing else reads. No model is chosen: the last weights count.

Methods are `source` (training rows alone), `dann`, `coral` and `pseudo`, the last three with a weight or a threshold if wanted
(`coral:1000`, `pseudo:0.8`). `pseudo` runs twice as long, so that its first phase is the run of `source`. A run that the csv
holds is skipped. `right` has one hexadecimal digit for each four test rows, their bits set where the model was right: the gain
over `source` and its interval (paired bootstrap of test rows, means over seeds) are computed from it.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from results_file import add, held

METHODS = ("source", "dann", "coral", "pseudo")
FIELDS = ("rows", "test_rows", "epochs", "max_length", "seed", "method", "accuracy", "f1_macro", "source_accuracy",
          "domain_first", "domain_last", "coral_loss", "joined", "seconds", "right")  # fmt: skip
KEY = FIELDS[:6]


def drawn(data: Path, rows: int, test_rows: int, seed: int) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """`train`, `validation` and `test` with text and label, and the target's texts."""
    names = ("books_train", "books_validation", "electronics_validation", "electronics_train")
    whole = {name: pd.read_csv(data / f"{name}.csv")[["text", "label"]] for name in names}
    train = (
        whole["books_train"]
        .groupby("label")
        .sample(rows // 2, random_state=seed)
        .sample(frac=1, random_state=seed)
    )
    held, test = (
        frame.sample(min(most, len(frame)), random_state=0)
        for frame, most in (
            (whole["books_validation"], min(200, test_rows)),
            (whole["electronics_validation"], test_rows),
        )
    )
    target = whole["electronics_train"].sample(rows, random_state=seed)["text"].tolist()
    return {"train": train, "validation": held, "test": test}, target


def measured(asked: Any, method: str, rows: int, seed: int, folder: str) -> dict[str, Any]:
    """One run's figures."""
    from datasets import Dataset, DatasetDict

    from hf_transfer import finetune, minilm

    frames, target = drawn(asked.data, rows, asked.test_rows, seed)
    splits = DatasetDict(
        {name: Dataset.from_pandas(frame, preserve_index=False) for name, frame in frames.items()}
    )
    kind, _, number = method.partition(":")
    options: dict[str, Any] = {}
    if kind == "pseudo":
        options = {"target_file": target, "pseudo_labels": float(number) if number else True}
    elif kind != "source":
        options = {"target_file": target, "align": kind, "align_weight": float(number) if number else None}
    args = {"output_dir": folder, "report_to": "none", "disable_tqdm": True, "save_strategy": "no",
            "load_best_model_at_end": False, "eval_strategy": "no", "logging_steps": 5,
            "num_train_epochs": asked.epochs * (2 if kind == "pseudo" else 1)}  # fmt: skip
    run = finetune(
        "text-classification", asked.model or minilm(), splits, args=args, seed=seed, max_length=asked.max_length,
        skip_reload_check=True, probe=False, overwrite_output_dir=True, text_column="text", label_column="label", **options,
    )  # fmt: skip
    ledger = json.loads((Path(folder) / "phases.json").read_text())
    table = pd.read_parquet(Path(folder) / "predictions.parquet").sort_values("row")
    align = ledger[-1].get("align") or {}
    domain = align.get("domain_accuracy") or {}
    return {
        "accuracy": round(run.metrics["test_accuracy"], 4),
        "f1_macro": round(run.metrics["test_f1_macro"], 4),
        "source_accuracy": round(run.metrics["eval_accuracy"], 4),
        "domain_first": domain.get("first"),
        "domain_last": domain.get("last"),
        "coral_loss": align.get("coral_loss"),
        "joined": (ledger[-1].get("pseudo_labels") or {}).get("rows"),
        "right": np.packbits((table["label"] == table["prediction"]).to_numpy()).tobytes().hex(),
    }


def right(row: dict[str, str]) -> np.ndarray:
    """Whether each test row was predicted rightly (rows,)."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(row["right"]), np.uint8))
    return bits[: int(row["test_rows"])].astype(float)


def gains(rows: list[dict[str, str]], draws: int = 10_000) -> list[dict[str, Any]]:
    """The gain in accuracy of each method over `source` on the seeds that both have, with its 95 % interval."""
    found = []
    setting = [tuple(row[name] for name in KEY[:4]) for row in rows]
    for one in dict.fromkeys(setting):
        there = {(r["method"], r["seed"]): right(r) for r, s in zip(rows, setting, strict=True) if s == one}
        for method in dict.fromkeys(m for m, _ in there if m != "source"):
            seeds = [s for m, s in there if m == method and ("source", s) in there]
            if not seeds:
                continue
            each = np.mean([there[method, s] - there["source", s] for s in seeds], axis=0)
            picked = np.random.default_rng(0).integers(len(each), size=(draws, len(each)))
            low, high = np.quantile(each[picked].mean(axis=1), [0.025, 0.975])
            found.append(
                dict(zip(KEY, one, strict=False)) | {"method": method, "seeds": len(seeds),
                "source": np.mean([there["source", s].mean() for s in seeds]),
                "gain": each.mean(), "low": low, "high": high}
            )  # fmt: skip
    return found


def show(out: Path) -> None:
    """The table of `gains`, in Markdown."""
    print(
        "| training rows | epochs | method | seeds | source only | gain | 95 % interval |\n|---|---|---|---|---|---|---|"
    )
    for g in gains(list(csv.DictReader(out.open()))):
        print(f"| {g['rows']} | {g['epochs']} | {g['method']} | {g['seeds']} | {g['source']:.3f} | {g['gain']:+.3f} | "
              f"{g['low']:+.3f} to {g['high']:+.3f} |")  # fmt: skip


def main() -> None:
    """Run what the csv does not hold yet, seed by seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--summary", action="store_true", help="show the gains and stop")
    parser.add_argument("--model", help="checkpoint; MiniLM by default")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--rows", nargs="+", type=int, default=[1000])
    parser.add_argument("--test_rows", type=int, default=400)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(3)))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--max_length", type=int, default=128)
    asked = parser.parse_args()
    if not asked.summary and asked.data is None:
        parser.error("--data is needed")
    done = held(asked.out, KEY)
    for rows, seed, method in product(asked.rows, asked.seeds, asked.methods if not asked.summary else ()):
        key = (rows, asked.test_rows, asked.epochs, asked.max_length, seed, method)
        if tuple(map(str, key)) in done:
            continue
        folder, started = tempfile.mkdtemp(), time.monotonic()
        row = dict(zip(KEY, key, strict=True)) | measured(asked, method, rows, seed, folder)
        row["seconds"] = round(time.monotonic() - started, 1)
        shutil.rmtree(folder)
        add(asked.out, row, FIELDS)
        print({name: value for name, value in row.items() if name != "right"}, flush=True)
    show(asked.out)


if __name__ == "__main__":
    main()
