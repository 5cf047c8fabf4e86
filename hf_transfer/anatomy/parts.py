"""What a block is made of: its attentions and its feed-forward part, each as matrix layers in the order they are used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from hf_transfer.anatomy.blocks import within
from hf_transfer.anatomy.depth import blocks_of
from hf_transfer.anatomy.groups import unwrapped
from hf_transfer.anatomy.order import forward_order


@dataclass(frozen=True)
class BlockParts:
    """Full names of the matrix layers (Linear, Conv1D, Conv2d without groups) of one block, as they follow each other.

    Attributes:
        attentions: one tuple for each attention (a decoder may have two); the last layer writes to the residual.
        feedforward: those outside any attention; the last writes to the residual. Of convolution nets, all.
    """

    attentions: tuple[tuple[str, ...], ...]
    feedforward: tuple[str, ...]


def block_parts(model: nn.Module) -> list[BlockParts]:
    """The parts of every block, in forward order; empty where no blocks were found."""
    inner, _ = unwrapped(model)
    order = forward_order(inner)
    modules = dict(inner.named_modules())
    found = []
    for block in blocks_of(inner, order):
        layers = sorted(
            (name for name, module in modules.items() if within(name, block) and is_wide(module)),
            key=lambda name: order.last[name],
        )
        layers = _without_gates(layers, modules)
        owner = {name: _attention(name, block, modules) for name in layers}
        names = dict.fromkeys(a for a in owner.values() if a)
        groups = [tuple(n for n in layers if owner[n] == a) for a in names]
        attentions = [group for group in groups if len(group) > 1]
        rest = tuple(n for n in layers if not owner[n])
        found.append(BlockParts(tuple(attentions), _without_shortcut(rest, modules)))
    return found


def is_wide(module: nn.Module) -> bool:
    """A layer that is a matrix between all its inputs and outputs."""
    return isinstance(module, (nn.Linear, Conv1D)) or (isinstance(module, nn.Conv2d) and module.groups == 1)


def sizes(layer: Any) -> tuple[int, int]:
    """Inputs and outputs of a matrix layer: features or channels."""
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels, layer.out_channels
    if isinstance(layer, Conv1D):
        return int(layer.weight.shape[0]), int(layer.weight.shape[1])
    return layer.in_features, layer.out_features


def _attention(name: str, block: Sequence[str], modules: dict[str, nn.Module]) -> str:
    """The outermost module inside the block that is an attention and holds the layer; or nothing.

    transformers and timm call it attention or attn, the attribute or the class, in every model that was looked at.
    """
    common = os.path.commonprefix([f"{part}." for part in block]) if len(block) > 1 else f"{block[0]}."
    path = common[: common.rfind(".")]
    for part in name[len(path) :].strip(".").split("."):
        path = f"{path}.{part}" if path else part
        words = f"{part} {type(modules[path]).__name__}".lower()
        if "attention" in words or "attn" in words:
            return path
    return ""


def _without_gates(names: list[str], modules: dict[str, nn.Module]) -> list[str]:
    """Without pairs of 1x1 convolutions that squeeze the channels and widen them again to weigh each channel."""
    gates = set()
    for one, two in zip(names, names[1:], strict=False):
        a, b = modules[one], modules[two]
        points = all(isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) for layer in (a, b))
        if points and sizes(a) == sizes(b)[::-1] and sizes(a)[1] < sizes(a)[0]:
            gates |= {one, two}
    return [name for name in names if name not in gates]


def _without_shortcut(names: tuple[str, ...], modules: dict[str, nn.Module]) -> tuple[str, ...]:
    """Without the 1x1 convolution of a ResNet's shortcut, which is used last but lies beside the others."""
    if len(names) < 3:
        return names
    first, before, last = (modules[name] for name in (names[0], names[-2], names[-1]))
    beside = (
        isinstance(last, nn.Conv2d)
        and last.kernel_size == (1, 1)
        and sizes(last) == (sizes(first)[0], sizes(before)[1])
    )
    return names[:-1] if beside else names
