"""The mends of the stock Trainer: the loss, the order of rows, checkpoints. Each beside what stock does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from architectures import make
from small_training import changed, make_setup, random_rows, state, training_arguments
from torch.utils.data import BatchSampler
from transformers import Trainer, TrainerCallback, default_data_collator
from transformers.trainer_pt_utils import LengthGroupedSampler
from two_processes import CASES, LENGTHS, trained, uneven

from hf_transfer.data.batching import EpochSampler, Shares, by_length
from hf_transfer.loading import load_weights
from hf_transfer.saved import complete, newest_checkpoint
from hf_transfer.tasks.task import Prepared
from hf_transfer.trainer import PhaseTrainer
from hf_transfer.training import phase_trainer

HERE = Path(__file__).resolve().parent
EVERY_STEP = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}


# The loss.


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


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have left what they found."""
    folder = tmp_path_factory.mktemp("two")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--master_port",
        _free_port(),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command += [str(HERE / "two_processes.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


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
    assert found["alike"]
    for key, value in alone["state"].items():
        assert (found["state"][key] - value).abs().max() < 1e-5, key
    assert found["eval"]["eval_loss"] == pytest.approx(alone["eval"]["eval_loss"], abs=1e-5)
    assert found["eval"]["eval_accuracy"] == alone["eval"]["eval_accuracy"]


def test_two_processes_go_on_in_the_middle_of_the_second_epoch(two: Path) -> None:
    assert torch.load(two / "uneven.pt")["resumed"] == [True, True]


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


def _free_port() -> str:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def test_stock_doubles_the_loss_when_it_accumulates(whole: dict[str, Any], tmp_path: Path) -> None:
    """The fault that is mended; when this fails the mend can go."""
    model = make("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    args = training_arguments(tmp_path, gradient_accumulation_steps=2, max_steps=1)
    stock = Trainer(
        model=model, args=args, train_dataset=random_rows("bert", 8), data_collator=default_data_collator
    )
    stock.train()
    assert stock.state.log_history[0]["loss"] == pytest.approx(2 * whole["loss"][0], rel=0.2)


# The order of rows.


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


# Checkpoints.


class Weights(TrainerCallback):
    """A copy of the weights at every evaluation."""

    def __init__(self) -> None:
        self.at: dict[int, dict[str, torch.Tensor]] = {}

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.at[state.global_step] = {n: p.detach().clone() for n, p in model.named_parameters()}


def best_setup(name: str, folder: Path, seed: int = 0, **arguments: Any) -> Any:
    model = make(name, seed=seed)
    # The highest loss, so that the best weights are not the last.
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": True}
    return make_setup(model, name, folder, **(EVERY_STEP | best | {"learning_rate": 3e-3} | arguments))


@pytest.mark.parametrize("name", ["vit", "dinov2", "bert"])
def test_the_best_model_is_loaded_whole(name: str, tmp_path: Path) -> None:
    setup, weights = best_setup(name, tmp_path), Weights()
    trainer = phase_trainer(setup, 1)
    trainer.add_callback(weights)
    trainer.train()
    best = trainer.state.best_global_step
    assert best != trainer.state.global_step
    for parameter, value in weights.at[best].items():
        assert torch.equal(setup.model.get_parameter(parameter), value), parameter


def test_stock_loads_half_of_the_best_vit(tmp_path: Path) -> None:
    setup, weights = best_setup("vit", tmp_path), Weights()
    stock = Trainer(
        model=setup.model,
        args=setup.args,
        train_dataset=setup.prepared.splits["train"],
        eval_dataset=setup.prepared.splits["validation"],
        data_collator=default_data_collator,
        callbacks=[weights],
    )
    stock.train()
    best = weights.at[stock.state.best_global_step]
    assert stock.state.best_global_step != stock.state.global_step
    assert any(not torch.equal(setup.model.get_parameter(n), value) for n, value in best.items())


@pytest.mark.parametrize("name", ["vit", "bert", "resnet"])
def test_a_resumed_run_is_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    """In the middle of an epoch, with dropout, a schedule, and rows grouped by length."""
    options = {
        "max_steps": 6,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 2,
        "learning_rate": 1e-3,
        "n": 24,
    }
    options |= {"train_sampling_strategy": "group_by_length", "load_best_model_at_end": False}
    if name == "vit":
        options |= {"save_steps": 2, "eval_steps": 2}
    lengths = {"train": [(5 * i) % 11 for i in range(24)]}

    def run(folder: Path, seed: int, checkpoint: Path | None) -> tuple[dict[str, torch.Tensor], list[float]]:
        setup = best_setup(name, folder, seed, **options)
        if name != "resnet":
            setup.model.config.hidden_dropout_prob = 0.2
        setup.prepared = Prepared(setup.prepared.splits, lengths)
        trainer = phase_trainer(setup, 1)
        torch.manual_seed(seed)  # whatever was drawn before must not matter
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
        return state(setup.model), losses

    whole, losses = run(tmp_path / "whole", 0, None)
    (tmp_path / "again").mkdir()
    shutil.copytree(tmp_path / "whole" / "checkpoint-4", tmp_path / "again" / "checkpoint-4")
    resumed, again = run(tmp_path / "again", 7, tmp_path / "again" / "checkpoint-4")
    assert not changed(whole, resumed)
    assert again == losses


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(make("bert"), "bert", tmp_path, save_strategy="steps", save_steps=1, max_steps=3)
    trainer = phase_trainer(setup, 1)
    save = trainer._save_rng_state

    def full_disk(folder: str) -> None:
        if trainer.state.global_step == 2:
            raise OSError(28, "No space left on device")
        save(folder)

    monkeypatch.setattr(trainer, "_save_rng_state", full_disk)
    with pytest.raises(OSError, match="No space left"):
        trainer.train()
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-1"]
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-1"
    again = phase_trainer(setup, 1)
    again.train(resume_from_checkpoint=str(newest_checkpoint(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-1",
        "checkpoint-2",
        "checkpoint-3",
    ]


def test_the_record_inside_a_checkpoint_names_final_folders(tmp_path: Path) -> None:
    setup = best_setup("bert", tmp_path, save_total_limit=1)
    trainer = phase_trainer(setup, 1)
    trainer.train()
    kept = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    best = f"checkpoint-{trainer.state.best_global_step}"
    assert best in kept and len(kept) <= 2
    for name in kept:
        said = json.loads((tmp_path / name / "trainer_state.json").read_text())["best_model_checkpoint"]
        assert ".partial" not in said
    assert json.loads((tmp_path / best / "trainer_state.json").read_text())["best_model_checkpoint"] == str(
        tmp_path / best
    )


def test_a_torn_checkpoint_is_passed_over(tmp_path: Path) -> None:
    setup = make_setup(make("bert"), "bert", tmp_path, save_strategy="steps", save_steps=1, max_steps=1)
    phase_trainer(setup, 1).train()
    whole = tmp_path / "checkpoint-1"
    assert complete(whole)
    state_file = (whole / "trainer_state.json").read_text()
    for number, missing in enumerate(
        ["optimizer.pt", "scheduler.pt", "model.safetensors", "rng_state.pth"], 2
    ):
        torn = tmp_path / f"checkpoint-{number}"
        shutil.copytree(whole, torn)
        (torn / missing).unlink()
        assert not complete(torn), missing
    shutil.copytree(whole, tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-10" / "trainer_state.json").write_text(state_file[: len(state_file) // 2])
    (tmp_path / "checkpoint-11").mkdir()
    (tmp_path / "checkpoint.partial").mkdir()
    assert newest_checkpoint(tmp_path) == whole
    shutil.copytree(whole, tmp_path / "checkpoint-9")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-9"  # by number, not by letters
    assert newest_checkpoint(tmp_path / "nowhere") is None


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    make("bert-bare").save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="does not fit the model"):
        load_weights(make("bert"), tmp_path)


def test_of_equal_metrics_the_one_with_the_lower_loss_is_best(tmp_path: Path) -> None:
    """Accuracy on few rows ties for many evaluations; stock keeps the first, when hardly anything was learned."""
    from transformers import Trainer

    asked = {"eval_strategy": "steps", "save_strategy": "steps", "metric_for_best_model": "eval_accuracy"}
    seen = [(0.5, 1.0), (0.9, 0.8), (0.9, 0.3), (0.9, 0.4), (0.7, 0.1)]

    def best(choose: Any) -> tuple[int, float]:
        trainer = phase_trainer(
            make_setup(make("bert"), "bert", tmp_path, greater_is_better=True, **asked), 1
        )
        for step, (accuracy, loss) in enumerate(seen, 1):
            metrics = {"eval_accuracy": accuracy, "eval_loss": loss}
            trainer.state.global_step = step
            trainer.state.log_history.append(metrics | {"step": step})
            choose(trainer, metrics, None)
        return trainer.state.best_global_step, trainer.state.best_metric

    assert best(Trainer._determine_best_metric) == (2, 0.9)
    assert best(PhaseTrainer._determine_best_metric) == (3, 0.9)
