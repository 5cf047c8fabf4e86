"""Random transforms that depend on seed, epoch and rows alone, so that an interrupted run goes on exactly.

Data loaders fetch ahead, in workers too: what a transform or a collator draws from the global random state is drawn
again, or never, after an interruption. Here every batch has a random state of its own.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

ROWS = "row_numbers"  # of the training split, in every training batch


class Keys(Sampler[int]):
    """A sampler of rows as keys that hold the epoch too: epoch * size + row."""

    def __init__(self, sampler: Any, size: int) -> None:
        self.sampler, self.size, self.epoch = sampler, size, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader at the start of each epoch."""
        self.epoch = epoch
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        return (self.epoch * self.size + row for row in self.sampler)


class KeyedRows:
    """Rows by their keys, a batch of them made under one random state, each with its key."""

    def __init__(self, rows: Any, seed: int) -> None:
        self.rows, self.seed = rows, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, keys: Sequence[int]) -> list[tuple[int, Any]]:
        places = [key % len(self.rows) for key in keys]
        with drawing(self.seed, keys[0]):
            batched = getattr(self.rows, "__getitems__", None)  # datasets reads a whole batch at once
            found = batched(places) if batched else [self.rows[place] for place in places]
        return list(zip(keys, found, strict=True))

    def __getitem__(self, key: int) -> tuple[int, Any]:
        return self.__getitems__([key])[0]


class KeyedBatches:
    """A collator under a random state of the batch's own, which adds the numbers of its rows."""

    def __init__(self, collate: Callable[[list[Any]], Any], seed: int, size: int) -> None:
        self.collate, self.seed, self.size = collate, seed, size

    def __call__(self, items: Sequence[tuple[int, Any]]) -> Any:
        """A batch with the numbers of its rows beside what the collator makes."""
        keys = [key for key, _ in items]
        with drawing(self.seed, keys[0], 1):
            batch = self.collate([row for _, row in items])
        batch[ROWS] = torch.tensor([key % self.size for key in keys])
        return batch


def keyed(
    rows: Any, collate: Callable[[list[Any]], Any], sampler: Any, seed: int
) -> tuple[KeyedRows, KeyedBatches, Keys]:
    """Rows, their collator and their sampler, each by key: what a data loader is made of in place of the plain ones."""
    size = len(rows)
    return KeyedRows(rows, seed), KeyedBatches(collate, seed, size), Keys(sampler, size)


@contextlib.contextmanager
def drawing(*seed: int) -> Iterator[None]:
    """Python, numpy and torch draw from `seed` on the CPU, and afterwards from where they were before."""
    before = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    words = np.random.SeedSequence(seed).generate_state(2)
    random.seed(int(words[0]))
    np.random.seed(int(words[0]))
    torch.random.default_generator.manual_seed(int(words[1]))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.random.set_rng_state(before[2])
