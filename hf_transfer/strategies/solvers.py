"""Heads that are solved, not trained: logistic regression, ridge, prototypes, all as one linear layer on features."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.selection import Rows, chosen

STRENGTHS = tuple(10.0**k for k in range(-3, 4))  # of logistic regression: C, the inverse of its penalty
NEVER = -20.0  # the score of a label that no training row has


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
    strength, loss, factor, held, chosen_on = chosen(
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
