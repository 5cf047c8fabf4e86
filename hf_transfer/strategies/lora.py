"""Low-rank adaptation (LoRA and its kin) on any model: targets and heads come from the anatomy, not from a name list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hf_transfer.anatomy import head_leaves, layer_groups, linear_layers
from hf_transfer.problems import Problem, Problems

if TYPE_CHECKING:
    from torch import nn


def adapt(model: nn.Module, peft_config: Any) -> Any:
    """The model wrapped by PEFT, with targets and head modules filled in where the config leaves them open.

    PEFT knows about forty architectures by name and otherwise freezes, and does not save, the head. Here
    `target_modules` defaults to every matrix layer inside the blocks and `modules_to_save` to every layer of the
    head, both as full names; `task_type` is cleared because it would make PEFT guess them again.

    Raises:
        Problems: a target that no module matches.
    """
    from peft import get_peft_model

    targets = peft_config.target_modules or linear_layers(model, layer_groups(model))
    check_targets(model, peft_config.target_modules)
    saved = peft_config.modules_to_save or head_leaves(model)
    config = replace(peft_config, target_modules=targets, modules_to_save=saved or None, task_type=None)
    adapted = get_peft_model(model, config)
    for layer, base in _wrapped_convolutions(adapted):
        layer.stride, layer.kernel_size, layer.dilation = base.stride, base.kernel_size, base.dilation
    return adapted


def adapter_notes(model: Any) -> list[str]:
    """What to know about the adapter alone: transformers' MobileNets need a line that plain PEFT lacks.

    Their TensorFlow padding asks a convolution for its stride, which PEFT's layer around it does not have.
    """
    if not getattr(model.config, "tf_padding", False) or not any(True for _ in _wrapped_convolutions(model)):
        return []
    return [
        "PEFT alone cannot run the adapter of this model (its padding asks PEFT's layers for a stride they lack); the "
        "merged model in the run folder needs nothing."
    ]


def _wrapped_convolutions(model: nn.Module) -> Iterator[tuple[Any, Any]]:
    from torch import nn

    for layer in model.modules():
        base = getattr(layer, "base_layer", None)
        if isinstance(base, nn.Conv2d):
            yield layer, base


def check_targets(model: nn.Module, targets: Any) -> None:
    """Every named target must match a module (PEFT matches full names and suffixes)."""
    if not targets or isinstance(targets, str):
        return
    names = [name for name, _ in model.named_modules()]
    missing = [t for t in targets if not any(name == t or name.endswith("." + t) for name in names)]
    if missing:
        suggestions = sorted({name.rpartition(".")[2] for name in linear_layers(model)})
        raise Problems(
            Problem(
                "--lora_target_modules",
                f"no module of {type(model).__name__} is called {', '.join(missing)}",
                f"its layers inside the blocks are called {', '.join(suggestions)}; leave the flag out to take them all",
            )
        )


def lora_targets(flag: Sequence[str] | None) -> list[str] | None:
    """`--lora_target_modules a b` or `a,b` as a list."""
    if not flag:
        return None
    return [name for part in flag for name in part.split(",") if name]
