"""Models that are spread over processes (FSDP2, ZeRO-3): what is kept together, and back to a plain model."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from torch import nn

from hf_transfer.anatomy import LayerGroup


def block_classes(model: nn.Module, groups: Iterable[LayerGroup]) -> list[str]:
    """Names of the classes of the model's blocks: what FSDP2 gathers at once, whatever the model is called.

    accelerate would ask the model for `_no_split_modules`. That names embeddings too, which accelerate 1.15 then shards
    twice and fails (BERT, RoBERTa, ViT, ModernBERT), or nothing (DeBERTa, ELECTRA, DistilBERT).
    """
    prefixes = {group.name: _module(model, group.parameters) for group in groups}
    found = set()
    for name, prefix in prefixes.items():
        inside = [
            other for other, p in prefixes.items() if other != name and f"{p}.".startswith(f"{prefix}.")
        ]
        # The last block may hold a final norm as well: what they have in common then holds the other blocks too.
        if name.startswith("block.") and prefix and not inside:
            found.add(type(model.get_submodule(prefix)).__name__)
    return sorted(found)


def _module(model: nn.Module, names: Iterable[str]) -> str:
    """Name of the smallest module, no mere list of modules, that holds all these parameters."""
    paths = [PurePosixPath(name.replace(".", "/")).parent.parts for name in names]
    shared = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    while shared and isinstance(model.get_submodule(".".join(shared)), nn.ModuleList | nn.Sequential):
        shared.pop()
    return ".".join(shared)


def skeleton(model: nn.Module) -> nn.Module:
    """A copy of the model in which what learns takes no memory (meta device); what is frozen is copied as it is."""
    empty: dict[int, Any] = {
        id(p): nn.Parameter(p.detach().to("meta")) for p in model.parameters() if p.requires_grad
    }
    return copy.deepcopy(model, empty)


def gathered(sharded: nn.Module, plain: nn.Module, zero: bool) -> nn.Module:
    """The trained model, whole in every process; all of them must call it.

    Args:
        sharded: the model as it was trained.
        plain: the `skeleton` from before; filled and returned.
        zero: DeepSpeed trained it, else FSDP2.
    """
    if zero:
        weights = _from_zero(sharded)
    else:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        weights = dict(get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True)))
    plain.load_state_dict({name: value.detach().clone() for name, value in weights.items()}, False, True)
    missing = [name for name, value in plain.named_parameters() if value.is_meta]
    if missing:
        raise RuntimeError(f"the trained model could not be put together: it lacks {', '.join(missing[:3])}")
    return plain


def _from_zero(sharded: nn.Module) -> dict[str, Any]:
    """What has learned, in fp32 as the optimizer holds it (the model itself may be in bf16), and the buffers."""
    from deepspeed.utils import safe_get_full_fp32_param

    learned = {name: p for name, p in sharded.named_parameters(remove_duplicate=False) if p.requires_grad}
    weights = {name: safe_get_full_fp32_param(p) for name, p in learned.items()}
    floating = {name: b.float() if b.is_floating_point() else b for name, b in sharded.named_buffers()}
    return weights | floating
