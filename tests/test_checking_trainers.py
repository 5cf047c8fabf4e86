"""`check_training` of Trainers: stock's faults, none in ours, the multiplied loss, heads under PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import make
from peft import LoraConfig, get_peft_model
from small_training import make_setup, random_rows, state, training_arguments
from torch.optim.lr_scheduler import OneCycleLR
from transformers import AutoModel, AutoModelForSequenceClassification, Trainer, default_data_collator

from hf_transfer import check_training
from hf_transfer.strategies.phases import Phase
from hf_transfer.training.phase import phase_trainer


def trainer_of(
    model: Any, folder: Path, name: str = "bert", kind: type[Trainer] = Trainer, **more: Any
) -> Trainer:
    parts = {
        key: more.pop(key) for key in ("compute_loss_func", "optimizers", "data_collator") if key in more
    }
    return kind(
        model=model,
        args=training_arguments(folder, **more),
        train_dataset=random_rows(name, 8),
        **({"data_collator": default_data_collator} | parts),
    )


def said(trainer: Trainer) -> list[str]:
    return [problem.what for problem in check_training(trainer)]


def test_stock_drifts_and_decays_where_ours_does_neither(tmp_path: Path) -> None:
    """HF's ResNet with a frozen backbone; and whole, with weight decay, which stock puts on BatchNorm."""
    options = {"weight_decay": 0.1, "gradient_accumulation_steps": 2}
    head = [Phase("head", ("head",), learning_rate=1e-3)]
    for strategy, expected in ((head, ("drift", "times too large")), ("full", ("decay", "times too large"))):
        setup = make_setup(make("resnet"), "resnet", tmp_path, strategy, **options)
        assert said(phase_trainer(setup, 1)) == []
        found = said(trainer_of(setup.model, tmp_path, "resnet", **options))
        assert len(found) == 2 and all(w in what for w, what in zip(expected, found, strict=True)), found


STRATEGIES = ("full", "partial:1", "bitfit", "norms", "two-phase", "lp-ft", "gradual", "contrastive")


