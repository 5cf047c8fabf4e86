"""The loss: the same for every number of processes and accumulation steps, beside what stock does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import make
from small_training import make_setup, random_rows, training_arguments
from transformers import Trainer, default_data_collator
from two_processes import CASES, LENGTHS, SOLVED, solved, trained, uneven

from hf_transfer.data.batching import EpochSampler
from hf_transfer.training.phase import phase_trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Eight rows at once in one process: what all other ways must equal."""
    return trained(tmp_path_factory.mktemp("whole"), per_device_train_batch_size=8)


def assert_same(found: dict[str, Any], whole: dict[str, Any]) -> None:
    assert len(found["loss"]) == len(whole["loss"]) == 20
    np.testing.assert_allclose(found["loss"], whole["loss"], atol=1e-5)
    np.testing.assert_allclose(found["grad_norm"], whole["grad_norm"], atol=1e-4, rtol=1e-5)
    for name, weight in whole["weights"].items():
        assert (found["weights"][name] - weight).abs().max() < 1e-5, name
    assert found["eval_loss"] == pytest.approx(whole["eval_loss"], abs=1e-5)
    assert found["eval_accuracy"] == whole["eval_accuracy"]


def test_accumulation_changes_nothing(whole: dict[str, Any], tmp_path: Path) -> None:
    assert_same(trained(tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=2), whole)


def test_a_last_smaller_batch_weighs_by_its_rows(tmp_path: Path) -> None:
    """13 rows: a step of eight and one of five, which accumulation sees as 3 + 2."""
    rows = {"n": 13, "max_steps": 4, "train_sampling_strategy": "random"}
    losses = []
    for micro, steps in ((8, 1), (2, 4)):
        model = make("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        sizes = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": steps}
        trainer = phase_trainer(make_setup(model, "bert", tmp_path, **rows, **sizes), 1)
        trainer.train()
        losses.append([row["loss"] for row in trainer.state.log_history if "grad_norm" in row])
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)


def test_a_value_of_minus_100_is_a_value_like_any_other(tmp_path: Path) -> None:
    """Among ids it is no label: stock, and we before, counted such rows as none."""
    losses = []
    for micro, steps in ((4, 1), (2, 2)):
        still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        model = make("bert", num_labels=1, problem_type="regression", **still)
        sizes = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": steps}
        setup = make_setup(model, "bert", tmp_path, n=4, max_steps=1, **sizes)
        rows = setup.prepared.splits["train"].remove_columns("labels")
        setup.prepared.splits["train"] = rows.add_column("labels", [-100.0, -100.0, -100.0, 5.0])
        trainer = phase_trainer(setup, 1)
        trainer.train()
        losses.append(trainer.state.log_history[0]["loss"])
    assert losses == pytest.approx([(3 * 100**2 + 5**2) / 4] * 2, rel=0.05)


def test_one_row_left_over_is_no_statistic(tmp_path: Path) -> None:
    """13 images by four, maps of 1 x 1 at the end: torch refuses to normalise the last one over itself."""
    model = make("resnet")
    rows = {"n": 13, "max_steps": 4, "train_sampling_strategy": "random"}
    trainer = phase_trainer(make_setup(model, "resnet", tmp_path, **rows), 1)
    trainer.train()
    counted = [int(value) for name, value in model.named_buffers() if name.endswith("num_batches_tracked")]
    assert set(counted) == {3}


@pytest.fixture(scope="module")
def two(two_ranks: Path) -> Path:
    """The folder in which two processes have left what they found."""
    return two_ranks / "two_processes"


def test_two_processes_change_nothing(whole: dict[str, Any], two: Path) -> None:
    found = json.loads((two / "found.json").read_text())
    assert_same(found | {"weights": torch.load(two / "weights.pt")}, whole)
    # Both processes hold the same weights after each phase: a new phase is wrapped anew.
    assert [a == b for a, b in found["replicas"]] == [True, True]
    assert found["replicas"][0] != found["replicas"][1]
    assert found["order"] == list(EpochSampler(32, seed=42, lengths=LENGTHS, batch_size=8))


@pytest.mark.parametrize("name", CASES)
def test_rows_that_do_not_divide_weigh_once(name: str, two: Path, tmp_path: Path) -> None:
    """Losses, weights, statistics and what evaluation finds: of two processes as of one, and of both the same."""
    found = torch.load(two / "uneven.pt")["cases"][name]
    alone = uneven(tmp_path, per_device_train_batch_size=8, **CASES[name])
    np.testing.assert_allclose(found["loss"], alone["loss"], atol=1e-5)
    assert found["train_loss"] == pytest.approx(alone["train_loss"], abs=1e-5)
    assert found["alike"]
    for key, value in alone["state"].items():
        assert (found["state"][key] - value).abs().max() < 1e-5, key
    assert found["eval"]["eval_loss"] == pytest.approx(alone["eval"]["eval_loss"], abs=1e-5)
    assert found["eval"]["eval_accuracy"] == alone["eval"]["eval_accuracy"]


def test_two_processes_measure_and_end_with_the_statistics_that_are_saved(two: Path) -> None:
    """DDP hands out the first process's buffers before a step alone."""
    found = json.loads((two / "found.json").read_text())["statistics"]
    assert found["alike"] and found["difference"] < 1e-5


def test_two_processes_go_on_in_the_middle_of_the_second_epoch(two: Path) -> None:
    assert torch.load(two / "uneven.pt")["resumed"] == [True, True]


@pytest.mark.parametrize("strategy", SOLVED)
def test_heads_are_solved_alike_on_two_processes(strategy: str, two: Path, tmp_path: Path) -> None:
    """Features are read by both and gathered; pairs are of each process's own rows, so their steps differ."""
    found = torch.load(two / "uneven.pt")["solved"][strategy]
    assert found["alike"]
    if strategy != "contrastive":
        alone = solved(tmp_path / "alone", strategy, per_device_train_batch_size=8)
        for key, value in alone["state"].items():
            assert (found["state"][key] - value).abs().max() < 1e-4, key


def test_stock_doubles_the_loss_when_it_accumulates(whole: dict[str, Any], tmp_path: Path) -> None:
    """The fault that is mended; when this fails the mend can go."""
    model = make("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    args = training_arguments(tmp_path, gradient_accumulation_steps=2, max_steps=1)
    stock = Trainer(
        model=model, args=args, train_dataset=random_rows("bert", 8), data_collator=default_data_collator
    )
    stock.train()
    assert stock.state.log_history[0]["loss"] == pytest.approx(2 * whole["loss"][0], rel=0.2)
