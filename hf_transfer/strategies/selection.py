"""What a choice among heads is made on: rows that were held out, the loss there, and the scale that makes scores logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hf_transfer.strategies.solvers import Head

FOLDS = 5
ENOUGH = 100  # validation rows to choose on; with fewer, training rows are folded
NOTHING = "nothing, as there are too few rows"
MOST = 10_000  # rows that are chosen on: more settle nothing


@dataclass(frozen=True)
class Rows:
    """Features (n, D) and labels as `evaluation.classification.compute` takes them.

    Attributes:
        error: how far rounding moves a feature (root mean square): the same row in another batch differs by so much.
        weights: how much each row counts (n,), or with several labels each answer (n, C); None: all the same.
    """

    features: np.ndarray
    labels: np.ndarray
    error: float = 0.0
    weights: np.ndarray | None = None


def loss(
    problem_type: str, scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Mean log loss, binary log loss or squared error: what transformers' heads are trained by.

    Args:
        weights: as in `Rows`.
    """
    found = losses(problem_type, scores, labels)
    return float(np.mean(found if weights is None else found * weights))


def losses(problem_type: str, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The same for each row (n,), or with several labels for each answer (n, C)."""
    from scipy.special import log_expit, log_softmax

    if problem_type == "regression":
        found = (scores[:, 0] - labels) ** 2
    elif problem_type == "multi_label_classification":
        found = -(labels * log_expit(scores) + (1 - labels) * log_expit(-scores))
    else:
        found = -log_softmax(scores, axis=1)[np.arange(len(labels)), labels]
    return np.asarray(found)


def chosen(
    fit: Callable[[Rows, float], Head],
    strengths: tuple[float, ...],
    problem_type: str,
    train: Rows,
    validation: Rows | None,
    calibrate: bool,
) -> tuple[float, float, float, Any, str]:
    """Strength, its loss, the factor that makes its scores logits, scores and labels, and what it was chosen on."""
    held, chosen_on = held_out(problem_type, train, validation)
    if not held:
        return 1.0, float("inf"), 1.0, None, NOTHING
    best: tuple[float, float, float, Any] = (1.0, float("inf"), 1.0, None)
    truths = np.concatenate([rows.labels for _, rows in held])
    weights = None if train.weights is None else np.concatenate([rows.weights for _, rows in held])
    told = told_apart(problem_type, train.labels)
    for strength in strengths:
        heads = [fit(rows, strength) for rows, _ in held]
        scores = np.concatenate(
            [head(others.features) for head, (_, others) in zip(heads, held, strict=True)]
        )
        factor = calibration(problem_type, scores, truths, told, weights) if calibrate else 1.0
        most = _steadiest(heads, scores, train.error)
        if best[1] < float("inf") and most < 1:
            break
        factor = min(factor, 10 * most)  # which is a fraction of it too
        found = loss(problem_type, scores * factor, truths, weights)
        if found < best[1]:
            best = (strength, found, factor, (scores * factor, truths))
    return *best, chosen_on


def _steadiest(heads: list[Head], scores: np.ndarray, error: float) -> float:
    """The largest factor at which rounding of the features moves scores by no more than a fraction of what a reload is checked to.

    Features that hardly differ between rows can be told apart in double precision by huge weights alone.
    """
    moved = error * max(float(np.linalg.norm(head.weight, axis=1).max()) for head in heads)
    return float("inf") if moved <= 2e-5 * float(np.abs(scores).max()) else 2e-5 / moved


def held_out(problem_type: str, train: Rows, validation: Rows | None) -> tuple[list[tuple[Rows, Rows]], str]:
    """Pairs of rows to fit on and rows to measure on, and what they are in words; no pairs where there are too few."""
    from sklearn.model_selection import KFold, StratifiedKFold

    def some(rows: Rows) -> Rows:
        return (
            rows
            if len(rows.labels) <= MOST
            else picked(rows, np.linspace(0, len(rows.labels) - 1, MOST, dtype=int))
        )

    single = problem_type == "single_label_classification"
    if validation is not None and single:  # a label that nothing can be learned of says nothing of a head
        validation = picked(validation, np.flatnonzero(np.isin(validation.labels, train.labels)))
    if validation is not None and len(validation.labels) >= ENOUGH:
        return [(some(train), some(validation))], "validation"
    alone = np.zeros(0, dtype=int)  # the only rows of their labels, which are never held out
    places = np.arange(len(train.labels))
    if single:
        _, which, counts = np.unique(train.labels, return_inverse=True, return_counts=True)
        alone, places = np.flatnonzero(counts[which] == 1), np.flatnonzero(counts[which] > 1)
        several = counts[counts > 1]
        folds = min(FOLDS, int(several.min())) if len(several) > 1 else 0
        split: Any = StratifiedKFold(max(2, folds), shuffle=True, random_state=0)
    else:
        folds = min(FOLDS, len(train.labels))
        split = KFold(max(2, folds), shuffle=True, random_state=0)
    if folds < 2:
        return [], ""
    parts = split.split(places, train.labels[places])
    return [
        (picked(train, np.concatenate([places[a], alone])), picked(train, places[b])) for a, b in parts
    ], f"{folds} folds of the training rows"


def told_apart(problem_type: str, labels: np.ndarray) -> np.ndarray:
    """The columns of scores that a head can learn from these labels: classes with a row, of several labels those with a yes and a no."""
    if problem_type == "single_label_classification":
        return np.unique(labels)
    if problem_type == "multi_label_classification":
        return np.flatnonzero(labels.any(axis=0) & ~labels.all(axis=0))
    return np.zeros(1, dtype=int)


def picked(rows: Rows, index: np.ndarray) -> Rows:
    """Some of the rows."""
    weights = None if rows.weights is None else rows.weights[index]
    return replace(rows, features=rows.features[index], labels=rows.labels[index], weights=weights)


def calibration(
    problem_type: str,
    scores: np.ndarray,
    labels: np.ndarray,
    told: np.ndarray,
    weights: np.ndarray | None = None,
) -> float:
    """The number (a temperature's inverse; Guo et al. 2017) that makes scores the best logits.

    As if one row more of every label had been seen with these scores (Platt 1999): rows that are all right would make
    the model infinitely sure.

    Args:
        told: from `told_apart`. The others' scores are far off and fixed: no row more of them.
    """
    from scipy.optimize import minimize_scalar

    if problem_type == "regression" or not len(told):
        return 1.0
    several = problem_type == "multi_label_classification"
    if several:
        scores, labels = scores[:, told], labels[:, told]
        weights = None if weights is None else weights[:, told]
    size = 2 if several else len(told)
    unsure = size / (len(labels) + size)

    def smoothed(t: float) -> float:
        logits = scores * np.exp(t)
        others = [1 - labels, labels] if several else [np.full(len(labels), c) for c in told]
        even = np.mean([loss(problem_type, logits, other) for other in others])
        return float((1 - unsure) * loss(problem_type, logits, labels, weights) + unsure * even)

    return float(np.exp(minimize_scalar(smoothed, bounds=(-6, 8), method="bounded").x))
