"""Pairs of rows of one label shall have like features, pairs of two labels unlike ones: what SetFit tunes an encoder by."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hf_transfer.strategies.features import Readout, read

if TYPE_CHECKING:
    import torch


def pair_loss(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Squared error of the cosine of each pair of rows to 1 (same label) or 0 (another), like and unlike pairs by halves.

    SetFit (Tunstall et al. 2022) draws as many like pairs as unlike ones and takes sentence-transformers'
    CosineSimilarityLoss of each. Here all pairs of a batch are taken from one pass over its rows, so that memory grows
    with the batch and not with the pairs of the whole data set.

    Args:
        features: (B, D); labels: ids (B,).

    Returns:
        A scalar; zero, with a gradient of zero, where the batch holds no pair.
    """
    import torch
    from torch.nn.functional import normalize

    directions = normalize(features.float(), dim=1)
    cosines = directions @ directions.T
    same = labels[:, None] == labels[None, :]
    other = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    parts = [
        ((cosines - target) ** 2)[chosen]
        for target, chosen in ((1.0, same & other), (0.0, ~same))
        if bool(chosen.any())
    ]
    return sum((part.mean() for part in parts), start=0.0 * features.sum()) / max(1, len(parts))


def pairs(readout: Readout) -> Callable[[Any, dict[str, Any]], tuple[torch.Tensor, Any]]:
    """The objective: `pair_loss` of what the head reads; several processes pair the rows of their own batches."""

    def objective(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        labels = inputs["labels"]
        given = {name: value for name, value in inputs.items() if name != "labels"}
        features = read(model, readout, given)
        return pair_loss(features, labels), {"logits": features}

    return objective
