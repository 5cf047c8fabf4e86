"""What does not learn stands still: parameters, buffers, statistics, dropout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import make
from small_training import changed, make_setup, random_rows, state, training_arguments
from torch import nn
from transformers import Trainer, TrainerCallback, default_data_collator

from hf_transfer.anatomy import layer_groups
from hf_transfer.problems import Problems
from hf_transfer.strategies.freezing import freeze, still_modules
from hf_transfer.strategies.phases import Phase
from hf_transfer.training.phase import phase_trainer
from hf_transfer.training.train import train

STRONG = {"learning_rate": 1e-2, "weight_decay": 0.1}  # so that whatever can move does


HEAD = [Phase("head", ("head",), learning_rate=1e-3)]  # trained, where feature extraction solves
CASES = [(n, s) for n in ("bert", "resnet", "convnext") for s in (HEAD, "partial:1")]


@pytest.mark.parametrize(("name", "strategy"), [*CASES, ("timm-resnet18", "partial:1")])
def test_what_is_frozen_is_bit_identical_after_training(name: str, strategy: Any, tmp_path: Path) -> None:
    model = make(name)
    setup = make_setup(
        model, name, tmp_path, strategy, eval_strategy="steps", eval_steps=1, max_steps=3, **STRONG
    )
    before = state(model)
    trainer = phase_trainer(setup, 1)
    trainer.train()
    moved, learns = changed(before, state(model)), setup.phases[0].learns
    learning = {n for group in setup.groups if group.name in learns for n in group.parameters}
    statistics = {
        n for group in setup.groups if group.name in learns for n in group.buffers if "running" in n
    }
    assert moved - {n for n in moved if n.endswith("num_batches_tracked")} == learning | statistics
    frozen = {
        n for group in setup.groups if group.name not in learns for n in (*group.parameters, *group.buffers)
    }
    assert not moved & frozen
    held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert held == {id(model.get_parameter(n)) for n in learning}


def test_stock_lets_the_statistics_of_a_frozen_backbone_drift(tmp_path: Path) -> None:
    """What the test above would see without the mend."""
    model = make("resnet")
    freeze(model, layer_groups(model), ("head",), frozenset(n for n, _ in model.named_parameters()))
    before = state(model)
    Trainer(
        model=model,
        args=training_arguments(tmp_path, max_steps=1),
        train_dataset=random_rows("resnet", 4),
        data_collator=default_data_collator,
    ).train()
    assert any("running_mean" in n for n in changed(before, state(model)))


class Modes(TrainerCallback):
    """Which modules were in train mode when a training batch went through them."""

    def __init__(self, model: nn.Module) -> None:
        self.training: dict[str, bool] = {}
        for name, module in model.named_modules():
            module.register_forward_hook(self._note(name, model))

    def _note(self, name: str, model: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if torch.is_grad_enabled():
                self.training[name] = self.training.get(name, False) or module.training

        return hook


def test_dropout_of_frozen_blocks_is_off_and_that_of_learning_ones_on(tmp_path: Path) -> None:
    model = make("bert")
    modes = Modes(model)
    # An evaluation after every step would put everything back into train mode in stock.
    setup = make_setup(model, "bert", tmp_path, "partial:1", eval_strategy="steps", eval_steps=1, max_steps=2)
    phase_trainer(setup, 1).train()
    dropouts = {n: on for n, on in modes.training.items() if isinstance(model.get_submodule(n), nn.Dropout)}
    frozen = {
        n
        for n in dropouts
        if n.startswith(("bert.embeddings", "bert.encoder.layer.0", "bert.encoder.layer.1"))
    }
    assert len(frozen) >= 5 and len(dropouts) > len(frozen)
    assert not any(dropouts[n] for n in frozen)
    assert all(on for n, on in dropouts.items() if n not in frozen)


def test_dropout_that_stands_alone_below_what_learns_is_off(tmp_path: Path) -> None:
    """GPT-2's behind its embeddings, a child of what holds the blocks."""
    for strategy, on in (("partial:1", False), ("full", True)):
        model = make("gpt2")
        modes = Modes(model)
        phase_trainer(make_setup(model, "gpt2", tmp_path, strategy, max_steps=1), 1).train()
        assert modes.training["transformer.drop"] == on


def test_the_backbone_wakes_up_in_the_second_phase(tmp_path: Path) -> None:
    model = make("resnet")
    groups = layer_groups(model)
    everything = tuple(group.name for group in groups)
    setup = make_setup(
        model, "resnet", tmp_path, [Phase("head", ("head",)), Phase("full", everything)], max_steps=2
    )
    before = state(model)
    phase_trainer(setup, 1).train()
    after_head = state(model)
    assert changed(before, after_head) == {"classifier.1.weight", "classifier.1.bias"}
    phase_trainer(setup, 2).train()
    moved = changed(after_head, state(model))
    assert {n for n, _ in model.named_parameters()} <= moved
    assert {n for n, _ in model.named_buffers() if "running" in n} <= moved


def test_a_stale_gradient_moves_nothing() -> None:
    model = make("bert")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.1)  # one that holds everything
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    freeze(model, layer_groups(model), ("head",), frozenset(n for n, _ in model.named_parameters()))
    before = state(model)
    optimizer.step()
    head = {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}
    assert changed(before, state(model)) == head


def test_only_what_may_learn_wakes_up() -> None:
    model = make("bert")
    freeze(
        model,
        layer_groups(model),
        ("block.1", "head"),
        frozenset(["classifier.weight", "bert.pooler.dense.bias"]),
    )
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert learning == {"classifier.weight", "bert.pooler.dense.bias"}
    with pytest.raises(Problems, match="nothing in the model would learn"):
        freeze(model, layer_groups(model), ("block.1",), frozenset(["classifier.weight"]))


def test_norms_without_parameters_stand_still_inside_what_is_frozen() -> None:
    frozen = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False))
    model = nn.Sequential(frozen, nn.BatchNorm1d(2, affine=False), nn.Linear(2, 2))
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    still = still_modules(model)
    assert frozen in still and model[2] not in still
    assert model[1] in still  # it stands between frozen features and the head


def test_the_optimizer_must_hold_exactly_what_learns(tmp_path: Path) -> None:
    model = make("bert")
    setup = make_setup(model, "bert", tmp_path)
    trainer = phase_trainer(setup, 1)
    trainer.groups = setup.groups[:-1]  # a group list that forgets the head
    with pytest.raises(RuntimeError, match="exactly what learns"):
        trainer.train()


def test_the_ledger_tells_what_learned(tmp_path: Path) -> None:
    model = make("bert")
    setup = make_setup(model, "bert", tmp_path, HEAD, max_steps=1)
    (entry,) = train(setup)
    assert [row["learns"] for row in entry["groups"]] == [False, False, False, False, True]
    assert [row["learning_rate"] for row in entry["groups"]] == [None, None, None, None, 1e-3]
    assert sum(row["parameters"] for row in entry["groups"]) == sum(p.numel() for p in model.parameters())
