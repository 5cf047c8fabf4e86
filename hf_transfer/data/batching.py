"""The order in which rows are seen: a pure function of seed and epoch, so that an interrupted run goes on exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


class EpochSampler:
    """Row numbers in a new order each epoch; with `lengths`, batches of rows of like length.

    Args:
        size: number of rows.
        seed: with the epoch, all that the order depends on.
        lengths: tokens per row. Rows are shuffled, sorted within pools of 50 batches, and the batches shuffled: little
            padding, yet random batches in random order.
        batch_size: rows of one optimizer step over all processes, so that the order does not depend on their number.
        weights: chances of the rows to be drawn, in sum 1: then `size` rows are drawn with replacement.
    """

    def __init__(
        self,
        size: int,
        *,
        seed: int,
        lengths: Sequence[int] | None = None,
        batch_size: int = 1,
        weights: np.ndarray | None = None,
    ) -> None:
        self.size, self.seed, self.batch_size, self.weights = size, seed, batch_size, weights
        self.lengths = None if lengths is None else np.asarray(lengths)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng((self.seed, self.epoch))
        if self.weights is None:
            order = generator.permutation(self.size)
        else:
            order = generator.choice(self.size, self.size, p=self.weights)
        if self.lengths is not None:
            order = self._grouped(order, generator)
        return iter(order.tolist())

    def _grouped(self, order: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        assert self.lengths is not None
        pool, step = 50 * self.batch_size, self.batch_size
        rest = order[self.size - self.size % step :]  # the last, smaller batch stays last
        batches: list[np.ndarray] = []
        for start in range(0, self.size - len(rest), pool):
            rows = order[start : min(start + pool, self.size - len(rest))]
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            batches += [rows[i : i + step] for i in range(0, len(rows), step)]
        mixed = [batches[i] for i in generator.permutation(len(batches))]
        return np.concatenate([*mixed, rest])


class Shares:
    """One epoch's batches for accelerate to hand out in turn, one a process and round; no row comes twice.

    What is left for the last round is shared out evenly. Stock fills it up with rows from the epoch's start, which
    then weigh twice. Where fewer rows are left than there are processes, the others are `idle`: they get a row that
    must not count, because all have to take part in the step.

    Args:
        sampler: gives the rows' order; accelerate calls its `set_epoch`.
        batch_size: rows of a full batch.
        processes: number of processes.
    """

    batch_size = None  # tells accelerate that batches differ in size
    drop_last = False

    def __init__(self, sampler: Any, batch_size: int, processes: int) -> None:
        self.sampler, self.rows, self.processes = sampler, batch_size, processes

    def idle(self, rank: int) -> bool:
        """Whether the last batch of this process holds no row of its own."""
        left = len(self.sampler) % (self.rows * self.processes)
        return 0 < left <= rank

    def __len__(self) -> int:
        return -(-len(self.sampler) // (self.rows * self.processes)) * self.processes

    def __iter__(self) -> Iterator[list[int]]:
        order = np.fromiter(self.sampler, dtype=np.int64, count=len(self.sampler))
        step = self.rows * self.processes
        for start in range(0, len(order), step):
            rows = order[start : start + step]
            for share in np.array_split(rows, self.processes):
                yield share.tolist() or rows[:1].tolist()


def by_length(lengths: Sequence[int]) -> np.ndarray:
    """Row numbers from longest to shortest: evaluation pads least, and a lack of memory shows at once."""
    return np.argsort(-np.asarray(lengths), kind="stable")
