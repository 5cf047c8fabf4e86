"""Rates, decay, ranks and room: what a PEFT method needs of the training around it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from architectures import make
from peft import LoraConfig
from small_training import NoProcessor, make_setup, training_arguments
from transformers import TrainerCallback

from hf_transfer.anatomy import layer_groups
from hf_transfer.problems import Problems
from hf_transfer.strategies.allocation import check_allocation
from hf_transfer.strategies.lora import adapt
from hf_transfer.strategies.named import full
from hf_transfer.strategies.peft_methods import METHODS, PEFT_RATES, peft_method, rate_of
from hf_transfer.strategies.phases import Phase
from hf_transfer.strategies.prompts import leave_room
from hf_transfer.strategies.rates import check_loraplus, decay_names, optimizer_groups
from hf_transfer.training.ledger import phase_entry
from hf_transfer.training.train import train


def test_the_second_matrices_learn_faster_and_the_log_tells_the_others_rate() -> None:
    model = adapt(make("bert"), LoraConfig(r=2))
    groups = layer_groups(model)
    phase = Phase("full", full(groups)[0].learns, layer_decay=0.5, loraplus_lr_ratio=16)
    made = optimizer_groups(model, groups, phase, 1e-3, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(p)]: (group["lr"], group["name"]) for group in made for p in group["params"]}
    for name, (rate, group) in rates.items():
        if ".lora_B." in name:
            assert rate == 16 * rates[name.replace("lora_B", "lora_A")][0]
        elif group == "head":
            assert rate == 1e-3
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert rates.keys() == learning and made[-1]["lr"] == 1e-3
    plain = optimizer_groups(model, groups, Phase("full", phase.learns), 1e-3, 0.1)
    assert {group["lr"] for group in plain} == {1e-3}
    check_loraplus(model, 16)
    check_loraplus(make("bert"), None)
    with pytest.raises(Problems, match="--loraplus_lr_ratio: has no effect without LoRA"):
        check_loraplus(make("bert"), 16)


@pytest.mark.parametrize(
    ("method", "scale"),
    [("dora", "lora_magnitude"), ("ia3", "ia3_l"), ("vera", "vera_lambda"), ("prefix", "prompt_")],
)
def test_scales_are_not_decayed(method: str, scale: str) -> None:
    model = adapt(make("bert"), peft_method(method))
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    scales = {n for n in learning if scale in n}
    assert scales and not scales & decay_names(model)
    assert any("classifier" in n for n in learning & decay_names(model))


def test_default_rates() -> None:
    assert all(PEFT_RATES[name] == 5e-4 for name in ("lora", "dora", "rslora", "pissa"))
    for name in METHODS:
        assert rate_of(peft_method(name)) == PEFT_RATES[name]


class Ranks(TrainerCallback):
    """How many ranks are in use after each step."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        values = [p for n, p in model.named_parameters() if ".lora_E." in n]
        self.seen.append(int(sum((value != 0).sum() for value in values)))


def test_adalora_lays_its_budget_over_the_steps_and_keeps_it(tmp_path: Path) -> None:
    model = adapt(make("bert"), peft_method("adalora", lora_r=2))
    setup = make_setup(model, "bert", tmp_path, max_steps=10, learning_rate=1e-2)
    setup.processor, ranks = NoProcessor(), Ranks()
    setup.callbacks = (ranks,)
    train(setup)
    config = model.peft_config["default"]
    assert (config.tinit, config.tfinal, config.total_step) == (1, 3, 10)
    assert ranks.seen[0] == 18 * 3 and ranks.seen[-1] <= 18 * 2 + 1 and config.rank_pattern is None
    assert ranks.seen == sorted(ranks.seen, reverse=True)
    with pytest.raises(Problems, match="one phase, and the strategy has 2"):
        check_allocation(model, 2)
    check_allocation(make("bert"), 2)


def test_learned_tokens_and_texts_share_the_positions() -> None:
    model, config = make("bert", max_position_embeddings=512), peft_method("prefix", num_virtual_tokens=20)
    for limit, left in ((512, 492), (10**30, 492), (128, 128)):
        tokenizer = SimpleNamespace(model_max_length=limit)
        assert bool(leave_room(model, tokenizer, config)) == (left == 492)
        assert tokenizer.model_max_length == left
    tokenizer = SimpleNamespace(model_max_length=512)
    assert leave_room(model, tokenizer, peft_method("lora")) == [] and tokenizer.model_max_length == 512
    with pytest.raises(Problems, match="600 learned tokens leave no room for a text in 512"):
        leave_room(model, tokenizer, peft_method("prefix", num_virtual_tokens=600))


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_layer_that_a_prefix_does_not_reach_is_found_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_transfer.strategies import prompts

    first = prompts._scores
    kept: list[torch.Tensor] = []

    def deaf(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        kept.append(first(model, ids, mask))
        return kept[0][: len(ids)]

    monkeypatch.setattr(prompts, "_scores", deaf)
    with pytest.raises(Problems, match="does not look at what prefix tuning puts before"):
        adapt(make(name), peft_method("prefix"))


def test_the_head_that_peft_keeps_aside_is_not_counted(tmp_path: Path) -> None:
    """The trained copy alone: the plan's head is as large as the checkpoint's."""

    def heads(model: Any) -> dict[str, Any]:
        return phase_entry(make_setup(model, "bert", tmp_path), 1, training_arguments(tmp_path))["groups"][-1]

    adapted, plain = heads(adapt(make("bert"), peft_method("lora"))), heads(make("bert"))
    assert adapted["parameters"] == adapted["learning"] == plain["parameters"]
