"""Labels: what kind they are, their names in id order, and the id (ids, value) of every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_transfer.data.label_names import (
    MULTI,
    REGRESSION,
    WHOLE_NUMBER,
    declared_names,
    guess_problem_type,
    names_of_rows,
)
from hf_transfer.data.tables import Table, column_of
from hf_transfer.problems import Problem

LARGEST = 1e15  # of a value: its square, over many rows, must fit fp32


@dataclass
class Labels:
    """Labels of all splits.

    Attributes:
        problem_type: as in a model's config.
        names: in id order; () for regression.
        values: per split and row an id, a sorted list of ids, or a float; None where the label is missing.
        declared: True if the source fixes the names (ClassLabel), so that a name without rows is no mistake.
    """

    problem_type: str
    names: tuple[str, ...]
    values: dict[str, list[Any]]
    declared: bool = False
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def find_labels(tables: Mapping[str, Table], column: str, problem_type: str | None = None) -> Labels:
    """Reads the label column of every split.

    ClassLabel keeps its order; text is sorted; whole numbers are sorted as numbers and, as booleans, become text.
    Floats mean regression, lists several labels a row. In csv, where all is text, numbers are recognised.
    What is wrong is listed in the result.
    """
    raw = {split: _raw(table, column) for split, table in tables.items()}
    feature = tables["train"].rows.features[column]
    found = problem_type or guess_problem_type(tables["train"], raw["train"])
    if found != MULTI and any(isinstance(value, list) for value in raw["train"]):
        what = f"column {column!r} holds lists, {found} takes one label a row"
        return Labels(
            found,
            (),
            {split: [None] * len(rows) for split, rows in raw.items()},
            problems=[
                Problem(tables["train"].name, what, "choose another --label_column, or problem_type " + MULTI)
            ],
        )
    if found == REGRESSION:
        return _regression(raw, tables, column, problem_type is not None)
    declared = declared_names(feature)
    named = {split: names_of_rows(rows, tables[split], column, found) for split, rows in raw.items()}
    seen = Counter(name for row in named["train"] if row is not None for name in row)
    names = declared or tuple(_sorted(seen))
    labels = Labels(found, names, {}, declared is not None)
    ids = {name: i for i, name in enumerate(names)}
    for split, rows in named.items():
        if split == "test" and "-1" not in ids and all(row is None or row == ["-1"] for row in rows):
            rows = [None] * len(rows)  # hidden, as those of benchmarks are
        labels.problems += _unknown(split, tables[split], rows, ids)
        labels.values[split] = [_encode(row, ids, found) for row in rows]
    if len(seen) < 2 and not labels.problems:
        labels.problems.append(
            Problem(
                tables["train"].name,
                f"one class only: column {column!r} holds only {next(iter(seen))!r} in the training rows",
                "give rows of at least two classes",
            )
            if seen
            else _empty(tables["train"], column)
        )
    labels.problems += _too_many(names, named["train"], tables["train"], column)
    labels.warnings += _alike(names)
    if found != MULTI and declared is None:
        labels.warnings += _joined(names)
    return labels


def _empty(table: Table, column: str) -> Problem:
    what = f"column {column!r} is empty in every training row"
    return Problem(table.name, what, "is it the right one? --label_column names another")


def _raw(table: Table, column: str) -> list[Any]:
    return column_of(table.rows, column).to_pylist()


def _sorted(names: Mapping[str, int]) -> list[str]:
    numbers = all(WHOLE_NUMBER.fullmatch(name) for name in names)
    return sorted(names, key=int) if numbers else sorted(names)


def _encode(row: list[str] | None, ids: Mapping[str, int], problem_type: str) -> Any:
    if row is None:
        return None
    found = sorted(ids[name] for name in row if name in ids)
    return found if problem_type == MULTI else (found[0] if found else None)


def _unknown(
    split: str, table: Table, rows: Sequence[list[str] | None], ids: Mapping[str, int]
) -> list[Problem]:
    odd = Counter(name for row in rows if row for name in row if name not in ids)
    if not odd:
        return []
    first = next(i for i, row in enumerate(rows) if row and any(name in odd for name in row))
    listed = ", ".join(f"{name!r} ({count})" for name, count in sorted(odd.items())[:10])
    more = f" and {len(odd) - 10} more" if len(odd) > 10 else ""
    if split == "train":
        return [
            Problem(
                table.name, f"label ids out of range: {listed}{more}, first in row {first}", "mend the ids"
            )
        ]
    what = f"labels that the training rows lack (and how often): {listed}{more}, first in row {first}; train has {_some(list(ids))}"
    return [Problem(f"{split} ({table.name})", what, "correct them, or add training rows with these labels")]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f", ... ({len(names)})" if len(names) > 10 else "")


def _too_many(names: Sequence[str], rows: Sequence[Any], table: Table, column: str) -> list[Problem]:
    if len(names) < 20 or len(names) <= 0.5 * len(rows):
        return []
    what = f"column {column!r} has {len(names)} different values in {len(rows)} rows: an id or free text, not classes"
    return [Problem(table.name, what, "choose another --label_column")]


def _alike(names: Sequence[str]) -> list[Problem]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(" ".join(name.casefold().split()), []).append(name)
    alike = [" and ".join(repr(name) for name in group) for group in groups.values() if len(group) > 1]
    return [
        Problem("labels", f"{pair} differ only in case or blanks", "are they one class?") for pair in alike
    ]


def _regression(
    raw: Mapping[str, Sequence[Any]], tables: Mapping[str, Table], column: str, asked: bool
) -> Labels:
    labels = Labels(REGRESSION, (), {})
    for split, rows in raw.items():
        values = [_number(value) for value in rows]
        wrong = [i for i, number in enumerate(values) if not _fits(number, rows[i])]
        if wrong:
            what = f"column {column!r} holds {rows[wrong[0]]!r} in row {wrong[0]}, expected a number up to {LARGEST:g}"
            more = f" ({len(wrong)} such rows)" if len(wrong) > 1 else ""
            labels.problems.append(Problem(f"{split} ({tables[split].name})", what + more, "correct it"))
        labels.values[split] = values
    known = {value for value in labels.values["train"] if value is not None}
    if len(known) < 2 and not labels.problems:
        what = f"column {column!r} holds the same value in every training row ({', '.join(map(str, known))})"
        same = Problem(tables["train"].name, what, "there is nothing to learn from it")
        labels.problems.append(same if known else _empty(tables["train"], column))
    if not asked and known and all(value.is_integer() for value in known):
        what = f"labels are floats, so this is regression, but all are whole numbers ({len(known)} different)"
        labels.warnings.append(Problem("labels", what, "for classes, write them as integers or text"))
    return labels


def _fits(number: float | None, value: Any) -> bool:
    return _gap(value) if number is None else abs(number) <= LARGEST


def _gap(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or value != value  # NaN alone differs from itself


def _number(value: Any) -> float | None:
    if _gap(value) or isinstance(value, list):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _joined(names: Sequence[str]) -> list[Problem]:
    """A warning where names look like several labels in one cell: made of fewer parts, of which some stand alone."""
    for sign in "|;":
        parts = {part.strip() for name in names for part in name.split(sign)}
        together = [name for name in names if sign in name]
        if len(together) > 1 and len(parts) < len(names) and len(parts.intersection(names)) > 1:
            what = f"{len(together)} of {len(names)} labels hold {sign!r} ({together[0]!r}): several labels a row?"
            return [Problem("labels", what, f"then give --problem_type {MULTI}")]
    return []
