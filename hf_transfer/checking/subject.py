"""What `check_training` looks at: a model with what trains it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hf_transfer.problems import Problem, Problems

# Made without side effects; others register hooks or settings outside themselves (GaLore, LOMO, 8 bit).
PLAIN = ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop")


@dataclass(frozen=True)
class Subject:
    """A model with what trains it; `trainer` is None for a loop of one's own."""

    model: nn.Module
    optimizers: tuple[Any, ...] = ()
    schedulers: tuple[Any, ...] = ()
    trainer: Any = None

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all optimizers."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    @property
    def held(self) -> set[int]:
        """The ids of the parameters in any optimizer."""
        return {id(parameter) for group in self.groups for parameter in group["params"]}

    @property
    def is_peft(self) -> bool:
        """Whether peft has wrapped the model."""
        return hasattr(self.model, "peft_config")

    @property
    def is_ours(self) -> bool:
        """Whether the trainer is the one that `finetune` uses."""
        return any(kind.__name__ == "PhaseTrainer" for kind in type(self.trainer).__mro__)

    def learning(self) -> dict[str, nn.Parameter]:
        """What requires a gradient, by full name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def frozen(self) -> dict[str, nn.Parameter]:
        """What does not, by full name."""
        return {name: p for name, p in self.model.named_parameters() if not p.requires_grad}


def subject_of(trainer_or_model: Any, optimizer: Any = None, scheduler: Any = None) -> Subject:
    """What there is to check, without the wrappers of torch and accelerate.

    Raises:
        Problems: it is neither a Trainer nor a model, or its optimizer cannot be made.
    """
    if isinstance(trainer_or_model, nn.Module):
        given = without_wrappers(trainer_or_model)
        return Subject(given, _plain(optimizer, "optimizer"), _plain(scheduler, "scheduler"))
    trainer: Any = trainer_or_model
    model = getattr(trainer, "model", None)
    if not isinstance(model, nn.Module) or not hasattr(trainer, "create_optimizer"):
        what = f"a {type(trainer).__name__} was given"
        raise Problems(Problem("check_training", what, "give a transformers Trainer or a torch model"))
    sharded = getattr(trainer, "is_fsdp_enabled", False) or getattr(trainer, "is_deepspeed_enabled", False)
    made = trainer.optimizer
    if made is None:
        made = planned_optimizer(trainer)
    elif sharded:
        made = None  # holds pieces of the parameters, which cannot be told apart
    return Subject(
        without_wrappers(model),
        _plain(made, "optimizer"),
        _plain(getattr(trainer, "lr_scheduler", None), "scheduler"),
        trainer,
    )


def planned_optimizer(trainer: Any) -> Any:
    """The optimizer that the Trainer would make now; the Trainer itself keeps none. None under DeepSpeed."""
    if getattr(trainer, "is_deepspeed_enabled", False):
        return None
    before = dict(vars(trainer))
    try:
        name = str(getattr(trainer.args.optim, "value", trainer.args.optim))
        if trainer.optimizer_cls_and_kwargs is None and name not in PLAIN:
            trainer.optimizer_cls_and_kwargs = (torch.optim.SGD, {"lr": trainer.args.learning_rate})
        trainer.create_optimizer()
        return trainer.optimizer
    except Exception as error:
        what = f"create_optimizer() of {type(trainer).__name__} raises {type(error).__name__}: {error}"
        raise Problems(Problem("optimizer", what, "training would stop there, too")) from error
    finally:
        vars(trainer).clear()
        vars(trainer).update(before)


def without_wrappers(model: nn.Module) -> nn.Module:
    """The model inside DataParallel, DistributedDataParallel and torch.compile."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(model, parallel) or hasattr(model, "_orig_mod"):
        inner: Any = model.module if isinstance(model, parallel) else model._orig_mod
        model = inner
    return model


def _plain(given: Any, inside: str) -> tuple[Any, ...]:
    """One or several as a tuple, each without accelerate's wrapper around it."""
    if given is None:
        return ()
    several = list(given) if isinstance(given, Sequence) else [given]
    return tuple(
        getattr(item, inside) if type(item).__module__.startswith("accelerate.") else item for item in several
    )


def names_of(subject: Subject, parameters: Iterable[Any]) -> list[str]:
    """Full names of those of the parameters that are the model's, in its order."""
    wanted = {id(parameter) for parameter in parameters}
    return [name for name, parameter in subject.model.named_parameters() if id(parameter) in wanted]


def head_names(subject: Subject) -> frozenset[str] | None:
    """Full names of the head's parameters; None where the model's build is not understood."""
    from hf_transfer.anatomy import HEAD, layer_groups

    try:
        groups = layer_groups(subject.model)
    except Exception:  # any torch model may come here
        return None
    return frozenset(name for group in groups if group.name == HEAD for name in group.parameters)


def shown(names: Iterable[str] | Mapping[str, Any], most: int = 3) -> str:
    """`a, b, c and 12 more`."""
    every = list(names)
    rest = len(every) - most
    return ", ".join(every[:most]) + (f" and {rest} more" if rest > 0 else "")
