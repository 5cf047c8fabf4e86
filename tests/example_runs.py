"""Small synthetic run folders of the three problem types, written as `finetune` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SECRET = "the marmalade sang quietly beneath Orion"  # a text of the data: must never be published
PLACE = "/home/someone/private data/reviews.csv"  # a local path: neither


def write_run(
    folder: Path, kind: str = "single", labels: tuple[str, ...] = ("negative", "positive"), rows: int = 90,
    test: bool = True, texts: bool = True, phases: int = 1, seed: int = 0, **changes: Any,
) -> Path:  # fmt: skip
    """A finished run: `kind` is single, multi or regression; `changes` replace keys of run.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    labels = () if kind == "regression" else labels
    split = "test" if test else "validation"
    columns: dict[str, Any] = {
        "row": range(rows),
        "split": [split] * rows,
        **_PREDICTIONS[kind](rng, labels, rows),
    }
    if texts:
        others = [f"Sentence number {i}, which says something of moderate length." for i in range(1, rows)]
        columns["text"] = [SECRET, *others]
    pd.DataFrame(columns).to_parquet(folder / "predictions.parquet")
    run = _run(kind, labels, rows, test) | changes
    _write(folder / "run.json", run)
    _write(folder / "phases.json", [_phase(k, phases) for k in range(1, phases + 1)])
    lines = [line for k in range(1, phases + 1) for line in _history(rng, k, run["headline"])]
    (folder / "history.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"phase": 1, "st')
    _write(folder / "all_results.json", _results(kind, test))
    return folder


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _single(rng: np.random.Generator, labels: tuple[str, ...], rows: int) -> dict[str, Any]:
    ids = rng.integers(0, len(labels), rows)
    scores = rng.normal(size=(rows, len(labels))) + 2.4 * np.eye(len(labels))[ids]
    scores[0, ids[0]] = -9  # row 0 is a sure mistake
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    columns = {f"probability_{label}": p[:, i] for i, label in enumerate(labels)}
    return {"label": [labels[i] for i in ids], "prediction": [labels[i] for i in p.argmax(1)], **columns}


def _multi(rng: np.random.Generator, labels: tuple[str, ...], rows: int) -> dict[str, Any]:
    truth = rng.random((rows, len(labels))) < 0.25
    p = 1 / (1 + np.exp(-(rng.normal(size=truth.shape) + 3 * truth - 1.5)))
    truth[0], p[0] = True, 0.01
    names = {name: [[labels[i] for i in np.flatnonzero(row)] for row in table]
             for name, table in (("label", truth), ("prediction", p >= 0.4))}  # fmt: skip
    return {**names, **{f"probability_{label}": p[:, i] for i, label in enumerate(labels)}}


def _regression(rng: np.random.Generator, labels: tuple[str, ...], rows: int) -> dict[str, Any]:
    actual = rng.uniform(0, 5, rows)
    predicted = actual + rng.normal(0, 0.6, rows)
    predicted[0] = actual[0] + 7
    return {"label": actual, "prediction": predicted}


_PREDICTIONS = {"single": _single, "multi": _multi, "regression": _regression}
_KEYS = {
    "single": ("accuracy", "f1_macro", "f1_weighted", "matthews_correlation", "roc_auc"),
    "multi": ("f1_micro", "f1_macro", "map", "accuracy"),
    "regression": ("pearsonr", "spearmanr", "mse"),
}
_TYPES = {
    "single": "single_label_classification",
    "multi": "multi_label_classification",
    "regression": "regression",
}


def _results(kind: str, test: bool) -> dict[str, float]:
    results = {"train_loss": 0.41, "train_runtime": 61.2, "train_samples_per_second": 35.0}
    for prefix in ("eval", "test") if test else ("eval",):
        results |= {f"{prefix}_loss": 0.35, f"{prefix}_runtime": 1.2, f"{prefix}_samples_per_second": 75.0}
        for place, key in enumerate(_KEYS[kind]):
            value = 0.9 - 0.02 * place if key != "mse" else 0.36
            results[f"{prefix}_{key}"] = value
            results[f"{prefix}_{key}_ci95_low"] = value - 0.07
            results[f"{prefix}_{key}_ci95_high"] = value + 0.06
            results[f"{prefix}_baseline_{key}"] = {"mse": 2.1, "pearsonr": 0.0, "spearmanr": 0.0}.get(
                key, 0.5
            )
    return results


def _phase(number: int, phases: int) -> dict[str, Any]:
    groups = (
        [("embeddings", 11_780_000)] + [(f"block.{i}", 1_774_000) for i in range(1, 7)] + [("head", 148_000)]
    )
    learns = {name for name, _ in groups} if number == phases else {"head"}
    return {
        "name": "full" if phases == 1 else f"step-{number}", "epochs": 3.0, "steps": 69, "learning_rate": 5e-5,
        "optimizer": "adamw_torch_fused", "schedule": "linear", "warmup_steps": 4, "weight_decay": 0.01,
        "seconds": 61.2, "samples_per_second": 35.0,
        "best": {"metric": "eval_accuracy", "value": 0.91, "step": 46},
        "groups": [{"name": name, "parameters": n, "learns": name in learns, "learning_rate": 5e-5,
                    "decayed": n - 900, "head": name == "head"} for name, n in groups],
    }  # fmt: skip


def _history(rng: np.random.Generator, phase: int, headline: str) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for step in range(5, 70, 5):
        loss = 0.75 * np.exp(-step / 40) / phase + 0.03 * rng.random()
        lines.append({"phase": phase, "step": step, "epoch": step / 23, "loss": loss, "learning_rate": 5e-5})
    for step in (23, 46, 69):
        lines.append({"phase": phase, "step": step, "epoch": step / 23, "eval_loss": 0.7 - step / 250 / phase,
                      f"eval_{headline}": 0.78 + 0.03 * phase + (step - 23) / 600})  # fmt: skip
    return lines


def _run(kind: str, labels: tuple[str, ...], rows: int, test: bool) -> dict[str, Any]:
    sizes = {"train": rows * 8, "validation": rows} | ({"test": rows} if test else {})
    values = {"min": 0.0, "mean": 2.6, "max": 5.0}
    share = {label: 1 / (position + 1) for position, label in enumerate(labels)}
    whole = sum(share.values())
    counts = {
        split: {label: round(n * share[label] / whole) for label in labels} for split, n in sizes.items()
    }
    quantiles = {"p50": 17, "p95": 34, "p99": 51, "max": 140}
    audit = {
        "rows": {split: {"rows": n, "labels": counts[split] if labels else values} for split, n in sizes.items()},
        "warnings": [
            {"where": PLACE, "what": f"3 rows are duplicates, the first is '{SECRET}'", "mend": "drop them"},
            {"where": "column 'text'", "what": "2 texts are in train and test", "mend": ""},
        ],
        "ignored": ["notes.docx"],
        "lengths": {"max_length": 128, "cut": dict.fromkeys(sizes, 0.0004),
                    "quantiles": dict.fromkeys(sizes, quantiles)},
    }  # fmt: skip
    return {
        "format": 1, "task": "text-classification", "problem_type": _TYPES[kind], "created": "2026-11-21T10:00:00Z",
        "labels": list(labels), "headline": _KEYS[kind][0], "recipe": "sentiment", "strategy": "full", "peft": None,
        "base_model": {"id": "sentence-transformers/all-MiniLM-L6-v2", "name": "all-MiniLM-L6-v2", "revision": None,
                       "license": "apache-2.0", "class": "BertForSequenceClassification", "parameters": 22_713_986,
                       "new": ["classifier.weight", "classifier.bias"]},
        "data": {"name": "reviews.csv", "hub_id": None, "license": None, "files": ["reviews.csv"], "splits": sizes,
                 "how": dict.fromkeys(sizes, f"a stratified part of {PLACE}"), "fingerprint": "ab" * 32,
                 "columns": {"text": "text", "label": "label"}, "audit": audit},
        "arguments": {"learning_rate": 5e-5, "output_dir": "/home/someone/outputs/sentiment", "warmup_steps": 0.06,
                      "num_train_epochs": 3, "per_device_train_batch_size": 32, "optim": "adamw_torch_fused",
                      "load_best_model_at_end": True, "resume_from_checkpoint": "/home/someone/checkpoint-3", "report_to": ["none"]},
        "seed": 42, "versions": {"hf_transfer": "0.1.0", "python": "3.11.2", "torch": "2.15.0"},
        "hardware": {"device": "cpu", "threads": 2, "processor": "x86_64"}, "world_size": 1, "global_batch_size": 32,
        "global_step": 69, "seconds": {"train": 61.2, "evaluate": 2.4},
        "evaluated_on": {"eval": "validation"} | ({"test": "test"} if test else {}),
        "thresholds": [0.4] * len(labels) if kind == "multi" else None,
        "reload_check": {"rows": 8, "max_difference": 1e-7, "merged": False},
        "plan_notes": ["dropout as in the checkpoint"],
    }  # fmt: skip
