"""What the optimizer holds and should not, and what it lacks."""

from __future__ import annotations

from typing import Any

import torch

from hf_transfer.checking.subject import Subject, names_of, shown
from hf_transfer.problems import Problem
from hf_transfer.strategies.rates import decay_names


def in_no_optimizer(subject: Subject) -> list[Problem]:
    """What requires a gradient and is in no optimizer: gradients are computed and thrown away."""
    if not subject.optimizers:
        return []
    held = subject.held
    names = [name for name, parameter in subject.learning().items() if id(parameter) not in held]
    if not names:
        return []
    what = "require a gradient, but are in no optimizer: they never change"
    mend = "make the optimizer after the last change to the model and to what is frozen; freeze what shall not learn"
    return [Problem(shown(names), what, mend)]


def foreign_parameters(subject: Subject) -> list[Problem]:
    """What an optimizer holds that is no longer in the model: a layer was replaced after the optimizer was made."""
    own = {id(parameter) for parameter in subject.model.parameters()}
    count = sum(id(parameter) not in own for group in subject.groups for parameter in group["params"])
    if not count:
        return []
    what = f"it holds {count} tensors that are not in {type(subject.model).__name__}: they were replaced, or are another model's"
    return [Problem("optimizer", what, "make the optimizer after the last change to the model")]


def frozen_but_held(subject: Subject) -> list[Problem]:
    """Frozen, and in an optimizer with weight decay: still only for as long as no gradient is there."""
    held = [p for group in subject.groups if group.get("weight_decay") for p in group["params"]]
    names = names_of(subject, [p for p in held if not p.requires_grad and p.grad is None])
    if not names:
        return []
    what = "frozen, but in an optimizer with weight decay: a gradient of zeros (zero_grad(set_to_none=False)) shrinks them"
    return [Problem(shown(names), what, "give the optimizer only the parameters that require a gradient")]


def decayed_vectors(subject: Subject) -> list[Problem]:
    """Weight decay on norms, biases, layer scales, position tables, class tokens (the rule of BEiT and timm)."""
    decays = decay_names(subject.model)
    groups = [group for group in subject.groups if group.get("weight_decay")]
    learning = [p for group in groups for p in group["params"] if p.requires_grad]
    names = [name for name in names_of(subject, learning) if name not in decays]
    if not names:
        return []
    rates = ", ".join(f"{rate:g}" for rate in sorted({float(group["weight_decay"]) for group in groups}))
    what = f"weight decay ({rates}) pulls {len(names)} biases, norms, scales or position tables towards zero"
    mend = "put them in a group of their own with weight_decay 0: all but hf_transfer.strategies.rates.decay_names(model)"
    return [Problem(shown(names), what, mend)]


def half_precision(subject: Subject) -> list[Problem]:
    """Weights in bfloat16 or float16 under torch's own optimizers, which round every step to that precision."""
    held = [p for optimizer in subject.optimizers if _rounds(optimizer) for p in _parameters(optimizer)]
    half = [p for p in held if p.requires_grad and p.dtype in (torch.bfloat16, torch.float16)]
    names = names_of(subject, half)
    if not names:
        return []
    dtypes = " and ".join(sorted({str(parameter.dtype).removeprefix("torch.") for parameter in half}))
    what = f"learn in {dtypes}: steps smaller than half the distance to the next number are lost"
    mend = 'load the model with dtype="float32"; bf16=True in the training arguments computes in bfloat16 all the same'
    return [Problem(shown(names), what, mend)]


def _rounds(optimizer: Any) -> bool:
    return any(kind.__module__.startswith("torch.optim.") for kind in type(optimizer).__mro__[:1])


def _parameters(optimizer: Any) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
