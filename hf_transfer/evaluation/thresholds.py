"""Thresholds of a multi-label model: from which probability on a label is given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hf_transfer.evaluation.arrays import checked_labels, checked_logits, same_rows

MULTI_LABEL = "multi_label_classification"


def tune(probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, min_positives: int = 5) -> np.ndarray:
    """One threshold a label, that with the highest F1 of this label; use the validation split, never test.

    Where one threshold for all labels has the higher micro F1, as with labels that are hardly told from the rest yet, it
    is taken instead.

    Every cut between two neighbouring probabilities is tried and put halfway between them; among cuts with
    equal F1 the one nearest to 0.5 is taken. A label with fewer than `min_positives` positive rows would fit
    its own noise: such labels share the one threshold that maximises micro F1 over all labels. Without any
    positive it is 0.5. For F1 by thresholds see Lipton et al. 2014, https://arxiv.org/abs/1402.1892.

    Args:
        probabilities: (rows, labels), 0 .. 1.
        labels: 0/1 matrix (rows, labels).
        min_positives: positive rows from which on a label has its own threshold.

    Returns:
        float64 (labels,), for `classification.predicted`: given when probability >= threshold.

    Raises:
        ValueError: no rows, other shapes, NaN, probabilities outside 0 .. 1, labels other than 0 and 1.
    """
    chances = checked_logits(MULTI_LABEL, probabilities)
    truths = checked_labels(MULTI_LABEL, labels, chances.shape[1])
    same_rows(chances, truths)
    if chances.min() < 0 or chances.max() > 1:
        raise ValueError("probabilities: expected 0..1 (are these logits?)")
    shared = best_cuts(chances.reshape(-1, 1), truths.reshape(-1, 1))
    own = np.where(truths.sum(axis=0) >= min_positives, best_cuts(chances, truths), shared)
    return (
        own
        if _micro_f1(chances >= own, truths) >= _micro_f1(chances >= shared, truths)
        else np.full_like(own, shared)
    )


def _micro_f1(given: np.ndarray, truths: np.ndarray) -> float:
    both = float(given.sum() + truths.sum())
    return 2 * float((given & (truths > 0)).sum()) / both if both else 0.0


def best_cuts(chances: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """The threshold with the highest F1 for each column of (rows, labels); 0.5 where nothing is positive."""
    order = np.argsort(-chances, axis=0, kind="stable")
    falling = np.take_along_axis(chances, order, axis=0)
    hits = np.cumsum(np.take_along_axis(truths, order, axis=0), axis=0)
    given = np.arange(1, len(chances) + 1)[:, None]
    f1 = 2 * hits / (given + hits[-1])
    following = np.vstack([falling[1:], np.zeros_like(falling[:1])])
    f1[:-1][falling[:-1] == falling[1:]] = -1.0  # equal probabilities cannot be told apart
    middle = (falling + following) / 2
    cuts = np.where(middle > following, middle, falling)  # neighbouring floats have no number between
    distance = np.where(f1 == f1.max(axis=0), np.abs(cuts - 0.5), np.inf)
    best = np.take_along_axis(cuts, distance.argmin(axis=0)[None], axis=0)[0]
    return np.where(hits[-1] > 0, best, 0.5)
