"""The order in which rows are seen: a pure function of seed and epoch, so that an interrupted run goes on exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


class EpochSampler:
    """Row numbers in a new order each epoch; with `lengths`, batches of rows of like length.

    Args:
        size: number of rows.
        seed: with the epoch, all that the order depends on.
        lengths: tokens per row. Rows are shuffled, sorted within pools of 50 batches, and the batches shuffled: little
            padding, yet random batches in random order.
        batch_size: rows of one optimizer step over all processes, so that the order does not depend on their number.
    """

    def __init__(
        self, size: int, *, seed: int, lengths: Sequence[int] | None = None, batch_size: int = 1
    ) -> None:
        self.size, self.seed, self.batch_size = size, seed, batch_size
        self.lengths = None if lengths is None else np.asarray(lengths)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(self.size)
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


def by_length(lengths: Sequence[int]) -> np.ndarray:
    """Row numbers from longest to shortest: evaluation pads least, and a lack of memory shows at once."""
    return np.argsort(-np.asarray(lengths), kind="stable")
