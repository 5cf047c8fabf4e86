"""Masked words: which tokens a model has to find, and what it sees in their place (BERT, Devlin et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from hf_transfer.tasks.task import IGNORED

MASKED, RANDOM = 0.8, 0.1  # of the chosen tokens so many become the mask, or a random token; the others stay
EVALUATION_SEED = (
    0  # masks of evaluation do not depend on a run's seed: figures of all runs are of the same tokens
)


def masked_batch(
    collate: Callable[[list[Any]], Any],
    rows: list[Any],
    *,
    probability: float,
    mask: int,
    special: Sequence[int],
    vocabulary: int,
) -> Any:
    """A batch of `rows` with masks drawn from torch's random state, which Trainer's loader sets for every batch.

    Args:
        collate: makes the padded batch, whose `input_ids` are (B, T).
        special: ids that are never masked; a padding id is among them.
        vocabulary: random tokens are drawn below it.
    """
    batch = collate(rows)
    ids = batch["input_ids"]
    chosen = _chosen(ids, special, probability, None)
    batch["labels"] = torch.where(chosen, ids, IGNORED)
    batch["input_ids"] = _hidden(ids, chosen, mask, vocabulary, None)
    return batch


def evaluation_masks(
    rows: Sequence[Sequence[int]], tokenizer: Any, probability: float
) -> tuple[list[list[int]], list[list[int]]]:
    """Inputs and labels of rows for evaluation, each row's masks drawn from its number: always the same ones."""
    special, inputs, labels = sorted(set(tokenizer.all_special_ids)), [], []
    for number, row in enumerate(rows):
        draws = torch.Generator().manual_seed(EVALUATION_SEED + number)
        ids = torch.tensor([row])
        chosen = _chosen(ids, special, probability, draws)
        inputs.append(_hidden(ids, chosen, tokenizer.mask_token_id, len(tokenizer), draws)[0].tolist())
        labels.append(torch.where(chosen, ids, IGNORED)[0].tolist())
    return inputs, labels


def _chosen(
    ids: torch.Tensor, special: Sequence[int], probability: float, draws: torch.Generator | None
) -> torch.Tensor:
    """The tokens to find, bool (B, T): each with this probability, but one at least in every row.

    Without that a batch of few, short texts often has none at all, and its mean loss is no number.
    """
    scores = torch.rand(ids.shape, generator=draws)
    scores = scores.masked_fill(torch.isin(ids, torch.tensor(list(special))), 2.0)
    lowest = torch.zeros_like(ids, dtype=torch.bool).scatter_(1, scores.argmin(1, keepdim=True), True)
    return (scores < probability) | (lowest & (scores < 1.0))


def _hidden(
    ids: torch.Tensor, chosen: torch.Tensor, mask: int, vocabulary: int, draws: torch.Generator | None
) -> torch.Tensor:
    """What the model sees: the mask at most chosen places, at some a random token, at the rest what stands there."""
    kind = torch.rand(ids.shape, generator=draws)
    others = torch.randint(vocabulary, ids.shape, generator=draws)
    seen = torch.where(chosen & (kind < MASKED), mask, ids)
    return torch.where(chosen & (kind >= MASKED) & (kind < MASKED + RANDOM), others, seen)
