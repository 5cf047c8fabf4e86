"""The tables of a report, worked out from a `Record` as plain rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .figures import finite
from .read import Record
from .wording import without_paths

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def has_classes(record: Record) -> bool:
    """Whether predictions are there to count per class."""
    columns = record.predictions.columns if record.predictions is not None else ()
    return bool(record.labels) and len(record.predictions if record.predictions is not None else ()) > 0 and (
        {"label", "prediction"} <= set(columns)
    )  # fmt: skip


def indicators(record: Record) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Labels and predictions as two 0/1 arrays of shape (rows, classes)."""
    import numpy as np

    assert record.predictions is not None
    ids = {label: position for position, label in enumerate(record.labels)}
    arrays = []
    for column in ("label", "prediction"):
        array = np.zeros((len(record.predictions), len(ids)), dtype=np.int64)
        for row, value in enumerate(record.predictions[column]):
            for name in names_of(value):
                if name in ids:
                    array[row, ids[name]] = 1
        arrays.append(array)
    return arrays[0], arrays[1]


def names_of(value: Any) -> list[str]:
    """The label names of a cell of predictions.parquet: one name or a list of them."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return []
    return [str(value)] if isinstance(value, str) else [str(name) for name in value]


def confusion(record: Record) -> npt.NDArray[np.int64]:
    """Counts of shape (classes, classes): row = true class, column = predicted class."""
    labels, predictions = indicators(record)
    table: npt.NDArray[np.int64] = labels.T @ predictions
    return table


def per_class(record: Record) -> list[dict[str, Any]]:
    """A row per class or label: `label, precision, recall, f1, support, predicted, threshold`.

    A figure whose denominator is zero is None: a class nobody predicted has no precision.
    """
    from ..evaluation.tables import per_class as counted

    labels, predictions = indicators(record)
    said, thresholds = predictions.sum(axis=0), record.run.get("thresholds") or [None] * len(record.labels)
    rows = []
    for i, row in enumerate(counted(labels, predictions, record.labels)):
        some, given = bool(row["support"]), bool(said[i])
        rows.append({
            **row,
            "precision": row["precision"] if given else None,
            "recall": row["recall"] if some else None,
            "f1": row["f1"] if some or given else None,
            "predicted": int(said[i]),
            "threshold": thresholds[i],
        })  # fmt: skip
    return rows


def confused_pairs(record: Record, most: int = 10) -> list[dict[str, Any]]:
    """The pairs of classes most often taken for each other: `label, prediction, count, share` of the true class."""
    import numpy as np

    table, names = confusion(record), record.labels
    rows = table.sum(axis=1)
    pairs = [
        {
            "label": names[i],
            "prediction": names[j],
            "count": int(table[i, j]),
            "share": table[i, j] / rows[i],
        }
        for i, j in np.argwhere(table)  # of thousands of classes few pairs occur
        if i != j
    ]
    return sorted(pairs, key=lambda pair: (-pair["count"], -pair["share"]))[:most]


def mistakes(record: Record, most: int = 20) -> list[dict[str, Any]]:
    """The most confident mistakes (regression: the largest): `row, text, text_pair, label, prediction, size`.

    `size` is the probability of the wrong answer; multi-label: how far the worst label is on the wrong side of its
    threshold; regression: predicted minus actual.
    """
    frame = record.predictions
    if frame is None or not {"label", "prediction"} <= set(frame.columns):
        return []
    measure = {"regression": _residual, "multi_label_classification": _overshoot}.get(
        record.problem_type, _confidence
    )
    rows = []
    for cells in frame.to_dict("records"):
        size = measure(record, {str(name): cell for name, cell in cells.items()})
        if size is None:
            continue
        shown = {name: _text(cells.get(name)) for name in ("text", "text_pair")}
        show = _three if record.problem_type == "regression" else names_of
        rows.append({"row": cells.get("row"), **shown, "size": size,
                     "label": show(cells["label"]), "prediction": show(cells["prediction"])})  # fmt: skip
    return sorted(rows, key=lambda row: -abs(row["size"]))[:most]


def _three(value: Any) -> list[str]:
    return [f"{float(value):.3f}"]


def _text(value: Any, longest: int = 300) -> str | None:
    if not isinstance(value, str):
        return None
    return value if len(value) <= longest else value[:longest].rstrip() + " …"


def _confidence(record: Record, cells: dict[str, Any]) -> float | None:
    if cells["label"] == cells["prediction"]:
        return None
    return finite(cells.get(f"probability_{cells['prediction']}")) or 0.0


def _overshoot(record: Record, cells: dict[str, Any]) -> float | None:
    wrong = set(names_of(cells["label"])) ^ set(names_of(cells["prediction"]))
    thresholds = dict(zip(record.labels, record.run.get("thresholds") or [], strict=False))
    far = [
        abs((finite(cells.get(f"probability_{name}")) or 0.0) - thresholds.get(name, 0.5)) for name in wrong
    ]
    return max(far) if far else None


def _residual(record: Record, cells: dict[str, Any]) -> float | None:
    label, prediction = finite(cells["label"]), finite(cells["prediction"])
    return None if label is None or prediction is None else prediction - label


def warnings(record: Record) -> list[dict[str, str]]:
    """The audit's warnings with local paths cut to their last name: `where, what, mend`."""
    found = record.audit.get("warnings") or []
    return [
        {key: without_paths(str(item.get(key) or "")) for key in ("where", "what", "mend")} for item in found
    ]


def label_counts(record: Record) -> tuple[list[str], list[dict[str, Any]]]:
    """The splits, and a row per class with its count in each and its share of train; no rows for regression."""
    rows = record.audit.get("rows") or {}
    splits = [split for split in ("train", "validation", "test") if split in rows]
    if record.problem_type == "regression":
        return splits, []
    counts = {split: rows[split].get("labels") or {} for split in splits}
    total = (rows.get("train") or {}).get("rows") or 0
    table = []
    for label in record.labels:
        in_train = counts.get("train", {}).get(label, 0)
        cells = [counts[split].get(label, 0) for split in splits]
        table.append({"label": label, "counts": cells, "share": in_train / total if total else None})
    return splits, table
