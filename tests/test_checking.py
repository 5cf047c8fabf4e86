"""`check_training`: each classic mistake, made with a small model, is found alone; the mended twin has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from architectures import inputs, make
from small_training import state
from torch import nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from hf_transfer import check_training
from hf_transfer.problems import Problems
from hf_transfer.strategies.rates import decay_names

Case = tuple[Any, ...]  # the arguments of check_training


def frozen(name: str = "bert", head: str = "classifier", **changes: Any) -> nn.Module:
    """A model of which only the head learns, in train mode with the rest in eval mode."""
    model = make(name, **changes).requires_grad_(False).train()
    for child_name, child in model.named_children():
        if child_name == head:
            child.requires_grad_(True)
        else:
            child.eval()
    return model


def learning(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def plain(model: nn.Module, **options: Any) -> AdamW:
    """AdamW on what learns, without weight decay."""
    return AdamW(learning(model), **({"lr": 1e-3, "weight_decay": 0} | options))


def attribute(mended: bool) -> Case:
    model = make("bert").requires_grad_(False).eval()
    model.bert.requires_grad_(False)
    for parameter in model.bert.pooler.parameters():
        parameter.requires_grad = True
    model.train()
    model.bert.embeddings.eval()
    model.bert.encoder.eval()
    model.dropout.eval()
    if mended:
        model.classifier.requires_grad_(True)
    else:
        model.classifier.requires_grad = True
    return model, plain(model)


def all_frozen(mended: bool) -> Case:
    model = frozen()
    held = list(model.parameters())
    if not mended:
        model.requires_grad_(False)
    return model, SGD(learning(model) if mended else held, lr=1e-3)


def in_no_optimizer(mended: bool) -> Case:
    model = make("bert").train()
    return model, SGD(model.parameters() if mended else model.classifier.parameters(), lr=1e-3)


def replaced_head(mended: bool) -> Case:
    """The new head learns nowhere, the old one is still held."""
    model = frozen()
    model.classifier.requires_grad_(False)
    optimizer = SGD(model.classifier.parameters(), lr=1e-3)
    model.classifier = nn.Linear(32, 3)
    return model, SGD(model.classifier.parameters(), lr=1e-3) if mended else [optimizer, plain(model)]


def stale_gradient(mended: bool) -> Case:
    model = make("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    optimizer = plain(model)
    model(**inputs("bert"), labels=torch.tensor([0, 1])).loss.backward()
    for parameter in model.bert.embeddings.parameters():
        parameter.requires_grad = False
        if mended:
            parameter.grad = None
    return model, optimizer


def frozen_but_held(mended: bool) -> Case:
    model = frozen()
    weights = [p for name, p in model.named_parameters() if name in decay_names(model)]
    chosen = [p for p in weights if p.requires_grad] if mended else weights
    rest = [p for p in learning(model) if all(p is not other for other in chosen)]
    return model, AdamW([{"params": chosen, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}])


def drifting_statistics(mended: bool) -> Case:
    model = frozen("resnet")
    if not mended:
        model.train()
    return model, plain(model)


def noisy_features(mended: bool) -> Case:
    model = frozen()
    if not mended:
        model.train()
    return model, plain(model)


def decayed_vectors(mended: bool) -> Case:
    model = make("resnet").train()
    decays = decay_names(model)
    named = dict(model.named_parameters())
    split = [
        {"params": [p for n, p in named.items() if n in decays], "weight_decay": 0.1},
        {"params": [p for n, p in named.items() if n not in decays], "weight_decay": 0.0},
    ]
    return model, AdamW(split if mended else model.parameters(), weight_decay=0.1)


def by_layer(model: nn.Module, decay: float = 0.5, **scale: bool) -> list[dict[str, Any]]:
    """A group each for embeddings, every block, and head: with real rates, or `lr_scale`."""
    parts = [
        model.bert.embeddings,
        *model.bert.encoder.layer,
        nn.ModuleList([model.bert.pooler, model.classifier]),
    ]
    factors = [decay ** (len(parts) - 1 - i) for i in range(len(parts))]
    return [
        {"params": list(part.parameters())} | ({"lr_scale": factor} if scale else {"lr": 1e-3 * factor})
        for part, factor in zip(parts, factors, strict=True)
    ]


def scale_without_effect(mended: bool) -> Case:
    model = make("bert").train()
    optimizer = SGD(by_layer(model, scale=True), lr=1e-3)
    if mended:
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_scale"]
    return model, optimizer, LambdaLR(optimizer, lambda step: min(1.0, step / 10))


def flattened_by_one_cycle(mended: bool) -> Case:
    model = make("bert").train()
    optimizer = SGD(by_layer(model), lr=1e-3)
    rates = [group["lr"] for group in optimizer.param_groups]
    return model, optimizer, OneCycleLR(optimizer, max_lr=rates if mended else 1e-3, total_steps=10)


def flattened_two_groups(mended: bool) -> Case:
    model = make("bert").train()
    parts = [(model.bert, 1e-5), (model.classifier, 1e-3)]
    optimizer = SGD([{"params": list(part.parameters()), "lr": lr} for part, lr in parts])
    return model, optimizer, OneCycleLR(optimizer, max_lr=[1e-5, 1e-3] if mended else 1e-3, total_steps=10)


def flattened_by_hand(mended: bool) -> Case:
    model = make("bert").train()
    optimizer = SGD(by_layer(model), lr=1e-3)
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * 0.5 if mended else 1e-3
    return model, optimizer


def other_optimizer(mended: bool) -> Case:
    model = make("bert").train()
    first, second = plain(model), plain(model)
    return model, second, LambdaLR(second if mended else first, lambda step: 1.0)


def group_after_scheduler(mended: bool) -> Case:
    model = make("bert").train()
    optimizer = SGD(model.classifier.parameters(), lr=1e-3)
    scheduler = LambdaLR(optimizer, lambda step: 1.0)
    optimizer.add_param_group({"params": list(model.bert.parameters())})
    return model, optimizer, LambdaLR(optimizer, lambda step: 1.0) if mended else scheduler


def half_precision(mended: bool) -> Case:
    model = make("bert").train().to(torch.float32 if mended else torch.bfloat16)
    return model, plain(model)


def attribute_beside_a_method(mended: bool) -> Case:
    """The embeddings are frozen, and the rest of the backbone was meant to be."""
    model = make("bert").train()
    model.bert.embeddings.requires_grad_(False).eval()
    if mended:
        model.bert.requires_grad_(False).eval()
    else:
        model.bert.requires_grad = False
    return model, plain(model)


MISTAKES: dict[Callable[[bool], Case], tuple[str, str]] = {
    attribute: ("classifier", "requires_grad = True was set on the module"),
    attribute_beside_a_method: ("bert", "requires_grad = False was set on the module"),
    all_frozen: ("BertForSequenceClassification", "nothing would learn"),
    in_no_optimizer: ("bert.embeddings.word_embeddings.weight", "are in no optimizer"),
    replaced_head: ("optimizer", "holds 2 tensors that are not in BertForSequenceClassification"),
    stale_gradient: ("bert.embeddings", "the optimizer goes on moving them"),
    frozen_but_held: ("bert.embeddings.word_embeddings.weight", "in an optimizer with weight decay"),
    drifting_statistics: ("resnet.embedder.embedder.normalization", "running statistics drift"),
    noisy_features: ("bert.embeddings.dropout", "dropout is active in a frozen backbone"),
    decayed_vectors: ("resnet.embedder.embedder.normalization.weight", "weight decay (0.1)"),
    scale_without_effect: ("optimizer", "lr_scale from 0.0625 to 1, which no scheduler here reads"),
    flattened_by_one_cycle: ("scheduler", "OneCycleLR with one number has flattened"),
    flattened_two_groups: ("scheduler", "2 groups differ in nothing"),
    flattened_by_hand: ("optimizer", "5 groups differ in nothing: all learn at 0.001"),
    other_optimizer: ("scheduler", "LambdaLR drives another optimizer"),
    group_after_scheduler: ("scheduler", "before groups were added"),
    half_precision: ("bert.embeddings.word_embeddings.weight", "learn in bfloat16"),
}


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.__name__)
def test_a_mistake_is_found_alone_and_its_mended_twin_is_clean(case: Callable[[bool], Case]) -> None:
    where, what = MISTAKES[case]
    found = check_training(*case(False))
    assert [what in problem.what for problem in found] == [True], found
    assert where in found[0].where and found[0].mend
    assert check_training(*case(True)) == []


def test_a_head_of_a_plain_torch_model() -> None:
    """No transformers, no blocks: what is asked of the anatomy is answered without it."""
    body = nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.Dropout(0.2), nn.Linear(64, 64))
    model = nn.Sequential(body, nn.Linear(64, 2))
    body.requires_grad_(False)
    found = check_training(model, SGD(model[1].parameters(), lr=0.1))
    assert [problem.where for problem in found] == ["0.1", "0.2"]
    body.eval()
    assert check_training(model, SGD(model[1].parameters(), lr=0.1)) == []
    model.eval()  # most loops call train()
    assert len(check_training(model, SGD(model[1].parameters(), lr=0.1))) == 2


def test_a_model_alone_and_groups_that_are_as_usual() -> None:
    model = make("bert")
    assert check_training(model) == [] == check_training(model.requires_grad_(False))
    model.requires_grad_(True)
    decays = decay_names(model)
    groups = [[p for n, p in model.named_parameters() if (n in decays) == on] for on in (True, False)]
    usual = AdamW([{"params": group, "weight_decay": 0.0} for group in groups])
    assert check_training(model, usual, OneCycleLR(usual, max_lr=1e-3, total_steps=9)) == []
    each = SGD([{"params": [p]} for p in model.parameters()], lr=1e-3)
    assert check_training(nn.DataParallel(model), each) == []


def test_two_optimizers_share_a_model() -> None:
    model = make("bert").train()
    first, second = SGD(model.bert.parameters(), lr=1e-3), SGD(model.classifier.parameters(), lr=1e-2)
    assert len(check_training(model, first)) == len(check_training(model, second)) == 1
    assert check_training(model, [first, second]) == []


@pytest.mark.parametrize("case", [stale_gradient, drifting_statistics, flattened_by_one_cycle])
def test_nothing_changes(case: Callable[[bool], Case]) -> None:
    model, *rest = case(False)
    before, modes = state(model), [module.training for module in model.modules()]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    options, drawn = [repr(o) for o in rest], torch.get_rng_state()
    check_training(model, *rest)
    assert all(torch.equal(before[name], tensor) for name, tensor in state(model).items())
    assert modes == [module.training for module in model.modules()]
    assert options == [repr(o) for o in rest] and torch.equal(drawn, torch.get_rng_state())
    for old, parameter in zip(grads, model.parameters(), strict=True):
        assert (old is None) == (parameter.grad is None) and (old is None or torch.equal(old, parameter.grad))


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(Problems, match="a dict was given"):
        check_training({})
