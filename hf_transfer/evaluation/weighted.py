"""The metrics again, for many weightings of the same rows at once: what makes a bootstrap fast.

A resample of n rows with replacement is a vector of n counts, how often each row was drawn. Each function
takes counts (resamples, rows) and returns one number a resample, NaN where it is undefined. With every count
1 they equal the functions of `scores`, which take one resample at a time and so many times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def indicator(ids: np.ndarray, num_labels: int) -> Any:
    """Ids (rows,) as a 0/1 matrix (rows, num_labels): sparse, for the sake of a thousand classes."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(ids)), (np.arange(len(ids)), ids)), shape=(len(ids), num_labels))


def mean(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of values (rows,)."""
    return counts @ values / counts.sum(axis=1)


def f1(counts: np.ndarray, truths: Any, guesses: Any, average: str) -> np.ndarray:
    """F1 of 0/1 matrices (rows, labels), dense or sparse; `average` is micro, macro, present or weighted.

    `macro` is over all columns, `present` over those that occur in truth or prediction: the rule for ids.
    """
    hits, true, said = counts @ (truths * guesses), counts @ truths, counts @ guesses
    if average == "micro":
        return _ratio(2 * hits.sum(axis=1), (true + said).sum(axis=1), 0.0)
    each = _ratio(2 * hits, true + said, 0.0)
    weights = {"macro": np.ones_like(true), "present": np.sign(true + said), "weighted": true}[average]
    return _ratio((each * weights).sum(axis=1), weights.sum(axis=1), 0.0)


def matthews_correlation(counts: np.ndarray, truths: Any, guesses: Any) -> np.ndarray:
    """Matthews' correlation of 0/1 matrices (rows, labels) with a single 1 a row; 0 where it is undefined."""
    rows = counts.sum(axis=1)
    hits, true, said = counts @ (truths * guesses), counts @ truths, counts @ guesses
    covariance = rows * hits.sum(axis=1) - (true * said).sum(axis=1)
    spread = (rows**2 - (true**2).sum(axis=1)) * (rows**2 - (said**2).sum(axis=1))
    return _ratio(covariance, np.sqrt(spread), 0.0)


def roc_auc(counts: np.ndarray, truths: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of scores (rows,) for truths 0/1 (rows,): P(higher) + P(equal) / 2."""
    order, groups, _ = _sorted_groups(scores)
    positives = np.add.reduceat(counts[:, order] * truths[order], groups, axis=1)
    negatives = np.add.reduceat(counts[:, order], groups, axis=1) - positives
    below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    return _ratio((positives * below).sum(axis=1), pairs, np.nan)


def average_precision(counts: np.ndarray, truths: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Average precision of scores (rows,) for truths 0/1 (rows,): the mean precision down to each hit."""
    order, groups, group = _sorted_groups(-scores)
    # Precision is asked for only where hits are: sum the rows between two groups with hits in one go.
    wanted = np.unique(group[truths > 0])
    if not len(wanted):
        return np.full(len(counts), np.nan)
    ends = np.append(groups, len(scores))[wanted + 1]
    starts = np.concatenate(([0], ends[:-1]))
    upto = counts[:, order[: ends[-1]]]
    rows = np.cumsum(np.add.reduceat(upto, starts, axis=1), axis=1)
    hits = np.add.reduceat(upto * truths[order[: ends[-1]]], starts, axis=1)
    precision = _ratio(np.cumsum(hits, axis=1), rows, 0.0)
    return _ratio((hits * precision).sum(axis=1), hits.sum(axis=1), np.nan)


def over_labels(
    statistic: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    counts: np.ndarray,
    truths: np.ndarray,
    scores: np.ndarray,
) -> np.ndarray:
    """`roc_auc` or `average_precision` by column of (rows, labels), mean of the columns where defined."""
    columns = zip(truths.T, scores.T, strict=True)
    each = np.stack([statistic(counts, truth, score) for truth, score in columns])
    return _ratio(np.nansum(each, axis=0), (~np.isnan(each)).sum(axis=0), np.nan)


def pearsonr(counts: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation of (rows,), or (resamples, rows) if values differ by resample; 0 if undefined."""
    rows = counts.sum(axis=1)

    def moment(values: np.ndarray) -> np.ndarray:
        return (counts @ values if values.ndim == 1 else (counts * values).sum(axis=1)) / rows

    first, second = first - first.mean(), second - second.mean()  # small numbers: less cancellation below
    covariance = moment(first * second) - moment(first) * moment(second)
    spreads = [moment(values**2) - moment(values) ** 2 for values in (first, second)]
    noise = [1e-12 * (values**2).mean() for values in (first, second)]  # of rounding, when all are equal
    varies = (spreads[0] > noise[0]) & (spreads[1] > noise[1])
    product = np.where(varies, spreads[0] * spreads[1], 0.0)
    return np.clip(_ratio(covariance, np.sqrt(product), 0.0), -1.0, 1.0)


def spearmanr(counts: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of (rows,): ranks are taken within each resample, ties by mean rank."""
    return pearsonr(counts, _ranks(counts, first), _ranks(counts, second))


def _ranks(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    order, groups, group = _sorted_groups(values)
    size = np.add.reduceat(counts[:, order], groups, axis=1)
    return (np.cumsum(size, axis=1) - (size - 1) / 2)[:, group]


def _sorted_groups(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order of `values`, where each run of equal ones starts in it, and the run that each row is in."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    return order, np.searchsorted(group[order], np.arange(group.max() + 1)), group


def _ratio(above: np.ndarray, below: np.ndarray, otherwise: float) -> np.ndarray:
    """`above / below`, and `otherwise` where `below` is not positive."""
    return np.divide(above, below, out=np.full(np.shape(above), otherwise), where=below > 0)
