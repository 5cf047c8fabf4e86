"""Heads that are solved, not trained: logistic regression, ridge, prototypes, all as one linear layer on features."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hf_transfer.problems import Problem, Problems

STRENGTHS = tuple(10.0**k for k in range(-3, 4))  # of logistic regression: C, the inverse of its penalty
NEVER = -20.0  # the score of a label that no training row has
FOLDS = 5
ENOUGH = 100  # validation rows to choose on; with fewer, training rows are folded
NOTHING = "nothing: there are too few rows"
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


@dataclass(frozen=True)
class Head:
    """A linear layer: scores = features @ weight.T + bias. `weight` is (C, D), `bias` (C,)."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Scores (n, C)."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class Solved:
    """A head, how it was found, and the loss it was chosen by (the lower the better).

    Attributes:
        held: scores (n, C) and labels of the rows it was chosen on, from heads that had not seen them; None without.
    """

    head: Head
    loss: float
    facts: dict[str, Any]
    held: tuple[np.ndarray, np.ndarray] | None = None


def solve_head(
    solver: str,
    problem_type: str,
    num_labels: int,
    train: Rows,
    validation: Rows | None = None,
    has_bias: bool = True,
    calibrated: bool = True,
) -> Solved:
    """The head that `solver` finds; its strength is chosen by the loss on validation, or on folds of the training rows.

    Features are centred (where the layer has a bias) and divided by one number for all, so that strengths mean the
    same for every model (Kumar et al. 2022); the head is given for the features as they came.

    Args:
        solver: `logistic` (regression: ridge), `ridge`, or `prototypes` (class means, Snell et al. 2017, by cosine).
        has_bias: whether the layer to fill has a bias.
        calibrated: whether the scores are scaled to be the best logits on the rows that the strength is chosen on: a penalty that
            orders few rows well leaves them far too sure, or unsure. Of `logistic` alone that is a choice; as it is it fits
            the training rows, so that little pulls at the features where they learn next.

    Raises:
        Problems: the solver does not fit the problem type.
    """
    if solver == "prototypes" and problem_type != "single_label_classification":
        what = f"class means need one label a row, and this is {problem_type.replace('_', ' ')}"
        raise Problems(Problem("--strategy prototypes", what, "use feature-extraction"))
    middle = train.features.mean(axis=0) if has_bias else np.zeros(train.features.shape[1])
    spread = float(np.std(train.features - middle)) or 1.0

    def scaled(rows: Rows) -> Rows:
        return replace(rows, features=(rows.features - middle) / spread, error=rows.error / spread)

    if problem_type == "regression" or solver == "ridge":
        fit: Callable[[Rows, float], Head] = _ridge(problem_type, num_labels, has_bias)
        strengths: tuple[float, ...] = STRENGTHS
    elif solver == "logistic":
        fit, strengths = _logistic(problem_type, num_labels, has_bias), STRENGTHS
    else:
        fit, strengths = _prototypes(num_labels), (1.0,)
    train_, validation_ = scaled(train), None if validation is None else scaled(validation)
    strength, loss, factor, held, chosen_on = _chosen(
        fit, strengths, problem_type, train_, validation_, calibrate=calibrated or solver != "logistic"
    )
    found = fit(train_, strength)
    weight, never = found.weight * factor / spread, found.bias == NEVER
    head = Head(weight, np.where(never, NEVER, found.bias * factor - weight @ middle))
    facts = {
        "solver": solver,
        "strength": strength,
        "scale": factor,
        "chosen_on": chosen_on,
        "rows": len(train.labels),
        "loss": loss if np.isfinite(loss) else None,
    }
    return Solved(head, loss, facts, held)


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


def _chosen(
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


def _logistic(problem_type: str, num_labels: int, has_bias: bool) -> Callable[[Rows, float], Head]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    def solved(features: np.ndarray, labels: np.ndarray, strength: float, weights: Any) -> Any:
        model = LogisticRegression(C=strength, max_iter=500, fit_intercept=has_bias)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 500 steps come near enough
            return model.fit(features, labels, sample_weight=weights)

    def single(rows: Rows, strength: float) -> Head:
        weight, bias = _nothing(num_labels, rows)
        present = np.unique(rows.labels)
        if len(present) == 1:
            bias[present] = 0.0
            return Head(weight, bias)
        model = solved(rows.features, rows.labels, strength, rows.weights)
        own, free = model.coef_, np.broadcast_to(model.intercept_, (len(model.coef_),))
        if len(present) == 2:  # one vector tells the second class from the first
            own, free = np.concatenate([-own, own]) / 2, np.concatenate([-free, free]) / 2
        weight[present], bias[present] = own, free
        return Head(weight, bias)

    def several(rows: Rows, strength: float) -> Head:
        weight, bias = _nothing(num_labels, rows)
        for label in range(num_labels):
            truth = rows.labels[:, label].astype(int)
            if truth.all():
                bias[label] = -NEVER
            elif truth.any():
                weights = None if rows.weights is None else rows.weights[:, label]
                model = solved(rows.features, truth, strength, weights)
                weight[label], bias[label] = model.coef_[0], np.ravel(model.intercept_)[0]
        return Head(weight, bias)

    return several if problem_type == "multi_label_classification" else single


def _nothing(num_labels: int, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """A head that gives no label at all."""
    return np.zeros((num_labels, rows.features.shape[1])), np.full(num_labels, NEVER)


def _ridge(problem_type: str, num_labels: int, has_bias: bool) -> Callable[[Rows, float], Head]:
    """Least squares on values, or on -1 and 1 a label, in closed form (Hoerl and Kennard 1970)."""
    from sklearn.linear_model import Ridge

    def single(rows: Rows, strength: float) -> Head:
        values = rows.labels.reshape(len(rows.labels), -1).astype(float)
        present = np.arange(num_labels)
        if problem_type == "single_label_classification":
            present = np.unique(rows.labels)
            values = (rows.labels[:, None] == present).astype(float)
        if problem_type != "regression":
            values = 2 * values - 1
        # A penalty in units of one row's features, so that 1 means the same for 10 features and for 1,000.
        alpha = rows.features.shape[1] / strength
        weight, bias = _nothing(num_labels, rows)
        each = rows.weights is not None and rows.weights.ndim == 2  # every label has weights of its own
        for columns in np.arange(values.shape[1])[:, None] if each else [np.arange(values.shape[1])]:
            weights = rows.weights[:, columns[0]] if each and rows.weights is not None else rows.weights
            model = Ridge(alpha=alpha, fit_intercept=has_bias)
            model.fit(rows.features, values[:, columns], sample_weight=weights)
            weight[present[columns]] = np.atleast_2d(model.coef_)
            bias[present[columns]] = model.intercept_
        return Head(weight, bias)

    return single


def _prototypes(num_labels: int) -> Callable[[Rows, float], Head]:
    """Each label's score is the product with the mean of its rows' directions, of length one.

    The row's own length is left in: it changes no order of labels, so that the answer is the nearest class mean by
    cosine, and a linear layer can give it.
    """

    def single(rows: Rows, strength: float) -> Head:
        weight, bias = _nothing(num_labels, rows)
        directions = rows.features / np.linalg.norm(rows.features, axis=1, keepdims=True).clip(1e-12)
        for label in np.unique(rows.labels):
            mean = directions[rows.labels == label].mean(axis=0)
            weight[label] = mean / max(1e-12, float(np.linalg.norm(mean)))
            bias[label] = 0.0
        return Head(weight, bias)

    return single
