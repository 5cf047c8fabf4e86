"""A model wrapped by PEFT, on any architecture: targets and heads come from the anatomy, not from a name list."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hf_transfer.strategies.peft_methods import is_prompt, kind_of, merges, name_of
from hf_transfer.strategies.targets import heads_to_save, with_targets

if TYPE_CHECKING:
    from torch import nn


def adapt(model: nn.Module, config: Any) -> Any:
    """The model with the adapter that a configuration describes, with everything else frozen.

    PEFT knows about forty architectures by name and otherwise freezes, and does not save, the head. Here
    `target_modules` defaults to what the method goes to inside the blocks and `modules_to_save` to every layer of the
    head, both as full names; `task_type` is cleared because it would make PEFT guess them again.

    Args:
        config: any of peft's, or a `BottleneckConfig`, for which the model itself is changed and returned.

    Raises:
        Problems: a target that no module matches, or a method that cannot be used on this model.
    """
    from peft import get_peft_model

    from hf_transfer.strategies.bottleneck import BottleneckConfig, insert
    from hf_transfer.strategies.prompts import with_prompt

    if isinstance(config, BottleneckConfig):
        return insert(model, config)
    if is_prompt(config):
        return with_prompt(model, config)
    own = [] if getattr(config, "modules_to_save", None) else heads_to_save(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of block sizes that were fitted, and of GPT-2's transposed layers
        adapted: Any = get_peft_model(model, with_targets(model, config))
    _still_wrappers(adapted, own)
    for layer, base in _wrapped_convolutions(adapted):
        layer.stride, layer.kernel_size, layer.dilation = base.stride, base.kernel_size, base.dilation
    return adapted


def _still_wrappers(adapted: Any, leaves: Sequence[str]) -> None:
    """Freeze what PEFT took for a layer of the head by the end of its name.

    PoolFormer's last `norm` takes `before_norm` of every block with it. They stay wrapped, and are saved as they are: PEFT
    takes them again when it loads.
    """
    from peft.utils import ModulesToSaveWrapper

    for name, module in adapted.get_base_model().named_modules():
        if leaves and isinstance(module, ModulesToSaveWrapper) and name not in leaves:
            module.requires_grad_(False)


def adapter_notes(model: Any, loraplus_lr_ratio: float | None = None) -> list[str]:
    """Sentences for the plan: what to know about this adapter.

    transformers' MobileNets need a line that plain PEFT lacks: their TensorFlow padding asks a convolution for its
    stride, which PEFT's layer around it does not have.
    """
    found = []
    config = next(iter(getattr(model, "peft_config", {}).values()), None) or model.bottleneck_config
    if not merges(kind_of(config)):
        found.append(
            f"What {name_of(config)} learns cannot be merged: the run folder will hold adapter/ and no whole model, and needs "
            "its base model where it is now."
        )
    if kind_of(config) == "ADALORA":
        found.append("A resumed AdaLoRA run keeps its ranks, but measures their importance anew.")
    if loraplus_lr_ratio:
        found.append(
            f"LoRA+: the second matrices learn {loraplus_lr_ratio:g} times as fast as the rates shown."
        )
    if not getattr(model.config, "tf_padding", False) or not any(True for _ in _wrapped_convolutions(model)):
        return found
    return [
        *found,
        "PEFT alone cannot run the adapter of this model (its padding asks PEFT's layers for a stride they lack); the "
        "merged model in the run folder needs nothing.",
    ]


def _wrapped_convolutions(model: nn.Module) -> Iterator[tuple[Any, Any]]:
    from torch import nn

    for layer in model.modules():
        base = getattr(layer, "base_layer", None)
        if isinstance(base, nn.Conv2d):
            yield layer, base
