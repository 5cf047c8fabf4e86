"""Beside every training row one of the target domain: which one depends on seed, epoch and row alone.

So the same target rows are in a step however it is split over accumulation steps and processes, and an interrupted run
goes on exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_transfer.drawing import ROWS, KeyedBatches, drawing
from hf_transfer.strategies.alignment import TARGET

STREAM = 2  # of random numbers, beside those that `drawing` uses for rows and batches


class Partners:
    """The target row of each training row in each epoch; over an epoch all target rows come equally often, or once.

    Args:
        rows, targets: numbers of training rows and of target rows.
        seed: with the epoch, all that is drawn from.
        lengths: tokens of both, where rows of like length go together: then partners are of like rank in length, so that
            little is padded.
    """

    def __init__(
        self,
        rows: int,
        targets: int,
        *,
        seed: int,
        lengths: tuple[Sequence[int], Sequence[int]] | None = None,
    ) -> None:
        self.rows, self.targets, self.seed = rows, targets, seed
        self.lengths = None if lengths is None else tuple(np.asarray(part) for part in lengths)
        self._drawn: tuple[int, np.ndarray] | None = None  # an epoch and its partners

    def of(self, keys: Sequence[int]) -> list[int]:
        """Numbers of the target rows beside training rows given as `drawing.Keys`."""
        return [int(self._epoch(key // self.rows)[key % self.rows]) for key in keys]

    def _epoch(self, epoch: int) -> np.ndarray:
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._partners(np.random.default_rng((self.seed, epoch, STREAM)))
        return self._drawn[1]

    def _partners(self, generator: np.random.Generator) -> np.ndarray:
        rounds = -(-self.rows // self.targets)
        chosen = np.concatenate([generator.permutation(self.targets) for _ in range(rounds)])[: self.rows]
        if self.lengths is None:
            return chosen
        own, other = self.lengths
        found = np.empty_like(chosen)
        found[np.argsort(own, kind="stable")] = chosen[np.argsort(other[chosen], kind="stable")]
        return found


class PairedBatches:
    """A collator of training batches that puts the partners' inputs beside them, padded alike, as `TARGET`.

    Args:
        batches: the collator that gets rows with their keys.
        targets: rows of model inputs, by number.
    """

    def __init__(self, batches: KeyedBatches, targets: Any, partners: Partners) -> None:
        self.batches, self.targets, self.partners = batches, targets, partners

    def __call__(self, items: Sequence[tuple[int, Any]]) -> dict[str, Any]:
        """One batch of both, parted again."""
        keys = [key for key, _ in items]
        with drawing(self.batches.seed, keys[0], STREAM):
            places = self.partners.of(keys)
            batched = getattr(self.targets, "__getitems__", None)  # datasets reads a whole batch at once
            beside = batched(places) if batched else [self.targets[place] for place in places]
        # A label that is not read: collators want the same columns in every row.
        beside = [row | {"labels": item["labels"]} for row, (_, item) in zip(beside, items, strict=True)]
        both = self.batches([*items, *zip(keys, beside, strict=True)])
        target = {name: both[name][len(keys) :] for name in both if name not in ("labels", ROWS)}
        return {name: value[: len(keys)] for name, value in both.items()} | {TARGET: target}
