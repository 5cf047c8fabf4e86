"""The order in which rows are seen: of seed and epoch alone, and every row once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from architectures import make
from small_training import make_setup, random_rows
from torch.utils.data import BatchSampler
from transformers.trainer_pt_utils import LengthGroupedSampler
from two_processes import LENGTHS

from hf_transfer.data.batching import EpochSampler, Shares, by_length
from hf_transfer.tasks.task import Prepared
from hf_transfer.training.phase import phase_trainer


def test_stock_repeats_rows_in_the_last_round() -> None:
    """The fault that is mended; when this fails the mend can go."""
    batches = BatchSampler(EpochSampler(13, seed=1), 4, drop_last=False)
    seen = [row for rank in (0, 1) for batch in BatchSamplerShard(batches, 2, rank) for row in batch]
    assert len(seen) == 16 and len(set(seen)) == 13


@pytest.mark.parametrize(("rows", "processes"), [(13, 2), (16, 2), (9, 2), (1, 3), (23, 4)])
def test_every_row_is_given_out_once(rows: int, processes: int) -> None:
    sampler = EpochSampler(rows, seed=1)
    shares = Shares(sampler, 4, processes)
    given = []
    for rank in range(processes):
        batches = list(BatchSamplerShard(shares, processes, rank))  # type: ignore[arg-type]
        assert len(batches) == len(shares) // processes == -(-rows // (4 * processes))
        given += [row for batch in (batches[:-1] if shares.idle(rank) else batches) for row in batch]
    assert sorted(given) == list(range(rows))
    assert sum(map(shares.idle, range(processes))) == max(
        0, processes - (rows % (4 * processes) or processes)
    )


def test_rows_of_like_length_come_together_in_an_order_of_seed_and_epoch_alone() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 203)
    sampler = EpochSampler(203, seed=1, lengths=lengths, batch_size=8)
    first = list(sampler)
    torch.manual_seed(99)
    np.random.seed(99)
    assert list(EpochSampler(203, seed=1, lengths=lengths, batch_size=8)) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first and list(EpochSampler(203, seed=2, lengths=lengths, batch_size=8)) != first
    assert sorted(first) == sorted(second) == list(range(203)) and len(sampler) == 203
    spread = [np.ptp(lengths[first[i : i + 8]]) for i in range(0, 200, 8)]
    assert np.mean(spread) < 10  # of 99
    plain = list(EpochSampler(203, seed=1))
    assert (
        sorted(plain) == list(range(203))
        and np.mean([np.ptp(lengths[plain[i : i + 8]]) for i in range(0, 200, 8)]) > 60
    )


def test_stock_grouping_depends_on_the_global_random_state() -> None:
    orders = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        orders.append(list(LengthGroupedSampler(8, lengths=[i % 9 for i in range(64)])))
    assert orders[0] != orders[1]


def test_every_way_to_a_global_batch_has_the_same_order(tmp_path: Path) -> None:
    orders = []
    for micro, accumulation in ((8, 1), (4, 2), (2, 4)):
        sizes = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": accumulation}
        setup = make_setup(
            make("bert"), "bert", tmp_path, n=32, train_sampling_strategy="group_by_length", **sizes
        )
        setup.prepared = Prepared(setup.prepared.splits, {"train": LENGTHS})
        orders.append(list(phase_trainer(setup, 1)._get_train_sampler()))
    assert (
        orders[0] == orders[1] == orders[2] == list(EpochSampler(32, seed=42, lengths=LENGTHS, batch_size=8))
    )


def test_evaluation_sees_the_rows_in_their_order(tmp_path: Path) -> None:
    setup = make_setup(make("bert"), "bert", tmp_path, train_sampling_strategy="group_by_length")
    setup.prepared = Prepared(setup.prepared.splits, {"train": [i % 5 for i in range(16)]})
    trainer, rows = phase_trainer(setup, 1), random_rows("bert", 9)
    assert trainer.predict(rows).label_ids.tolist() == rows["labels"][:]
    assert by_length([3, 9, 3, 5]).tolist() == [1, 3, 0, 2]
