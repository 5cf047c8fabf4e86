"""Phases in one run: shares, ledger, history, early stopping, and going on after an interruption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import make
from small_training import changed, make_setup, state
from transformers import TrainerCallback

from hf_transfer.finishing import _train_results
from hf_transfer.run_folder import HISTORY, PHASES, read_json
from hf_transfer.strategies.phases import Phase
from hf_transfer.tasks.task import Prepared
from hf_transfer.training.phase import phase_arguments, phase_trainer
from hf_transfer.training.setup import Setup
from hf_transfer.training.train import train

GROUPS = ("embeddings", "block.1", "block.2", "block.3", "head")
TWO = [Phase("head", ("head",), learning_rate=1e-2), Phase("full", GROUPS, share=2.0, layer_decay=0.5)]
SAVING: dict[str, Any] = {
    "max_steps": 9,
    "save_strategy": "steps",
    "save_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "greater_is_better": False,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.34,  # a share of each phase
    "train_sampling_strategy": "group_by_length",
}


def two_phases(folder: Path, seed: int = 0, peft: bool = False, **arguments: Any) -> Setup:
    model = make("bert", seed=seed)
    if peft:
        from peft import LoraConfig

        from hf_transfer.strategies.lora import adapt

        model = make("bert")
        torch.manual_seed(seed)
        model = adapt(model, LoraConfig(r=2, lora_dropout=0.1))
    phases = [Phase("upper", GROUPS[3:]), Phase("full", GROUPS)] if peft else TWO
    setup = make_setup(model, "bert", folder, phases, **(SAVING | arguments))
    setup.prepared = Prepared(
        setup.prepared.splits, {"train": [i % 7 for i in range(16)], "validation": [4] * 8}
    )
    return setup


class Interrupt(TrainerCallback):
    """Stops the second phase at a step, as a signal would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.output_dir.endswith("phase-2") and state.global_step == self.step:
            raise KeyboardInterrupt


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]


def without_times(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        k: v for k, v in entry.items() if "seconds" not in k and "runtime" not in k and "per_second" not in k
    }


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, torch.Tensor], list[dict[str, Any]]]:
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    setup = two_phases(folder)
    ledger = train(setup)
    return folder, state(setup.model), ledger


def test_the_ledger_of_two_phases(whole: tuple[Path, Any, list[dict[str, Any]]]) -> None:
    folder, _, ledger = whole
    assert read_json(folder / PHASES) == ledger
    head, full = ledger
    assert (head["name"], head["steps"], full["name"], full["steps"]) == (
        "head",
        3,
        "full",
        6,
    )  # shares 1 and 2
    assert (head["learning_rate"], full["learning_rate"]) == (1e-2, 1e-3)
    assert (head["warmup_steps"], full["warmup_steps"]) == (2, 3)  # each phase warms up
    assert head["optimizer"] == "adamw_torch" and head["schedule"] == "linear"
    assert [row["learns"] for row in head["groups"]] == [False] * 4 + [True]
    rates = [row["learning_rate"] for row in full["groups"]]
    assert rates == pytest.approx([1e-3 * 0.5 ** (4 - i) for i in range(5)])
    for entry in ledger:
        assert entry["best"]["metric"] == "eval_loss" and entry["best"]["step"] in (2, 3, 4, 6)
        assert entry["seconds"] > 0 and entry["samples"] == 4 * entry["steps"] and not entry["stopped_early"]
    assert full["groups"][0]["decayed"] < full["groups"][0]["parameters"]
    found = _train_results(ledger)
    assert found["train_runtime"] == pytest.approx(head["seconds"] + full["seconds"])
    assert found["train_loss"] == pytest.approx((3 * head["train_loss"] + 6 * full["train_loss"]) / 9)
    assert found["train_samples_per_second"] == pytest.approx(36 / found["train_runtime"])


def test_the_history_of_two_phases(whole: tuple[Path, Any, Any]) -> None:
    history = lines(whole[0])
    assert [(row["phase"], row["step"]) for row in history if "loss" in row] == [
        *((1, step) for step in (1, 2, 3)),
        *((2, step) for step in (1, 2, 3, 4, 5, 6)),
    ]
    evaluations = [row for row in history if "eval_loss" in row]
    assert {row["phase"] for row in evaluations} == {1, 2} and all(
        "eval_accuracy" in row for row in evaluations
    )
    assert all({"epoch", "learning_rate", "grad_norm"} <= row.keys() for row in history if "loss" in row)


def test_each_phase_has_its_folder_and_its_own_order_of_rows(whole: tuple[Path, Any, Any]) -> None:
    for name in ("phase-1", "phase-2"):
        assert (whole[0] / name / "model.safetensors").is_file()
        assert any((whole[0] / name).glob("checkpoint-*"))
    assert not any(whole[0].glob("checkpoint-*"))
    setup = two_phases(whole[0] / "elsewhere")
    assert [phase_arguments(setup, n).data_seed for n in (1, 2)] == [42, 43]