@pytest.mark.parametrize("name", ["bert", "timm-resnet18"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_phase_of_ours_is_clean(strategy: str, name: str, tmp_path: Path) -> None:
    options = {"gradient_accumulation_steps": 2, "weight_decay": 0.1, "max_steps": 60}
    setup = make_setup(make(name), name, tmp_path, strategy, **options)
    for number, phase in enumerate(setup.phases, 1):
        if not phase.solve:
            assert said(phase_trainer(setup, number)) == [], phase.name


def test_a_new_head_may_learn_in_a_later_phase(tmp_path: Path) -> None:
    make("bert").bert.save_pretrained(tmp_path / "bare")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "bare", num_labels=3)
    assert said(phase_trainer(make_setup(model, "bert", tmp_path, "contrastive"), 1)) == []
    assert any("drawn at random, and frozen" in what for what in said(trainer_of(model, tmp_path)))


def test_layer_decay_of_ours_and_one_rate_instead(tmp_path: Path) -> None:
    decayed = [Phase("all", ("embeddings", "block.1", "block.2", "block.3", "head"), layer_decay=0.5)]
    trainer = phase_trainer(make_setup(make("bert"), "bert", tmp_path, decayed), 1)
    assert said(trainer) == []
    trainer.create_optimizer()
    for group in trainer.optimizer.param_groups:
        group["lr"] = 1e-3
    assert said(trainer) == ["a layer-wise decay of 0.5 was asked for, but all parameters learn at 0.001"]
    trainer.lr_scheduler = OneCycleLR(trainer.optimizer, max_lr=1e-3, total_steps=9)
    assert len(said(trainer)) == 1


class Halved(Trainer):
    """A loss of the user's own, without the number of items."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        outputs = model(**inputs)
        loss = torch.nn.functional.cross_entropy(outputs.logits, inputs["labels"]) / 2
        return (loss, outputs) if return_outputs else loss


class Divided(Halved):
    loss_is_scaled_for_ga = False


def summed(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch


def mean(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(outputs.logits, labels)


@pytest.mark.parametrize(
    ("changes", "whose"),
    [
        ({}, "BertForSequenceClassification"),
        ({"kind": Halved}, "Halved.compute_loss"),
        ({"compute_loss_func": mean}, "compute_loss_func"),
        ({"kind": Divided}, ""),
        ({"compute_loss_func": summed}, ""),
        ({"label_smoothing_factor": 0.1}, ""),
        ({"gradient_accumulation_steps": 1}, ""),
    ],
)
def test_who_ignores_the_number_of_items(changes: dict[str, Any], whose: str, tmp_path: Path) -> None:
    found = said(trainer_of(make("bert"), tmp_path, **({"gradient_accumulation_steps": 4} | changes)))
    if whose:
        [what] = found
        assert what.startswith(f"{whose} ignores num_items_in_batch") and "are 4 times too large" in what
    else:
        assert found == []


def test_a_model_that_says_so_and_one_that_divides(tmp_path: Path) -> None:
    model = make("bert")
    model.accepts_loss_kwargs = False
    assert said(trainer_of(model, tmp_path, gradient_accumulation_steps=4)) == []
    assert said(trainer_of(make("vit"), tmp_path, "vit", gradient_accumulation_steps=4)) == []


def test_a_batch_that_the_model_does_not_take(tmp_path: Path) -> None:
    [what] = said(trainer_of(make("bert"), tmp_path, "vit", gradient_accumulation_steps=2))
    assert "a batch of the training set did not go through compute_loss" in what


def test_a_trainer_is_left_as_it_was(tmp_path: Path) -> None:
    model = make("resnet")
    trainer = trainer_of(model, tmp_path, "resnet", gradient_accumulation_steps=2, weight_decay=0.1)
    before, fields, drawn = state(model), dict(vars(trainer)), torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    assert len(check_training(trainer)) == 2
    assert vars(trainer) == fields and trainer.optimizer is None
    assert torch.equal(drawn, torch.get_rng_state())
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(before[name], tensor) for name, tensor in state(model).items())


def lora(model: Any, **options: Any) -> Any:
    return get_peft_model(model, LoraConfig(r=2, target_modules=["query", "value"], **options))


def test_a_frozen_head_under_peft(tmp_path: Path) -> None:
    model = make("bert")
    model.accepts_loss_kwargs = False
    [problem] = check_training(trainer_of(lora(model), tmp_path))
    assert "the head is frozen under the adapter" in problem.what and "'classifier'" in problem.mend
    assert check_training(trainer_of(lora(make("bert"), modules_to_save=["classifier"]), tmp_path)) == []
    masked = make("bert-masked")
    assert check_training(lora(masked)) == []


def test_a_head_of_the_checkpoint_may_stay_as_it_is_under_peft(tmp_path: Path) -> None:
    """Nothing there is drawn at random: a classifier's head, or the pooler of a bare encoder that nobody reads."""
    make("bert").save_pretrained(tmp_path / "whole")
    make("bert").bert.save_pretrained(tmp_path / "bare")
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole")
    assert check_training(lora(whole)) == []
    assert check_training(lora(AutoModel.from_pretrained(tmp_path / "bare"))) == []
    new = AutoModelForSequenceClassification.from_pretrained(tmp_path / "bare", num_labels=3)
    [problem] = check_training(lora(new))
    assert "the head is frozen under the adapter" in problem.what


def test_a_new_pooler_that_peft_leaves_frozen(tmp_path: Path) -> None:
    """DeBERTa's, which no checkpoint of the bare model has and peft's own default forgets."""
    make("deberta-v2").deberta.save_pretrained(tmp_path / "bare")
    load = AutoModelForSequenceClassification.from_pretrained
    targets = {"target_modules": ["query_proj"]}
    model = load(tmp_path / "bare", num_labels=3)
    [problem] = check_training(get_peft_model(model, LoraConfig(modules_to_save=["classifier"], **targets)))
    assert "drawn at random, and frozen" in problem.what and problem.where.count("pooler") == 2
    assert "modules_to_save=['pooler.dense']" in problem.mend
    whole = LoraConfig(modules_to_save=["classifier", "pooler.dense"], **targets)
    assert check_training(get_peft_model(load(tmp_path / "bare", num_labels=3), whole)) == []
