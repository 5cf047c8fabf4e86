"""Which of a script's objects belong together: each Trainer, and each model with the optimizers that hold its parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from transformers import Trainer

from hf_transfer.checking.checks import check_training
from hf_transfer.problems import Problem

Target = tuple[Any, list[Any], list[Any]]  # Trainer or model, optimizers, schedulers


def targets(objects: Mapping[str, Any], only: str = "") -> list[tuple[str, Target]]:
    """What to check, each with a name for people: the thing called `only` with what belongs to it, or everything."""
    named = {only: objects[only]} if only in objects else dict(objects)
    chosen = _flat(named)
    around = _flat(objects) if only else chosen
    trainers = {label: item for label, item in chosen.items() if isinstance(item, Trainer)}
    found: list[tuple[str, Target]] = [(label, (trainer, [], [])) for label, trainer in trainers.items()]
    taken = {id(module) for t in trainers.values() if t.model is not None for module in t.model.modules()}
    taken |= {id(trainer.optimizer) for trainer in trainers.values()}
    held = {label: o for label, o in around.items() if isinstance(o, Optimizer) and id(o) not in taken}
    models = _outermost(around, taken)
    schedulers = [item for item in around.values() if _is_scheduler(item)]
    wanted = {id(item) for item in chosen.values()}
    for labels in _together(models, held):
        parts = [models.get(label, held.get(label)) for label in labels]
        if any(id(part) in wanted for part in parts) or (only and _inside(chosen, parts)):
            modules = {label: models[label] for label in labels if label in models}
            optimizers = [held[label] for label in labels if label in held]
            if modules:
                found.append((" + ".join(labels), (_joined(modules), optimizers, schedulers)))
    return found


def checked(target: Target) -> list[Problem]:
    """The findings for one of these."""
    subject, optimizers, schedulers = target
    if isinstance(subject, Trainer):
        return check_training(subject)
    own = {id(optimizer) for optimizer in optimizers}
    mine = [s for s in schedulers if id(s.optimizer) in own or len(schedulers) == len(optimizers) == 1]
    return check_training(subject, optimizers or None, mine or None)


def _flat(objects: Mapping[str, Any]) -> dict[str, Any]:
    """Each object once; what lies in a tuple, list or dict under `name[0]`."""
    found: dict[str, Any] = {}
    for name, value in objects.items():
        parts: Iterable[tuple[str, Any]] = [(name, value)]
        if isinstance(value, (tuple, list)):
            parts = [(f"{name}[{i}]", item) for i, item in enumerate(value)]
        elif isinstance(value, dict):
            parts = [(f"{name}[{key!r}]", item) for key, item in value.items()]
        for label, item in parts:
            if _counts(item) and not any(item is other for other in found.values()):
                found[label] = item
    return found


def _counts(item: Any) -> bool:
    return isinstance(item, (Trainer, nn.Module, Optimizer)) or _is_scheduler(item)


def _is_scheduler(item: Any) -> bool:
    """torch's, transformers' and timm's all carry their optimizer."""
    return isinstance(getattr(item, "optimizer", None), Optimizer) and not isinstance(item, Trainer)


def _outermost(objects: Mapping[str, Any], taken: set[int]) -> dict[str, nn.Module]:
    """Models that are no part of another one here; losses and other modules without parameters are no models."""
    modules = {
        label: m
        for label, m in objects.items()
        if isinstance(m, nn.Module) and any(True for _ in m.parameters())
    }
    inner = {id(part) for m in modules.values() for part in m.modules() if part is not m}
    return {label: m for label, m in modules.items() if id(m) not in inner | taken}


def _together(models: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]) -> list[list[str]]:
    """Names of models and optimizers that share parameters, models first."""
    tensors = {label: {id(p) for p in model.parameters()} for label, model in models.items()}
    tensors |= {
        label: {id(p) for group in optimizer.param_groups for p in group["params"]}
        for label, optimizer in optimizers.items()
    }
    sets: list[list[str]] = []
    for label in tensors:
        joined = [other for other in sets if any(tensors[label] & tensors[name] for name in other)]
        sets = [other for other in sets if other not in joined]
        sets.append([name for other in joined for name in other] + [label])
    return [[label for label in (*models, *optimizers) if label in labels] for labels in sets]


def _inside(chosen: Mapping[str, Any], parts: list[Any]) -> bool:
    """Whether what was named is a part of one of these models, as `model.head` is."""
    inner = {id(module) for part in parts if isinstance(part, nn.Module) for module in part.modules()}
    return any(id(item) in inner for item in chosen.values())


def _joined(modules: Mapping[str, nn.Module]) -> nn.Module:
    """One model of several that one optimizer trains, under the names they have in the script."""
    if len(modules) == 1:
        return next(iter(modules.values()))
    whole = nn.Module()
    whole.training = any(module.training for module in modules.values())
    for label, module in modules.items():
        name = label.replace(".", "_")
        whole.add_module(name if not hasattr(whole, name) else f"{name}_", module)
    return whole
