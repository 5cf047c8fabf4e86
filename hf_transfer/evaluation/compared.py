"""Whether one set of scores is better than another on the same rows, beyond what chance makes of so few rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_transfer.evaluation import weighted
from hf_transfer.evaluation.classification import headline, predicted, probabilities
from hf_transfer.evaluation.intervals import resampled
from hf_transfer.evaluation.thresholds import tune

RESAMPLES = 500
Thresholds = tuple[Any, Any]  # each a number for all labels, one a label, or None


@dataclass(frozen=True)
class Compared:
    """The headline metric of two sets of scores; of its difference over the rows the standard error and 95 % interval."""

    metric: str
    first: float
    second: float
    error: float
    low: float = float("nan")
    high: float = float("nan")

    @property
    def better(self) -> bool:
        """Whether the second is better by more than one standard error."""
        return self.second - self.first > self.error


def compared(
    problem_type: str,
    first: np.ndarray,
    second: np.ndarray,
    labels: np.ndarray,
    thresholds: Thresholds = (None, None),
) -> Compared:
    """Two sets of scores by the headline metric; the error is the paired bootstrap's over rows.

    Args:
        problem_type: as in `classification.compute`.
        first, second: scores (n, C), the same rows.
        labels: ids (n,), a 0/1 matrix (n, C) or values (n,).
        thresholds: of the first and of the second, from which several labels are given; None: tuned on these rows.
    """
    whole = np.ones((1, len(labels)))
    (one, other), scores = thresholds, (first, second)
    before, after = (
        float(_metric(problem_type, found, labels, whole, cut)[0])
        for found, cut in zip(scores, thresholds, strict=True)
    )
    gains = [
        _metric(problem_type, second, labels, counts, other)
        - _metric(problem_type, first, labels, counts, one)
        for counts in resampled(np.ones(len(labels), dtype=np.int64), RESAMPLES, seed=0)
    ]
    every = np.concatenate(gains)
    low, high = (float(end) for end in np.percentile(every, (2.5, 97.5)))
    return Compared(headline(problem_type), before, after, float(np.std(every)), low, high)


def _metric(
    problem_type: str, scores: np.ndarray, labels: np.ndarray, counts: np.ndarray, threshold: Any
) -> np.ndarray:
    """The headline metric for each resample (resamples,); 0 where it is undefined."""
    if problem_type == "regression":
        found = weighted.pearsonr(counts, scores[:, 0], labels.astype(float))
    elif problem_type == "multi_label_classification":
        thresholds = tune(probabilities(problem_type, scores), labels) if threshold is None else threshold
        said = predicted(problem_type, scores, thresholds).astype(float)
        found = weighted.f1(counts, labels.astype(float), said, "micro")
    else:
        found = weighted.mean(counts, (predicted(problem_type, scores) == labels).astype(float))
    return np.nan_to_num(found)
