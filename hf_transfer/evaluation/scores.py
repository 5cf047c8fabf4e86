"""Every metric as a plain function: arrays in, a dict of floats out.

The `evaluate.Metric` modules under `metrics/` wrap these, so that one definition serves training,
`evaluate.load` and the command line. A metric that the data leave undefined gives an empty dict: absent, not
zero. scikit-learn and scipy are imported on first use (about a second).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Scores = dict[str, float]


def accuracy(predictions: npt.ArrayLike, references: npt.ArrayLike) -> Scores:
    """Share of rows that are right; of 0/1 matrices (rows, labels), the rows with every label right."""
    guesses, truths = _pair(predictions, references)
    right = guesses == truths
    return {"accuracy": float(right.reshape(len(right), -1).all(axis=1).mean())}


def f1(predictions: npt.ArrayLike, references: npt.ArrayLike, average: str = "macro") -> Scores:
    """F1 of ids (rows,) or 0/1 matrices (rows, labels); `average` is macro, micro, weighted or binary.

    Macro is over the classes that occur in truth or prediction, and over all columns of a matrix; a class
    without a hit counts 0 (scikit-learn's rules,
    https://scikit-learn.org/stable/modules/model_evaluation.html).
    """
    from sklearn.metrics import f1_score

    guesses, truths = _pair(predictions, references)
    return {"f1": float(f1_score(truths, guesses, average=average, zero_division=0.0))}


def matthews_correlation(predictions: npt.ArrayLike, references: npt.ArrayLike) -> Scores:
    """Correlation of true and predicted ids (rows,), -1 .. 1; 0.0 when either holds a single class.

    For many classes it is Gorodkin's R_K (2004), https://doi.org/10.1016/j.compbiolchem.2004.09.006.
    """
    from sklearn.metrics import matthews_corrcoef

    guesses, truths = _pair(predictions, references)
    if (guesses == guesses[0]).all() or (truths == truths[0]).all():
        return {"matthews_correlation": 0.0}
    return {"matthews_correlation": float(matthews_corrcoef(truths, guesses))}


def roc_auc(prediction_scores: npt.ArrayLike, references: npt.ArrayLike) -> Scores:
    """Area under the ROC curve, 0 .. 1, from ids (rows,) or a 0/1 matrix (rows, labels).

    Two classes: the scores of class 1, as (rows,) or the last of (rows, 2). More: the mean over
    one-against-rest of (rows, labels). Empty when a class has no row, or has
    every row.
    """
    from sklearn.metrics import roc_auc_score

    scores, truths = _pair(prediction_scores, references)
    if scores.ndim == 2 and scores.shape[1] == 2 and truths.ndim == 1:
        scores = scores[:, 1]
    if truths.ndim == 1:
        classes = np.arange(2 if scores.ndim == 1 else scores.shape[1])
        truths = truths[:, None] == (classes[1:] if scores.ndim == 1 else classes)
    if truths.all(axis=0).any() or not truths.any(axis=0).all():
        return {}
    return {"roc_auc": float(roc_auc_score(truths, scores.reshape(truths.shape), average="macro"))}


def top5_accuracy(prediction_scores: npt.ArrayLike, references: npt.ArrayLike) -> Scores:
    """Share of rows whose true id is among the five highest of (rows, labels); among equals the lower."""
    scores, truths = _pair(prediction_scores, references)
    return {"top5_accuracy": float(in_top(scores, truths.astype(int), 5).mean())}


def in_top(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Which rows have their true id among the `k` highest scores, bool (rows,)."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return (best == labels[:, None]).any(axis=1)


def mean_average_precision(prediction_scores: npt.ArrayLike, references: npt.ArrayLike) -> Scores:
    """Average precision of each column of (rows, labels), mean of the labels that occur; empty if none."""
    from sklearn.metrics import average_precision_score

    scores, truths = _pair(prediction_scores, references)
    occurs = truths.any(axis=0)
    if not occurs.any():
        return {}
    return {"map": float(average_precision_score(truths[:, occurs], scores[:, occurs], average="macro"))}


def pearsonr(predictions: npt.ArrayLike, references: npt.ArrayLike) -> Scores:
    """Pearson's correlation of values (rows,); 0.0 where it is undefined: constant values or one row."""
    from scipy.stats import pearsonr as pearson

    guesses, truths = _pair(predictions, references)
    if _constant(guesses) or _constant(truths):
        return {"pearsonr": 0.0}
    return {"pearsonr": float(pearson(guesses, truths).statistic)}


def spearmanr(predictions: npt.ArrayLike, references: npt.ArrayLike) -> Scores:
    """Spearman's rank correlation of values (rows,), ties by mean rank; 0.0 where it is undefined."""
    from scipy.stats import rankdata

    guesses, truths = _pair(predictions, references)
    return {"spearmanr": pearsonr(rankdata(guesses), rankdata(truths))["pearsonr"]}


def mse(predictions: npt.ArrayLike, references: npt.ArrayLike) -> Scores:
    """Mean squared error of values (rows,), in the square of the label's unit."""
    guesses, truths = _pair(predictions, references)
    return {"mse": float(np.mean((guesses - truths) ** 2))}


def _pair(predictions: npt.ArrayLike, references: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    guesses, truths = np.asarray(predictions), np.asarray(references)
    if not len(truths):
        raise ValueError("references: nothing to evaluate, there are no rows")
    if len(guesses) != len(truths):
        raise ValueError(f"found {len(guesses)} predictions for {len(truths)} references")
    for name, values in (("predictions", guesses), ("references", truths)):
        if np.isnan(values.astype(float)).any():
            raise ValueError(f"{name}: NaN found")
    return guesses, truths


def _constant(values: np.ndarray) -> bool:
    """Equal up to rounding, by scipy's own bound, below which a correlation is noise."""
    spread = np.linalg.norm(values - values.mean())
    return bool(spread <= 1e-13 * abs(values.mean()) or (values == values[0]).all())
