"""Which target row stands beside which training row: a function of seed, epoch and row."""

from __future__ import annotations

import numpy as np
import torch
from datasets import Dataset

from hf_transfer.drawing import KeyedBatches
from hf_transfer.shift.pairing import PairedBatches, Partners
from hf_transfer.strategies.alignment import TARGET


def test_all_target_rows_come_equally_often() -> None:
    partners = Partners(25, 10, seed=0)
    for epoch in range(3):
        counts = np.bincount(partners.of(range(25 * epoch, 25 * (epoch + 1))), minlength=10)
        assert set(counts.tolist()) == {2, 3}
    many = Partners(10, 25, seed=0)
    assert len(set(many.of(range(10)))) == 10  # of more than there is room for, each at most once
    assert many.of(range(10)) != many.of(range(10, 20))


def test_partners_depend_on_seed_epoch_and_row_alone() -> None:
    whole = Partners(25, 10, seed=3)
    keys = [60, 3, 51, 24, 25]
    wanted = whole.of(keys)
    assert [Partners(25, 10, seed=3).of([key])[0] for key in keys] == wanted
    assert Partners(25, 10, seed=4).of(range(25)) != whole.of(range(25))


def test_partners_are_of_like_rank_in_length() -> None:
    generator = np.random.default_rng(0)
    own, other = (generator.integers(5, 100, size) for size in (200, 200))
    partners = np.asarray(Partners(200, 200, seed=0, lengths=(own, other)).of(range(200)))
    assert sorted(partners.tolist()) == list(range(200))
    assert np.corrcoef(own, other[partners])[0, 1] > 0.95
    again = np.asarray(Partners(200, 200, seed=1, lengths=(own, other)).of(range(200)))
    assert abs(own - other[again]).mean() < 10


def test_a_batch_holds_the_target_rows_apart_and_padded_alike() -> None:
    def padded(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        ids = [row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in rows]
        return {"input_ids": torch.tensor(ids), "labels": torch.tensor([row["labels"] for row in rows])}

    targets = Dataset.from_dict({"input_ids": [[7, 7, 7, 7], [8, 8]]})
    collate = PairedBatches(KeyedBatches(padded, 0, 3), targets, Partners(3, 2, seed=0))
    batch = collate([(4, {"input_ids": [1, 2], "labels": 1}), (5, {"input_ids": [3], "labels": 0})])
    assert batch["labels"].tolist() == [1, 0] and batch["row_numbers"].tolist() == [1, 2]
    assert set(batch[TARGET]) == {"input_ids"}
    assert batch["input_ids"].shape == batch[TARGET]["input_ids"].shape
    assert set(batch[TARGET]["input_ids"][:, 0].tolist()) <= {7, 8}
