"""The names of the labels in a row, whatever form they have there."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from hf_transfer.data.tables import Table

SINGLE = "single_label_classification"


MULTI = "multi_label_classification"


REGRESSION = "regression"


PROBLEM_TYPES = (SINGLE, MULTI, REGRESSION)


WHOLE_NUMBER = re.compile(r"[-+]?\d+")


NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def declared_names(feature: Any) -> tuple[str, ...] | None:
    """The names that a ClassLabel, or a list of them, fixes; None for other features."""
    inner = getattr(feature, "feature", feature)
    return tuple(inner.names) if getattr(inner, "names", None) else None


def guess_problem_type(table: Table, values: Sequence[Any]) -> str:
    """The kind of problem that a column's values suggest."""
    first = next((value for value in values if value is not None), None)
    if isinstance(first, list):
        return MULTI
    if isinstance(first, float):
        return REGRESSION
    if isinstance(first, str) and not table.typed:
        cells = {value.strip() for value in values if value and value.strip()}
        if cells and all(NUMBER.fullmatch(cell) for cell in cells):
            return SINGLE if all(WHOLE_NUMBER.fullmatch(cell) for cell in cells) else REGRESSION
    return SINGLE


def names_of_rows(
    values: Sequence[Any], table: Table, column: str, problem_type: str
) -> list[list[str] | None]:
    """The names in each row, None where there is no label."""
    declared = declared_names(table.rows.features[column])
    if problem_type == MULTI:
        lists = [_list(value) for value in values]
        if _multi_hot(lists):
            lists = [None if row is None else [i for i, on in enumerate(row) if on] for row in lists]
        return [
            None if row is None else sorted({_name(v, declared, table) or "" for v in row} - {""})
            for row in lists
        ]
    names = {value: _name(value, declared, table) for value in set(values)}
    return [None if (name := names[value]) is None else [name] for value in values]


def _name(value: Any, declared: tuple[str, ...] | None, table: Table) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if declared is not None and not isinstance(value, str):
        if value == -1:  # how the Hub marks a hidden label
            return None
        return (
            declared[value]
            if 0 <= value < len(declared)
            else f"{value} (ClassLabel has {len(declared)} names)"
        )
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    name = str(value).strip()
    if not table.typed and WHOLE_NUMBER.fullmatch(name):
        return str(int(name))
    return name or None


def _list(value: Any) -> list[Any] | None:
    if not isinstance(value, str):
        return value if value is None or isinstance(value, list) else [value]
    if value.strip().startswith("["):
        try:
            return list(json.loads(value))
        except ValueError:
            return [part.strip(" '\"") for part in value.strip(" []").split(",")]
    return [part.strip() for part in re.split(r"[|;,]", value)]


def _multi_hot(rows: Sequence[list[Any] | None]) -> bool:
    """Whether lists are rows of a 0/1 matrix (in a list of labels none occurs twice)."""
    full = [row for row in rows if row is not None]
    size = len(full[0]) if full else 0
    if size < 2 or any(len(row) != size for row in full):
        return False
    if not all(value in (0, 1) and not isinstance(value, str) for row in full for value in row):
        return False
    return any(len(set(row)) < len(row) for row in full)
