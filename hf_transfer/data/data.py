"""Rows ready for a task, and what is known about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Data:
    """Rows ready for a task.

    Attributes:
        splits: `train`, `validation` and perhaps `test`; columns are the task's inputs that exist, `label` (id, list of
            ids, or float) and `row` (position in the split they came from, before anything was dropped or cut).
        labels: names in id order; () for regression and without labels.
        problem_type: single_label_classification, multi_label_classification, regression, or language_modeling, for
            which there is no column `label`.
        columns: role -> column in the source.
        source: JSON: name, hub_id, license, files, rows per split, how each came to be, fingerprint of the content.
        audit: JSON: rows and labels per split, warnings, ignored files, text lengths in characters.
    """

    splits: dict[str, Dataset]
    labels: tuple[str, ...]
    problem_type: str
    columns: dict[str, str]
    source: dict[str, Any]
    audit: dict[str, Any]

    @property
    def id2label(self) -> dict[int, str]:
        """Id -> name; a regression has one output, which transformers calls LABEL_0."""
        return dict(enumerate(self.labels or ("LABEL_0",)))

    @property
    def label2id(self) -> dict[str, int]:
        """Name -> id."""
        return {name: i for i, name in self.id2label.items()}

    def with_labels(self, labels: Sequence[str]) -> Data:
        """The same rows with the same label names in another order: ids change, meanings do not."""
        if self.problem_type == "regression" or tuple(labels) == self.labels:
            return self
        new = [labels.index(name) for name in self.labels]
        splits = {}
        for split, rows in self.splits.items():
            ids = rows["label"][:]
            moved = [new[i] if isinstance(i, int) else sorted(new[k] for k in i) for i in ids]
            kept = [name for name in rows.column_names if name != "row"]  # `row` stays the last
            fresh = rows.remove_columns("label").add_column("label", moved, feature=rows.features["label"])
            splits[split] = fresh.select_columns([*kept, "row"])
        return replace(self, splits=splits, labels=tuple(labels))
