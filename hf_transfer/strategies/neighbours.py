"""Nearest neighbours: rows vote by how alike they are, as DINO's `eval_knn.py` does (Wu et al. 2018; Caron et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hf_transfer.strategies.selection import (
    NOTHING,
    Rows,
    calibration,
    held_out,
    loss,
    losses,
    told_apart,
)

if TYPE_CHECKING:
    import torch

TEMPERATURE = 0.07  # of the weights exp(similarity / T): Wu et al.'s and DINO's
COUNTS = (1, 3, 5, 10, 20, 50, 100, 200)  # DINO's 10, 20, 100, 200, and less for few rows
USUAL = 20  # DINO's best, where there is nothing to choose on
AT_ONCE = 2**24  # similarities that are held at one time: 64 MB in fp32


@dataclass(frozen=True)
class Neighbours:
    """How many vote, and what was found on the way.

    Attributes:
        k: how many reference rows vote.
        scale: the number that makes the vote's scores the best logits.
        loss: on the rows that k was chosen on, the lower the better; infinite where there were none.
        chosen_on: what they were.
        held: scores (n, C) and labels of those rows, from votes that they had no part in; None without.
    """

    k: int
    scale: float
    loss: float
    chosen_on: str
    held: tuple[np.ndarray, np.ndarray] | None = None


def nearest(features: torch.Tensor, reference: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine similarities (n, k), falling, and places (n, k) of the reference rows most like each row.

    Memory stays bounded whatever the number of rows. (DINO cuts its rows into 100 parts, which are empty for fewer than 100.)

    Args:
        features: (n, D), of any length.
        reference: (m, D), each row of length one; m >= k.
    """
    import torch

    most = max(1, AT_ONCE // max(1, len(reference)))
    parts = [
        torch.topk(torch.nn.functional.normalize(some, dim=1) @ reference.T, k, dim=1)
        for some in features.split(most)
    ]
    if not parts:
        empty = features.new_zeros(0, k)
        return empty, empty.long()
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def shares(
    similarities: torch.Tensor, targets: torch.Tensor, num_labels: int, temperature: float = TEMPERATURE
) -> torch.Tensor:
    """The mean (n, C) of the neighbours' labels, each weighted by exp(similarity / T).

    Args:
        similarities: (n, k).
        targets: of those neighbours: one label (n, k) as whole numbers, or values (n, k, C).
    """
    import torch

    weights = torch.softmax(similarities / temperature, dim=1)
    if not targets.is_floating_point():
        return weights.new_zeros(len(weights), num_labels).scatter_add_(1, targets, weights)
    return torch.einsum("nk,nkc->nc", weights, targets.to(weights.dtype))


def vote(
    problem_type: str,
    similarities: torch.Tensor,
    places: torch.Tensor,
    targets: torch.Tensor,
    num_labels: int,
    scale: float = 1.0,
    temperature: float = TEMPERATURE,
) -> torch.Tensor:
    """Logits (n, C) of the vote; for a number its weighted mean.

    Softmax (several labels: sigmoid) of the logits at `scale` 1 gives the shares as if one row more of every label had
    voted (Laplace): a label that no neighbour has keeps a chance, and the order of the labels is the vote's own.

    Args:
        similarities, places: (n, k), from `nearest`.
        targets: of the reference rows, from `as_targets`.
    """
    import torch

    k = similarities.shape[1]
    most = int(max(1, AT_ONCE // max(1, k * num_labels)))
    parts = [
        shares(some, targets[where], num_labels, temperature)
        for some, where in zip(similarities.split(most), places.split(most), strict=True)
    ]
    found = torch.cat(parts) if parts else similarities.new_zeros(0, num_labels)
    if problem_type == "regression":
        return found
    if problem_type == "multi_label_classification":
        return scale * torch.log((k * found + 1) / (k * (1 - found).clamp(min=0) + 1))
    return scale * torch.log((k * found + 1) / (k + num_labels))


def as_targets(problem_type: str, labels: np.ndarray) -> torch.Tensor:
    """Labels as a model keeps them: one a row (m,) as whole numbers, else values (m, C) in fp32."""
    import torch

    if problem_type == "single_label_classification":
        return torch.from_numpy(np.array(labels, dtype=np.int64))
    return torch.from_numpy(np.array(labels, dtype=np.float32)).reshape(len(labels), -1)


def choose_neighbours(
    problem_type: str, num_labels: int, train: Rows, validation: Rows | None = None
) -> Neighbours:
    """k by the loss on validation, or on folds of the training rows, as the other solved heads choose their strength.

    The largest k that is no worse than the best by more than a standard error (Breiman et al. 1984): a single neighbour
    gives every row the same score, and on few rows it is the best by chance.
    """
    held, chosen_on = held_out(problem_type, train, validation)
    if not held:
        k = min(USUAL, len(train.labels))
        return Neighbours(k, 1.0, float("inf"), NOTHING)
    truths = np.concatenate([rows.labels for _, rows in held])
    told = told_apart(problem_type, train.labels)
    most = min(len(rows.labels) for rows, _ in held)
    counts = [k for k in COUNTS if k < most] or [1]
    votes = [_votes(problem_type, num_labels, rows, others, counts) for rows, others in held]
    found = []
    for place, k in enumerate(counts):
        scores = np.concatenate([one[place] for one in votes])
        scale = calibration(problem_type, scores, truths, told)
        scores = scores * (1.0 if problem_type == "regression" else scale)
        found.append(Neighbours(k, scale, loss(problem_type, scores, truths), chosen_on, (scores, truths)))
    return max((each for each in found if _no_worse(problem_type, each, found)), key=lambda each: each.k)


def _no_worse(problem_type: str, one: Neighbours, found: list[Neighbours]) -> bool:
    """Whether the loss of `one` is the least, but for a standard error of the difference over the same rows.

    As if one row more had been seen on which the two differ by what a guess costs: where all rows are right, differences
    that rounding makes would otherwise be sure.
    """
    best = min(found, key=lambda each: each.loss)
    assert one.held is not None and best.held is not None
    truths = one.held[1]
    gaps = losses(problem_type, one.held[0], truths) - losses(problem_type, best.held[0], truths)
    gaps = gaps.reshape(len(truths), -1).mean(axis=1)  # of a row, over its labels
    middle = truths.mean() if problem_type == "regression" else 0
    guess = loss(problem_type, np.zeros_like(best.held[0]), truths - middle)
    error = np.sqrt(np.sum((gaps - gaps.mean()) ** 2) + guess**2) / len(truths)
    return bool(gaps.mean() <= error)


def _votes(
    problem_type: str, num_labels: int, rows: Rows, others: Rows, counts: list[int]
) -> list[np.ndarray]:
    """Scores (n, C) of `others` for each k, by `rows`; the neighbours are looked for once."""
    import torch

    reference = torch.nn.functional.normalize(torch.from_numpy(rows.features), dim=1)
    targets = as_targets(problem_type, rows.labels)
    similarities, places = nearest(torch.from_numpy(others.features), reference, counts[-1])
    return [
        vote(problem_type, similarities[:, :k], places[:, :k], targets, num_labels).numpy() for k in counts
    ]
