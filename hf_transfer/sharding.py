"""Models that are spread over processes (FSDP2, ZeRO-3): what is kept together, and back to a plain model."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import nn

from hf_transfer.anatomy import LayerGroup


def block_classes(model: nn.Module, groups: Iterable[LayerGroup]) -> list[str]:
    """Names of the classes of the model's blocks: what FSDP2 gathers at once, whatever the model is called.

    accelerate would ask the model for `_no_split_modules`. That names embeddings too, which accelerate 1.15 then shards
    twice and fails (BERT, RoBERTa, ViT, ModernBERT), or nothing (DeBERTa, ELECTRA, DistilBERT).
    """
    prefixes = {group.name: _common(group.parameters) for group in groups}
    found = set()
    for name, prefix in prefixes.items():
        inside = [
            other for other, p in prefixes.items() if other != name and f"{p}.".startswith(f"{prefix}.")
        ]
        # The last block may hold a final norm as well: what they have in common then holds the other blocks too.
        if name.startswith("block.") and prefix and not inside:
            found.add(type(model.get_submodule(prefix)).__name__)
    return sorted(found - {"ModuleList", "Sequential"})


def _common(names: Iterable[str]) -> str:
    paths = [PurePosixPath(name.replace(".", "/")).parent.parts for name in names]
    shared = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def skeleton(model: nn.Module) -> nn.Module:
    """A copy of the model without its parameters' memory (they are on the meta device); buffers are copied."""
    empty: dict[int, Any] = {
        id(p): nn.Parameter(p.detach().to("meta"), requires_grad=p.requires_grad) for p in model.parameters()
    }
    return copy.deepcopy(model, empty)


def gathered(sharded: nn.Module, plain: nn.Module) -> nn.Module:
    """`plain`, a `skeleton`, with the weights of the sharded model; every process must call it and gets all of them."""
    if any(hasattr(parameter, "ds_id") for parameter in sharded.parameters()):
        weights = _from_zero(sharded)
    else:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        weights = get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True))
    plain.load_state_dict({name: value.detach().clone() for name, value in weights.items()}, assign=True)
    return plain


def _from_zero(sharded: nn.Module) -> dict[str, torch.Tensor]:
    """Under ZeRO-3 a parameter is there only inside this context."""
    import deepspeed

    weights = {}
    for name, value in sharded.state_dict(keep_vars=True).items():
        with deepspeed.zero.GatheredParameters([value], enabled=hasattr(value, "ds_id")):
            weights[name] = value.detach().clone()
    return weights
