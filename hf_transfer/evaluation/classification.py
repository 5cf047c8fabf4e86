"""Metrics of a classifier or a regression from its logits, under the names that `all_results.json` uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hf_transfer.evaluation import scores
from hf_transfer.evaluation.arrays import checked_labels, checked_logits, checked_problem_type, same_rows
from hf_transfer.evaluation.metrics import load_metric
from hf_transfer.problems import Problem, Problems

HEADLINES = {
    "single_label_classification": "accuracy",
    "multi_label_classification": "f1_micro",
    "regression": "pearsonr",
    "language_modeling": "perplexity",
}
LOWER_IS_BETTER = ("perplexity",)


def headline(problem_type: str) -> str:
    """The metric that the best model is chosen by and that stands first in reports."""
    if problem_type not in HEADLINES:
        checked_problem_type(problem_type)
    return HEADLINES[problem_type]


def probabilities(problem_type: str, logits: npt.ArrayLike) -> np.ndarray:
    """Softmax or sigmoid of logits (rows, labels), float64; a regression's values unchanged, as (rows, 1)."""
    from scipy.special import expit, softmax

    values = checked_logits(problem_type, logits)
    if problem_type == "regression":
        return values
    multi_label = problem_type == "multi_label_classification"
    return np.asarray(expit(values) if multi_label else softmax(values, axis=1))


def predicted(
    problem_type: str, logits: npt.ArrayLike, thresholds: float | npt.ArrayLike | None = None
) -> np.ndarray:
    """What the model says: ids (rows,) int64, a 0/1 matrix (rows, labels) int64, or values (rows,) float64.

    Args:
        problem_type: as in the model's config.
        logits: (rows, labels); for regression (rows,) or (rows, 1).
        thresholds: multi-label only; a label is given when its probability reaches its threshold. One number
            for all labels or one each; 0.5 if None.
    """
    values = checked_logits(problem_type, logits)
    if problem_type == "regression":
        return values[:, 0]
    if problem_type == "single_label_classification":
        return np.argmax(values, axis=1)
    limits = np.asarray(0.5 if thresholds is None else thresholds, dtype=np.float64)
    if limits.shape not in ((), (values.shape[1],)) or np.isnan(limits).any():
        raise ValueError(f"thresholds: expected {values.shape[1]} numbers, one a label, found {thresholds!r}")
    return np.asarray(probabilities(problem_type, values) >= limits, dtype=np.int64)


def compute(
    problem_type: str,
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    num_labels: int,
    thresholds: float | npt.ArrayLike | None = None,
    extra: Sequence[Any] = (),
) -> dict[str, float]:
    """All metrics of one evaluation, keys without a prefix.

    Args:
        problem_type: `single_label_classification`, `multi_label_classification` or `regression`.
        logits: (rows, num_labels); for regression (rows,) or (rows, 1).
        labels: ids (rows,), a 0/1 matrix (rows, num_labels) of any number type, or values (rows,).
        num_labels: how many labels the model knows (1 for regression).
        thresholds: multi-label only, as in `predicted`.
        extra: further metrics: names, paths and Hub ids for `load_metric`, or loaded `evaluate` metrics. A
            key that one of them returns replaces ours.

    Returns:
        Single label: `accuracy, f1_macro, f1_weighted, matthews_correlation, roc_auc` (absent when a class
        has no row) and, with more than five labels, `top5_accuracy`. Multi-label: `accuracy` (whole rows),
        `f1_micro, f1_macro, map` (absent when no label occurs). Regression: `pearsonr, spearmanr, mse`.

    Raises:
        ValueError: no rows, wrong shapes, NaN or infinite values, labels out of range.
        Problems: an extra metric cannot be loaded, fails, or returns no number.
    """
    values = checked_logits(problem_type, logits, num_labels)
    truths = checked_labels(problem_type, labels, num_labels)
    same_rows(values, truths)
    guesses = predicted(problem_type, values, thresholds)
    chances = probabilities(problem_type, values)
    measure = {
        "single_label_classification": _single_label,
        "multi_label_classification": _multi_label,
        "regression": _regression,
    }[problem_type]
    results = measure(guesses, chances, truths)
    for metric in extra:
        results |= _extra(metric, problem_type, guesses, chances, truths)
    return results


def _single_label(guesses: np.ndarray, chances: np.ndarray, truths: np.ndarray) -> dict[str, float]:
    results = scores.accuracy(guesses, truths)
    for average in ("macro", "weighted"):
        results[f"f1_{average}"] = scores.f1(guesses, truths, average)["f1"]
    results |= scores.matthews_correlation(guesses, truths)
    results |= scores.roc_auc(chances, truths)
    if chances.shape[1] > 5:
        results |= scores.top5_accuracy(chances, truths)
    return results


def _multi_label(guesses: np.ndarray, chances: np.ndarray, truths: np.ndarray) -> dict[str, float]:
    results = {f"f1_{average}": scores.f1(guesses, truths, average)["f1"] for average in ("micro", "macro")}
    return results | scores.mean_average_precision(chances, truths) | scores.accuracy(guesses, truths)


def _regression(guesses: np.ndarray, chances: np.ndarray, truths: np.ndarray) -> dict[str, float]:
    return scores.pearsonr(guesses, truths) | scores.spearmanr(guesses, truths) | scores.mse(guesses, truths)


def _extra(
    metric: Any, problem_type: str, guesses: np.ndarray, chances: np.ndarray, truths: np.ndarray
) -> dict[str, float]:
    config = None
    if problem_type == "multi_label_classification":
        config = "multilabel"
    elif chances.shape[1] > 2:
        config = "multiclass"
    else:
        chances = chances[:, -1]  # a two-class metric wants the scores of class 1
    loaded = load_metric(metric, config) if isinstance(metric, str) else metric
    features = getattr(loaded, "features", {})
    names = features[0] if isinstance(features, list) else features
    given = {"prediction_scores": chances} if "prediction_scores" in names else {"predictions": guesses}
    where = f"metric {metric if isinstance(metric, str) else getattr(metric, 'name', metric)}"
    try:
        found = loaded.compute(references=truths, **given)
    except Exception as error:  # code of somebody else: any kind may come
        what, mend = (
            f"fails on these predictions: {error}",
            "copy its file, set its options there, name the copy",
        )
        raise Problems(Problem(where, what, mend)) from error
    numbers = (int, float, np.number)
    results = {key: float(value) for key, value in (found or {}).items() if isinstance(value, numbers)}
    if found and not results:  # an empty answer is a metric that is undefined here, like ours
        raise Problems(Problem(where, f"returns no number, but {found!r}", "take one that returns numbers"))
    return results
