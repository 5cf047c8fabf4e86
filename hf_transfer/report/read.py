"""Reads a run folder for the report and the card. Only `run.json` must be there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..problems import Problem, Problems

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Record:
    """A run folder as read: `run` is run.json, `results` is all_results.json; what was missing is empty."""

    folder: Path
    run: dict[str, Any]
    phases: list[dict[str, Any]]
    history: list[dict[str, Any]]
    results: dict[str, Any]
    predictions: pd.DataFrame | None

    @cached_property
    def labels(self) -> list[str]:
        """Label names in id order; empty for regression."""
        return [str(label) for label in self.run.get("labels") or []]

    @property
    def problem_type(self) -> str:
        """`single_label_classification`, `multi_label_classification` or `regression`."""
        return str(self.run.get("problem_type") or "single_label_classification")

    @property
    def headline(self) -> str:
        """Key of the metric by which the model was chosen, without prefix."""
        return str(self.run.get("headline") or "accuracy")

    @property
    def measured(self) -> str | None:
        """Prefix of the figures to report: `test` if there was a test split, else `eval`; None if neither."""
        skip = ("_loss", "_runtime", "_per_second")
        for prefix in ("test", "eval"):
            if any(key.startswith(prefix + "_") and not key.endswith(skip) for key in self.results):
                return prefix
        return None

    @property
    def split(self) -> str | None:
        """Name of the split on which the reported figures were measured."""
        fallback = {"test": "test", "eval": "validation"}
        if self.measured is None:
            return None
        return str((self.run.get("evaluated_on") or {}).get(self.measured) or fallback[self.measured])

    @property
    def data(self) -> dict[str, Any]:
        """Where the data came from (`Data.source`), with `columns` and `audit`."""
        return dict(self.run.get("data") or {})

    @property
    def audit(self) -> dict[str, Any]:
        """What the audit found before training."""
        return dict(self.data.get("audit") or {})

    @property
    def voting(self) -> bool:
        """Whether the model answers by its nearest neighbours (`hf_transfer.knn`)."""
        return bool(self.phases) and (self.phases[-1].get("solved") or {}).get("solver") == "knn"

    @property
    def pooled(self) -> bool:
        """Whether it is a sentence-transformers model (`hf_transfer.pooled`)."""
        return self.run.get("pooling") == "mean" and not self.voting

    @property
    def base(self) -> dict[str, Any]:
        """The pretrained model the run started from."""
        return dict(self.run.get("base_model") or {})


def read_record(folder: Path | str) -> Record:
    """Read a run folder.

    Raises `Problems` when `run.json` is missing or unreadable; every other file is optional.
    """
    folder = Path(folder)
    if not (folder / "run.json").is_file():
        mend = "give the output_dir of a finished run"
        raise Problems(Problem(str(folder), "this is not a run folder: it has no run.json", mend))
    run = _json(folder / "run.json", {})
    predictions = _predictions(folder / "predictions.parquet")
    phases = _json(folder / "phases.json", [])
    results = _json(folder / "all_results.json", {})
    record = Record(folder, run, phases, _lines(folder / "history.jsonl"), results, predictions)
    if predictions is None or "split" not in predictions or record.split is None:
        return record
    measured = predictions[predictions["split"] == record.split].reset_index(drop=True)
    return Record(folder, run, phases, record.history, results, measured)


def _json(path: Path, missing: Any) -> Any:
    if not path.is_file():
        return missing
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        mend = "the run was cut short or the file was changed: run again"
        raise Problems(Problem(str(path), f"this is not JSON ({error})", mend)) from None


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON-lines file; a last line torn by a crash is left out."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def _predictions(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    import pandas as pd

    return pd.read_parquet(path)
