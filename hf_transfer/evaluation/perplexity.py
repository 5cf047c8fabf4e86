"""Perplexity from token losses: e to the mean loss of the tokens that a language model had to find."""

from __future__ import annotations

import numpy as np

from hf_transfer.evaluation.intervals import resampled

MOST = 700.0  # above it e to the loss is no number any more


def perplexity(losses: np.ndarray) -> dict[str, float]:
    """`perplexity` and `loss` over all tokens, each weighing the same whatever row it stands in.

    For masked words it is the pseudo-perplexity of the masked tokens only (Salazar et al. 2020 mask each token in turn):
    a figure to compare models of one tokenizer and one set of masks by, not one of a next-word model's kind.

    Args:
        losses: (rows, 2): the sum of a row's token losses in nats, and how many tokens.
    """
    mean = float(losses[:, 0].sum() / max(1.0, losses[:, 1].sum()))
    return {"perplexity": float(np.exp(min(mean, MOST))), "loss": mean}


def interval(losses: np.ndarray, origins: np.ndarray, resamples: int = 1000) -> tuple[float, float] | None:
    """95 % percentile bootstrap of the perplexity over texts, whose rows stay together; None for a single one.

    Args:
        losses: as for `perplexity`.
        origins: the text (or block) of each row (rows,).
    """
    _, group = np.unique(origins, return_inverse=True)
    sums = np.stack([np.bincount(group, weights=losses[:, i]) for i in (0, 1)], axis=1)
    if len(sums) < 2:
        return None
    means = [
        (counts @ sums[:, 0]) / np.maximum(1.0, counts @ sums[:, 1])
        for counts in resampled(np.ones(len(sums), dtype=np.int64), resamples, seed=0)
    ]
    low, high = np.percentile(np.exp(np.minimum(np.concatenate(means), MOST)), (2.5, 97.5))
    return float(low), float(high)
