"""Logits and labels as every function of this package reads them: checked, of one shape and one type."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")


def checked_logits(problem_type: str, logits: npt.ArrayLike, num_labels: int | None = None) -> np.ndarray:
    """Logits as float64 (rows, labels); a regression's values as (rows, 1).

    Args:
        problem_type: one of `PROBLEM_TYPES`.
        logits: (rows, labels); for regression (rows,) or (rows, 1).
        num_labels: how many columns there must be (any number if None; regression always has one).

    Raises:
        ValueError: wrong shape, no rows, or values that are NaN or infinite.
    """
    checked_problem_type(problem_type)
    values = _numbers("logits", logits)
    columns = 1 if problem_type == "regression" else num_labels
    if values.ndim == 1 and columns == 1:
        values = values[:, None]
    if values.ndim != 2 or (columns is not None and values.shape[1] != columns):
        wanted = f"(rows, {columns or 'labels'})"
        raise ValueError(f"logits: expected the shape {wanted} for {problem_type}, found {values.shape}")
    return values


def checked_labels(problem_type: str, labels: npt.ArrayLike, num_labels: int | None = None) -> np.ndarray:
    """Labels in their one form: int64 ids (rows,), int64 0/1 (rows, labels), or float64 values (rows,).

    Whole numbers of any type are read (multi-label data arrives as floats). Raises `ValueError` for a wrong
    shape, no rows, NaN, ids outside 0 .. `num_labels` - 1 and multi-label entries other than 0 and 1.
    """
    checked_problem_type(problem_type)
    values = _numbers("labels", labels)
    if problem_type == "multi_label_classification":
        if values.ndim != 2 or (num_labels is not None and values.shape[1] != num_labels):
            raise ValueError(
                f"labels: expected a 0/1 matrix (rows, {num_labels or 'labels'}), found {values.shape}"
            )
        if not np.isin(values, (0, 1)).all():
            raise ValueError("labels: a multi-label matrix holds 0 and 1 only")
        return values.astype(np.int64)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(f"labels: expected the shape (rows,) for {problem_type}, found {values.shape}")
    if problem_type == "regression":
        return values
    if (values != values.round()).any():
        raise ValueError("labels: expected whole class ids, found fractions (is this a regression?)")
    if values.min() < 0 or (num_labels is not None and values.max() >= num_labels):
        last = "" if num_labels is None else num_labels - 1
        raise ValueError(f"labels: expected ids in 0..{last}, found {int(values.min())}..{int(values.max())}")
    return values.astype(np.int64)


def checked_problem_type(problem_type: str) -> None:
    """Raise `ValueError` unless `problem_type` is one of `PROBLEM_TYPES`."""
    if problem_type not in PROBLEM_TYPES:
        raise ValueError(f"problem_type: expected one of {', '.join(PROBLEM_TYPES)}, found {problem_type!r}")


def same_rows(logits: np.ndarray, labels: np.ndarray) -> None:
    """Raise `ValueError` unless both have the same number of rows."""
    if len(logits) != len(labels):
        raise ValueError(f"found {len(logits)} rows of logits for {len(labels)} labels")


def _numbers(name: str, given: Any) -> np.ndarray:
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: expected an array of numbers with rows of equal length ({error})"
        ) from error
    if not values.size:
        raise ValueError(f"{name}: nothing to evaluate, there are no rows")
    wrong = ~np.isfinite(values)
    if wrong.any():
        rows = np.flatnonzero(wrong.reshape(len(values), -1).any(axis=1)) if values.ndim else np.zeros(1, int)
        kind = "NaN" if np.isnan(values).any() else "infinite"
        total = len(values) if values.ndim else 1
        raise ValueError(f"{name}: {len(rows)} of {total} rows are {kind} (the first is row {rows[0]})")
    return values
