"""How far a model has moved from the checkpoint it began as: its features, its weights, its answers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from hf_transfer.evaluation.classification import predicted, probabilities

ROUNDING = 1e-6  # features that vary less than this share of their size are the same in every row


def linear_cka(a: npt.ArrayLike, b: npt.ArrayLike) -> float | None:
    """Linear centred kernel alignment of features (n, D) and (n, E) of the same rows (Kornblith et al. 2019).

    1 for equal features, and to rounding for rotated or scaled ones. The estimate is the authors' biased one: with fewer
    rows than features it comes out too near to 1, so compare values of the same rows only.

    Returns:
        A number from 0 to 1; None where the features do not vary over the rows.

    Raises:
        ValueError: these are not two matrices with as many rows.
    """
    one, two = _matrices(a, b)
    if one.shape == two.shape and np.array_equal(one, two):
        return 1.0
    spread = [matrix - matrix.mean(axis=0) for matrix in (one, two)]
    if any(_norm(c) <= ROUNDING * _norm(m) for c, m in zip(spread, (one, two), strict=True)):
        return None
    n, widest = len(one), max(one.shape[1], two.shape[1])
    x, y = (matrix / _norm(matrix) for matrix in spread)
    if n < widest:  # the same sums over pairs of rows: n x n in place of D x E
        kernels = x @ x.T, y @ y.T
        value = np.sum(kernels[0] * kernels[1]) / (_norm(kernels[0]) * _norm(kernels[1]))
    else:
        value = _norm(y.T @ x) ** 2 / (_norm(x.T @ x) * _norm(y.T @ y))
    return float(np.clip(value, 0.0, 1.0))


def relative_distance(a: npt.ArrayLike, b: npt.ArrayLike) -> float | None:
    """||a - b|| / ||a|| (Frobenius) of features (n, D) before and after; None where `a` is all zeros.

    Raises:
        ValueError: these are not two matrices of one shape.
    """
    one, two = _matrices(a, b)
    if one.shape != two.shape:
        raise ValueError(f"features: expected two matrices of one shape, found {one.shape} and {two.shape}")
    size = _norm(one)
    return _norm(one - two) / size if size else None


def weight_distance(pairs: Iterable[tuple[npt.ArrayLike, npt.ArrayLike]]) -> float | None:
    """||w - w0|| / ||w0|| over all tensors of a layer group together.

    Args:
        pairs: each tensor after training and before; drawn one by one.

    Returns:
        None where there are no tensors, or all were zeros before.
    """
    moved = size = 0.0
    for now, start in pairs:
        before = np.asarray(start, dtype=np.float64)
        size += float(np.square(before).sum())
        if now is not start:
            moved += float(np.square(np.asarray(now, dtype=np.float64) - before).sum())
    return float(np.sqrt(moved / size)) if size else None


def head_agreement(problem_type: str, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """How alike two models answer the same rows, from their logits (n, C).

    Returns:
        `agreement`, the share of equal answers (of rows, or of all decisions where a row may have several labels), and
        `kl`, the mean of KL(before || after) in nats over rows (labels summed); of values `mean_difference`, absolute.
    """
    if problem_type == "regression":
        return {"mean_difference": float(np.mean(np.abs(before - after)))}
    equal = predicted(problem_type, before) == predicted(problem_type, after)
    p, q = (probabilities(problem_type, logits) for logits in (before, after))
    divergence = _divergence(p, q)
    if problem_type == "multi_label_classification":
        divergence += _divergence(1 - p, 1 - q)
    return {"agreement": float(np.mean(equal)), "kl": max(0.0, float(np.mean(divergence.sum(axis=1))))}


def _divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The terms p log(p / q); probabilities that rounding has made 0 are taken as the smallest number there is."""
    least = np.finfo(np.float64).tiny
    return np.asarray(p * (np.log(np.maximum(p, least)) - np.log(np.maximum(q, least))))


def _matrices(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    one, two = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if one.ndim != 2 or two.ndim != 2 or len(one) != len(two):
        raise ValueError(
            f"features: expected two matrices with as many rows, found {one.shape} and {two.shape}"
        )
    return one, two


def _norm(matrix: np.ndarray) -> float:
    return float(np.sqrt(np.square(matrix).sum()))
