"""Which rows and images a training batch is made of: mixed pairs, and labels drawn equally often."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from regular_training import regular_setup
from transformers import default_data_collator

from hf_transfer.data.batching import EpochSampler
from hf_transfer.drawing import drawing
from hf_transfer.strategies.balance import row_weights
from hf_transfer.strategies.mixing import mixing
from hf_transfer.strategies.regularization import Regularization
from hf_transfer.training.phase import phase_trainer

ROWS = [{"pixel_values": torch.full((3, 8, 8), float(i)), "labels": i % 3} for i in range(5)]


def test_a_blend_has_both_labels_by_their_shares() -> None:
    batch = mixing(default_data_collator, 3, mixup=0.4)(ROWS)
    pixels, labels = batch["pixel_values"][:, 0, 0, 0], batch["labels"]
    plain = torch.arange(5.0)
    share = float((pixels[1] - 0.0) / 1.0)  # row 1 with row 0: share * 1 + (1 - share) * 0
    torch.testing.assert_close(pixels, share * plain + (1 - share) * plain.roll(1))
    hot = torch.nn.functional.one_hot(torch.arange(5) % 3, 3).float()
    torch.testing.assert_close(labels, share * hot + (1 - share) * hot.roll(1, 0))


def test_a_patch_has_its_label_by_its_area() -> None:
    for key in range(8):
        with drawing(0, key):
            batch = mixing(default_data_collator, 3, cutmix=1.0)(ROWS)
        own = (batch["pixel_values"][1, 0] == 1.0).float().mean()
        assert float(batch["labels"][1, 1]) == pytest.approx(float(own), abs=1e-6)


def test_several_labels_a_row_and_a_batch_of_one() -> None:
    rows = [{**row, "labels": [1.0, float(i % 2), 0.0]} for i, row in enumerate(ROWS)]
    found = mixing(default_data_collator, 3, mixup=0.4)(rows)["labels"]
    assert (found[:, 0] == 1).all() and (found[:, 2] == 0).all() and 0 < float(found[1, 1]) < 1
    (alone,) = mixing(default_data_collator, 3, mixup=0.4, cutmix=1.0)(ROWS[1:2])["labels"]
    assert alone.tolist() == [0, 1, 0]


def test_what_is_drawn_depends_on_the_batchs_key_alone() -> None:
    collate, found = mixing(default_data_collator, 3, mixup=0.4, cutmix=1.0), []
    for key in (3, 4, 3):
        torch.rand(key + len(found))
        with drawing(42, key):
            found.append(collate(ROWS)["pixel_values"])
    assert torch.equal(found[0], found[2]) and not torch.equal(found[0], found[1])


def test_training_batches_are_mixed_and_evaluated_ones_are_not(tmp_path: Path) -> None:
    setup = regular_setup("resnet", tmp_path, Regularization(mixup=0.4), eval_strategy="steps", eval_steps=2)
    trainer = phase_trainer(setup, 1)
    assert next(iter(trainer.get_train_dataloader()))["labels"].shape == (4, 3)
    assert next(iter(trainer.get_eval_dataloader()))["labels"].dtype == torch.int64


def test_rows_of_rare_labels_are_drawn_as_often() -> None:
    labels = np.array([0] * 180 + [1] * 20)
    given = {
        "seed": 1,
        "weights": row_weights(labels, 2),
        "lengths": [i % 7 for i in range(200)],
        "batch_size": 8,
    }
    sampler, seen = EpochSampler(200, **given), Counter[int]()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        rows = list(sampler)
        assert len(rows) == len(sampler) == 200
        seen.update(labels[rows].tolist())
    assert seen[1] / seen.total() == pytest.approx(0.5, abs=0.03)
    torch.manual_seed(9)
    np.random.seed(9)
    again = EpochSampler(200, **given)
    again.set_epoch(19)
    assert list(again) == rows
