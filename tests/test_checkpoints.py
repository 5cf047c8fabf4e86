"""Checkpoints: whole or not there, resumed from exactly, the best one loaded whole; beside what stock does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import make
from small_training import changed, make_setup, state
from transformers import Trainer, TrainerCallback, default_data_collator

from hf_transfer.loading import load_weights
from hf_transfer.saved import complete, newest_checkpoint
from hf_transfer.tasks.task import Prepared
from hf_transfer.training.phase import phase_trainer
from hf_transfer.training.trainer import PhaseTrainer

EVERY_STEP = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}


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
