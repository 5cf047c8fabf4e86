"""Predictions beside the columns they were made from: as a csv, jsonl or parquet file."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.problems import Problem, Problems, nearest

if TYPE_CHECKING:
    import pyarrow as pa

    from hf_transfer.inputs import Inputs


def check_output(path: Path, inputs: Sequence[str] = ()) -> None:
    """Say before the model is loaded why a file cannot be written.

    Raises:
        Problems: another suffix than `WRITERS` knows, no such folder, not writable, or it is one of the inputs.
    """
    suffix, where = path.suffix.lower(), "--output"
    if suffix not in WRITERS:
        found = f"{path} ends in {suffix or 'no suffix'}{nearest(suffix, list(WRITERS))}"
        raise Problems(Problem(where, f"{found}, expected {', '.join(WRITERS)}", "rename it"))
    if not path.parent.is_dir():
        raise Problems(Problem(where, f"there is no folder {path.parent}", "make it first"))
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        what = "is a folder" if path.is_dir() else "cannot be written"
        raise Problems(Problem(where, f"{path} {what}", "choose another file"))
    if any(path.exists() and os.path.exists(word) and path.samefile(word) for word in inputs):
        raise Problems(Problem(where, f"{path} is also the input", "choose another file"))


def prediction_columns(predictions: Sequence[dict[str, Any]], labels: Sequence[str]) -> dict[str, list[Any]]:
    """Columns named as in a run's `predictions.parquet`: `prediction`, and `probability_<label>` unless a number.

    Args:
        predictions: as `Run.predict` returns them.
    """
    key = next(key for key in ("value", "labels", "label") if key in predictions[0])
    columns = {"prediction": [row[key] for row in predictions]}
    if key == "value":
        return columns
    return columns | {
        f"probability_{label}": [row["probabilities"][label] for row in predictions] for label in labels
    }


def write_predictions(
    path: Path, inputs: Inputs, predictions: Sequence[dict[str, Any]], labels: Sequence[str]
) -> list[str]:
    """Write the columns given, then the predictions, a row each in the order given; whole or not at all.

    Images are written as their paths. A column of the input that has one of our names stays; ours gets a number.

    Returns:
        Names of the prediction columns.
    """
    import pyarrow as pa

    kept = given_columns(inputs)
    names = []
    for name, values in prediction_columns(predictions, labels).items():
        names.append(_free(name, kept.column_names))
        type_ = (
            pa.list_(pa.string()) if isinstance(values[0], list) else None
        )  # all rows may be without labels
        kept = kept.append_column(names[-1], pa.array(values, type_))
    beside = path.with_name(path.name + ".partial")
    try:
        WRITERS[path.suffix.lower()](beside, kept)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return names


def given_columns(inputs: Inputs) -> pa.Table:
    """All columns of the input; class ids as names, images as paths (left out where they have none)."""
    import pyarrow as pa
    from datasets import ClassLabel

    from hf_transfer.data.kinds import kind
    from hf_transfer.data.tables import column_of

    arrays: dict[str, Any] = {}
    for name in inputs.table.columns:
        values = column_of(inputs.table.rows, name)
        feature = inputs.table.rows.features[name]
        if isinstance(feature, ClassLabel):
            ids = values.to_pylist()
            values = pa.array([None if i is None or i < 0 else feature.int2str(i) for i in ids], pa.string())
        elif kind(inputs.table, name) == "image":
            paths = [cell and cell["path"] for cell in values.to_pylist()]
            if not any(paths):
                continue
            values = pa.array(paths, pa.string())
        arrays[name] = values
    return pa.table(arrays) if arrays else pa.table({"row": pa.array(range(len(inputs.rows)), pa.int64())})


def _free(name: str, taken: Sequence[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _csv(path: Path, table: pa.Table) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.column_names)
        for row in _rows(table):
            writer.writerow(_cell(value) for value in row.values())


def _cell(value: Any) -> Any:
    """Lists as JSON, which `load` reads as several labels."""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value


def _jsonl(path: Path, table: pa.Table) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in _rows(table):
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _parquet(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path)


def _rows(table: pa.Table) -> Any:
    for batch in table.to_batches(max_chunksize=10_000):
        yield from batch.to_pylist()


WRITERS: dict[str, Callable[[Path, Any], None]] = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