@pytest.mark.parametrize("step", [None, 1, 5])
def test_a_resumed_run_is_the_uninterrupted_one(
    step: int | None, whole: tuple[Path, dict[str, torch.Tensor], list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Interrupted between the phases, and in the second before its first checkpoint and after its second."""
    if step is None:  # the first phase is in the ledger and nothing of the second is on disk
        shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
        shutil.rmtree(tmp_path / "phase-2")
        (tmp_path / PHASES).write_text(json.dumps(whole[2][:1]))
    else:
        setup = two_phases(tmp_path)
        setup.callbacks = [Interrupt(step)]
        with pytest.raises(KeyboardInterrupt):
            train(setup)
    assert len(read_json(tmp_path / PHASES)) == 1
    again = two_phases(tmp_path, seed=5)  # other random weights, which must all be replaced
    ledger = train(again, resume=True)
    assert not changed(whole[1], state(again.model))
    assert list(map(without_times, lines(tmp_path))) == list(map(without_times, lines(whole[0])))
    assert [entry["steps"] for entry in ledger] == [3, 6] and ledger[0]["best"] == whole[2][0]["best"]
    # The rows seen by what went on, not by the whole phase: its seconds are those of this part too.
    assert ledger[1]["samples"] == (8 if step == 5 else 24)


def test_a_finished_run_resumes_to_its_end(whole: tuple[Path, dict[str, torch.Tensor], Any]) -> None:
    again = two_phases(whole[0], seed=5)
    assert train(again, resume=True) == whole[2]
    assert not changed(whole[1], state(again.model))


def test_adapters_go_on_after_a_phase(tmp_path: Path) -> None:
    first = two_phases(tmp_path / "whole", peft=True)
    train(first)
    interrupted = two_phases(tmp_path / "again", peft=True)
    interrupted.callbacks = [Interrupt(1)]
    with pytest.raises(KeyboardInterrupt):
        train(interrupted)
    assert (tmp_path / "again" / "phase-1" / "adapter" / "adapter_model.safetensors").is_file()
    again = two_phases(tmp_path / "again", seed=5, peft=True)  # other random matrices, which must be replaced
    assert changed(state(first.model), state(again.model))
    train(again, resume=True)
    assert not changed(state(first.model), state(again.model))


def test_early_stopping_ends_a_phase_and_keeps_the_best(tmp_path: Path) -> None:
    setup = two_phases(tmp_path, max_steps=90, learning_rate=0.0, eval_steps=1, save_steps=1)
    setup.phases = [Phase("full", GROUPS, learning_rate=0.0)]  # nothing gets better
    setup.early_stopping_patience = 2
    (entry,) = train(setup)
    assert entry["steps"] == 3 and entry["stopped_early"] and entry["best"]["step"] == 1


def test_epochs_and_steps_are_shared_out(tmp_path: Path) -> None:
    setup = two_phases(tmp_path, max_steps=-1, num_train_epochs=3)
    assert [phase_arguments(setup, n).num_train_epochs for n in (1, 2)] == [1.0, 2.0]
    setup.phases = [Phase("a", ("head",), epochs=2.0), Phase("b", GROUPS), Phase("c", GROUPS)]
    assert [phase_arguments(setup, n).num_train_epochs for n in (1, 2, 3)] == [2.0, 1.5, 1.5]
    setup.args.max_steps = 10  # the length of the whole run, whatever epochs say
    assert [phase_arguments(setup, n).max_steps for n in (1, 2, 3)] == [4, 3, 3]


def test_nothing_is_pushed_from_inside_a_phase(tmp_path: Path) -> None:
    setup = two_phases(tmp_path)
    setup.args.push_to_hub, setup.args.hub_model_id = True, "me/model"
    inside = phase_arguments(setup, 1)
    assert (inside.push_to_hub, inside.hub_model_id, inside.hub_token) == (False, None, None)
    assert setup.args.push_to_hub  # the run's own arguments are left alone


def test_the_rate_of_a_head_of_its_own_does_not_become_the_run_s(tmp_path: Path) -> None:
    setup = two_phases(tmp_path)
    setup.phases = [Phase("full", GROUPS, head_learning_rate=0.5)]
    trainer = phase_trainer(setup, 1)
    trainer.create_optimizer()
    rates = {group["name"]: group["lr"] for group in trainer.optimizer.param_groups}
    assert rates == {**dict.fromkeys(GROUPS, 1e-3), "head": 0.5} and trainer.args.learning_rate == 1e-3
