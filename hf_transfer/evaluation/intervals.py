"""Bootstrap intervals: how far a metric may move with another draw of the same number of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from hf_transfer.evaluation import weighted
from hf_transfer.evaluation.arrays import checked_labels, checked_logits, same_rows
from hf_transfer.evaluation.classification import predicted, probabilities
from hf_transfer.evaluation.scores import in_top

Statistic = Callable[[np.ndarray], np.ndarray]  # counts (resamples, rows) -> (resamples,)
BLOCK = 2_000_000  # counts held at once: 16 MB


def intervals(
    problem_type: str,
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    keys: Sequence[str],
    *,
    num_labels: int,
    thresholds: float | npt.ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap over rows for each of `keys` (Efron and Tibshirani 1993, chapter 13).

    It is about the rows only: not about another seed, another training set, or thresholds tuned anew. An area
    or average precision is meaned over the classes that a resample holds.

    Args:
        problem_type: as in `classification.compute`, with which the other arguments agree.
        logits: (rows, num_labels); for regression (rows,) or (rows, 1).
        labels: ids (rows,), a 0/1 matrix (rows, num_labels), or values (rows,).
        keys: which of `compute`'s keys; one that `compute` leaves out for these labels is left out here.
        num_labels: how many labels the model knows.
        thresholds: multi-label only.
        resamples: how many; 1000 settle each end to about 2 % of the interval's width.
        seed: same seed, same interval, whatever else is asked for.

    Returns:
        `{key: (low, high)}`.

    Raises:
        ValueError: a key that has no interval, or input that `compute` refuses too.
    """
    values = checked_logits(problem_type, logits, num_labels)
    truths = checked_labels(problem_type, labels, num_labels)
    same_rows(values, truths)
    guesses = predicted(problem_type, values, thresholds)
    chances = probabilities(problem_type, values)

    rows = resampled(np.ones(len(truths), dtype=np.int64), resamples, seed)
    if problem_type == "regression":
        families = [(rows, _regression(guesses, truths))]
    elif problem_type == "multi_label_classification":
        families = [(rows, _multi_label(guesses, chances, truths))]
    else:
        # To these metrics rows of equal truth and prediction are one kind: draw how many there are of each.
        cells, sizes = np.unique(truths * num_labels + guesses, return_counts=True)
        kinds = resampled(sizes, resamples, seed)
        families = [(kinds, _confusion(cells, num_labels)), (rows, _ranking(chances, truths))]

    known = [key for _, statistics in families for key in statistics]
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise ValueError(f"keys: no interval for {', '.join(unknown)}; there are {', '.join(known)}")
    found = {
        key: values for draws, statistics in families for key, values in _values(draws, statistics, keys)
    }
    return {key: _ends(found[key]) for key in keys if len(found[key])}


def settled(spans: dict[str, tuple[float, float]], rows: int) -> dict[str, tuple[float, float]]:
    """`intervals` without those of no width: where every resample gives the same value, the bootstrap knows nothing.

    A share of rows (each row right, say) has Wilson's interval there (1927), the other metrics none.
    """
    from scipy.stats import binomtest

    found = {key: span for key, span in spans.items() if span[0] < span[1]}
    for key in {"accuracy", "top5_accuracy"} & (spans.keys() - found.keys()):
        wilson = binomtest(round(spans[key][0] * rows), rows).proportion_ci(method="wilson")
        found[key] = float(wilson.low), float(wilson.high)
    return found


def resampled(sizes: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each kind of row is drawn when as many rows as there are are drawn with replacement.

    Args:
        sizes: how many rows there are of each kind (kinds,): ones when every row is its own kind.
        resamples: how many draws.
        seed: same seed, same draws.

    Yields:
        Counts (some of the resamples, kinds), float64.
    """
    generator = np.random.default_rng(seed)
    total, kinds = int(sizes.sum()), len(sizes)
    block = max(1, BLOCK // kinds)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        if kinds < total:
            yield generator.multinomial(total, sizes / total, size=size).astype(float)
        else:  # the same, faster
            drawn = generator.integers(0, kinds, (size, kinds)) + kinds * np.arange(size)[:, None]
            yield np.bincount(drawn.ravel(), minlength=size * kinds).reshape(size, kinds).astype(float)


def _values(
    draws: Iterator[np.ndarray], statistics: dict[str, Statistic], keys: Sequence[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Each wanted statistic with its values, (resamples,) less those where it is undefined."""
    wanted = [key for key in keys if key in statistics]
    if wanted:
        blocks = [[statistics[key](counts) for key in wanted] for counts in draws]
        for key, values in zip(wanted, np.concatenate(blocks, axis=1), strict=True):
            yield key, values[~np.isnan(values)]


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def _confusion(cells: np.ndarray, num_labels: int) -> dict[str, Statistic]:
    true = weighted.indicator(cells // num_labels, num_labels)
    said = weighted.indicator(cells % num_labels, num_labels)
    right = (true * said).sum(axis=1)
    return {
        "accuracy": lambda counts: weighted.mean(counts, right),
        "f1_macro": lambda counts: weighted.f1(counts, true, said, "present"),
        "f1_weighted": lambda counts: weighted.f1(counts, true, said, "weighted"),
        "matthews_correlation": lambda counts: weighted.matthews_correlation(counts, true, said),
    }


def _ranking(chances: np.ndarray, truths: np.ndarray) -> dict[str, Statistic]:
    num_labels = chances.shape[1]
    first = 1 if num_labels == 2 else 0  # of two classes the scores of class 1 say it all
    true, scores = np.eye(num_labels)[truths, first:], chances[:, first:]

    def roc_auc(counts: np.ndarray) -> np.ndarray:
        if len(np.unique(truths)) < num_labels:  # `compute` leaves it out, and so do we
            return np.full(len(counts), np.nan)
        return weighted.over_labels(weighted.roc_auc, counts, true, scores)

    statistics: dict[str, Statistic] = {"roc_auc": roc_auc}
    if num_labels > 5:
        hits = in_top(chances, truths, 5).astype(float)
        statistics["top5_accuracy"] = lambda counts: weighted.mean(counts, hits)
    return statistics


def _multi_label(guesses: np.ndarray, chances: np.ndarray, truths: np.ndarray) -> dict[str, Statistic]:
    true, said = truths.astype(float), guesses.astype(float)
    whole = (truths == guesses).all(axis=1).astype(float)
    return {
        "f1_micro": lambda counts: weighted.f1(counts, true, said, "micro"),
        "f1_macro": lambda counts: weighted.f1(counts, true, said, "macro"),
        "map": lambda counts: weighted.over_labels(weighted.average_precision, counts, true, chances),
        "accuracy": lambda counts: weighted.mean(counts, whole),
    }


def _regression(guesses: np.ndarray, truths: np.ndarray) -> dict[str, Statistic]:
    return {
        "pearsonr": lambda counts: weighted.pearsonr(counts, guesses, truths),
        "spearmanr": lambda counts: weighted.spearmanr(counts, guesses, truths),
        "mse": lambda counts: weighted.mean(counts, (guesses - truths) ** 2),
    }
