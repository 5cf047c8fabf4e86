"""Where the repeated layers of a model are: the part of the anatomy that tells a block from a bundle of blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from hf_transfer.anatomy.order import Order

# A block: names of the modules that make it up. Nearly always one; two where a model keeps lists side by side.
Block = tuple[str, ...]


def find_blocks(model: nn.Module, order: Order, outside: Iterable[str]) -> list[Block]:
    """The repeated layers in the order of the forward pass, stages flattened; those of `outside` are not looked at.

    Where a timm model shows no lists of blocks (VGG, DLA, Inception), its own `group_matcher` says what they are.
    """
    names = sorted(_walk(model, "", set(outside)), key=lambda name: order.first[name])
    names = _without_joints(model, names)
    inner = getattr(model, "timm_model", None)
    if not names and inner is not None:
        return _matched(inner, "timm_model", set(outside))
    if names and inner is not None and within(next(iter(model.named_parameters()))[0], [names[0]]):
        names = _without_stem(inner, "timm_model", names)
    blocks = _side_by_side(_whole(model, names, order), order)
    return sorted(blocks, key=lambda block: order.first[block[0]])


def within(name: str, block: Iterable[str]) -> bool:
    """Whether a name is, or lies inside, one of these modules."""
    return any(name == part or name.startswith(f"{part}.") for part in block)


def owns(module: nn.Module) -> bool:
    """Whether the module holds any parameter."""
    return any(True for _ in module.parameters())


def is_matrix(parameter: Any) -> bool:
    """Whether a parameter is more than a vector; layer scales shaped (C, 1, 1) are vectors."""
    return parameter.dim() > 1 and parameter.numel() != max(parameter.shape)


def _walk(module: nn.Module, prefix: str, outside: set[str]) -> Iterator[str]:
    for name, child in module.named_children():
        full = f"{prefix}.{name}" if prefix else name
        if full in outside or not owns(child) or _is_wrapped(child):
            continue
        if (_is_list(module) or _is_bare_stage(module)) and _is_block(child):
            yield full
        elif _is_list(child) and not any(_is_block(kid) or _is_stage(kid) for kid in child.children()):
            continue  # a stem or a downsampling list of plain layers
        else:
            yield from _walk(child, full, outside)


def _is_list(module: Any) -> bool:
    return isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))


def _is_stage(module: nn.Module) -> bool:
    """A bundle of blocks: a list, what is called one, or what holds a list of whole layers.

    transformers marks the layers of most models as `GradientCheckpointingLayer`, some stages (Swin's, PVTv2's), too.
    """
    return _is_list(module) or _is_called_stage(module) or has_layers(module)


def has_layers(module: nn.Module) -> bool:
    """Whether a module holds a list of whole transformer layers."""
    lists = [
        part for part in module.modules() if isinstance(part, (nn.ModuleList, nn.Sequential)) and len(part)
    ]
    return any(
        (len(part) > 1 and any(isinstance(layer, GradientCheckpointingLayer) for layer in part))
        or all(_attends(layer) for layer in part)
        for part in lists
    )


def _attends(module: nn.Module) -> bool:
    """A whole transformer layer: an attention of its own and matrices beside it."""
    attention = {name for name, _ in module.named_children() if "attention" in name.lower() or "attn" in name}
    return bool(attention) and any(
        is_matrix(parameter)
        for name, child in module.named_children()
        if name not in attention
        for parameter in child.parameters()
    )


def _is_called_stage(module: nn.Module) -> bool:
    """Swin's, ConvNeXt's and ResNet's stages, ALBERT's layer groups.

    A stage and a block that holds a list of its own layers (T5, ResNet) look alike from outside; the libraries tell
    them apart by the class, which is called a Stage or a Group in nearly every hierarchical model of transformers and
    timm, or by the list, which is called blocks (FasterNet's).
    """
    called = any(word in type(module).__name__ for word in ("Stage", "LayerGroup"))
    return called or _is_list(getattr(module, "blocks", None))


def _is_bare_stage(module: nn.Module) -> bool:
    """A stage that holds its blocks under names of their own rather than in a list (timm's RegNet)."""
    return _is_called_stage(module) and not any(_is_list(child) for child in module.children())


def _is_block(module: nn.Module) -> bool:
    """Holds at least two layers with parameters and is no bundle of blocks itself."""
    return _layers(module) >= 2 and not _is_stage(module)


def _layers(module: nn.Module) -> int:
    """Layers that hold parameters; a layer wrapped by PEFT is one."""
    if _is_wrapped(module):
        return int(owns(module))  # PEFT also wraps an empty layer whose name ends like one of the head's
    own = any(True for _ in module.parameters(recurse=False))
    return own + sum(_layers(child) for child in module.children())


def _without_joints(model: nn.Module, names: list[str]) -> list[str]:
    """Without lists of single matrices with their norms (PVT's patch layers, RT-DETR's lateral ones, Wav2Vec2's stem).

    Unless there is nothing else (MobileNetV1). A list inside a list is a stage (MobileNetV3's last) and stays.
    """
    rich = {_parent(name) for name in names if _matrices(model.get_submodule(name)) > 1}
    kept = [n for n in names if _parent(n) in rich or _parent(n).rpartition(".")[2].isdigit()]
    return kept if rich else names


def _matrices(module: nn.Module) -> int:
    """Layers inside that hold a matrix, a wrapped one once; a table of positions that the module holds is none."""
    return sum(
        owns(child)
        if _is_wrapped(child)
        else any(is_matrix(parameter) for parameter in child.parameters(recurse=False)) + _matrices(child)
        for child in module.children()
    )


def _without_stem(model: Any, prefix: str, names: list[str]) -> list[str]:
    """Without what timm states to be the stem: a list of blocks too in FastViT, where nothing embeds before them."""
    from timm.models import group_parameters

    if not hasattr(model, "group_matcher"):
        return names
    steps = group_parameters(model, model.group_matcher(coarse=False))
    stem = {f"{prefix}.{name}" for name in steps[min(steps)]}
    return [name for name in names if not any(within(parameter, [name]) for parameter in stem)] or names


def _whole(model: nn.Module, names: list[str], order: Order) -> list[str]:
    """Without lists of other modules that go on behind the last whole layer: they make the scores (EoMT's masks).

    Of timm's models, whose layers are of many kinds, it is known what makes the scores.
    """
    if hasattr(model, "timm_model"):
        return names
    layers = {name: model.get_submodule(name) for name in names}
    whole = {
        n for n, layer in layers.items() if isinstance(layer, GradientCheckpointingLayer) or _attends(layer)
    }
    end = max((order.last[name] for name in whole), default=math.inf)
    behind = {_parent(name) for name in names if order.last[name] > end}
    return [name for name in names if name in whole or _parent(name) not in behind]


def _is_wrapped(module: nn.Module) -> bool:
    """A layer inside one of PEFT's."""
    return hasattr(module, "base_layer") or hasattr(module, "modules_to_save")


def _side_by_side(names: list[str], order: Order) -> Iterator[Block]:
    """Lists that are gone through in step are one list of blocks: XLM's `attentions.0` and `ffns.0` make one block."""
    lists = {key: list(found) for key, found in groupby(sorted(names, key=_parent), key=_parent)}
    for key, first in list(lists.items()):
        if key not in lists:
            continue
        beside = [first]
        for other, second in list(lists.items()):
            if other != key and _parent(other) == _parent(key) and _in_step(first, second, order):
                beside.append(lists.pop(other))
        del lists[key]
        yield from zip(*beside, strict=True)


def _in_step(first: list[str], second: list[str], order: Order) -> bool:
    """Whether two lists of the same length alternate."""
    if len(first) != len(second) or len(first) < 2:
        return False
    mixed = sorted((*first, *second), key=lambda name: order.first[name])
    return all((mixed[i] in first) != (mixed[i + 1] in first) for i in range(len(mixed) - 1))


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _matched(model: Any, prefix: str, outside: set[str]) -> list[Block]:
    """Blocks as timm states them: the steps between the stem and the head that hold a matrix."""
    from timm.models import group_parameters

    steps = group_parameters(model, model.group_matcher(coarse=False))
    parameters = dict(model.named_parameters())
    blocks: list[list[str]] = []
    for _, names in sorted(steps.items())[1:]:
        owners = list(dict.fromkeys(f"{prefix}.{_parent(name)}" for name in names))
        if any(within(owner, outside) for owner in owners):
            continue
        if blocks and not any(is_matrix(parameters[name]) for name in names):
            blocks[-1] += owners  # a norm counted as a step of its own
        else:
            blocks.append(owners)
    return [tuple(block) for block in blocks]
