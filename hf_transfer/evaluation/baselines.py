"""What is reached without looking at the input: the line that every metric must stand above."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hf_transfer.evaluation.arrays import checked_labels
from hf_transfer.evaluation.classification import compute


def baseline(
    problem_type: str, train_labels: npt.ArrayLike, labels: npt.ArrayLike, *, num_labels: int
) -> dict[str, float]:
    """The metrics of the best constant answer, learnt from `train_labels` and measured on `labels`.

    Single label: the largest class of train (the lowest id among equals); classes are ranked by size for
    `top5_accuracy`, and `roc_auc` is 0.5. Multi-label: the one set of labels with the highest micro F1 on
    train; `map` is the mean share of the labels that occur. Regression: train's mean; its correlations are
    undefined and given as 0.0.

    Args:
        problem_type: as in `classification.compute`.
        train_labels: the labels learnt from: ids (rows,), a 0/1 matrix (rows, num_labels), or values (rows,).
        labels: the labels measured on, in the same form.
        num_labels: how many labels the model knows.

    Returns:
        The keys of `classification.compute`.
    """
    known = checked_labels(problem_type, train_labels, num_labels)
    if problem_type == "regression":
        answer = np.array([known.mean()])
    elif problem_type == "single_label_classification":
        answer = np.log1p(np.bincount(known, minlength=num_labels))
    else:
        answer = np.where(best_constant_set(known), 1.0, -1.0)
    rows = len(checked_labels(problem_type, labels, num_labels))
    return compute(problem_type, np.tile(answer, (rows, 1)), labels, num_labels=num_labels)


def best_constant_set(labels: np.ndarray) -> np.ndarray:
    """The set of labels, bool (labels,), whose micro F1 is highest when given to every row of a 0/1 matrix.

    Of all sets of k labels the k most frequent have the most hits, so only those need be tried.
    """
    frequency = labels.sum(axis=0)
    order = np.argsort(-frequency, kind="stable")
    sizes = np.arange(1, len(order) + 1)
    f1_micro = 2 * np.cumsum(frequency[order]) / (len(labels) * sizes + frequency.sum())
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order[: f1_micro.argmax() + 1]] = True
    return chosen
