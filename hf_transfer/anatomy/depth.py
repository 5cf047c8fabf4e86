"""How deep in the model a parameter lies: blocks, heads and the order of the forward pass, put together."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator

from torch import nn
from transformers import PreTrainedModel

from hf_transfer.anatomy.blocks import Block, find_blocks, within
from hf_transfer.anatomy.head import backbone, late_heads, runs_last, span, stated_heads
from hf_transfer.anatomy.order import Order, forward_order


def depths(model: nn.Module) -> tuple[int, Callable[[str], int]]:
    """The number of blocks L, and the depth of a parameter's or buffer's name: 0 embeddings, 1..L blocks, L+1 head."""
    order = forward_order(model)
    blocks, head = _parts(model, order)
    if not blocks:
        return 0, lambda name: 0
    return len(blocks), _Depth(model, order, blocks, head)


def heads(model: nn.Module) -> list[str]:
    """Full names of the outermost modules of the head."""
    return _parts(model, forward_order(model))[1]


def blocks_of(model: nn.Module, order: Order) -> list[Block]:
    """The repeated layers, each as the names of the modules that make it up."""
    return _parts(model, order)[0]


def _parts(model: nn.Module, order: Order) -> tuple[list[Block], list[str]]:
    stated = stated_heads(model, order)
    blocks = find_blocks(model, order, stated)
    found = {*stated, *(late_heads(model, blocks, order, stated) if blocks else [])}
    return blocks, [name for name, _ in model.named_modules() if name in found]


class _Depth:
    """What lies between blocks joins its neighbour; tables and free tokens are embeddings wherever they are read."""

    def __init__(self, model: nn.Module, order: Order, blocks: list[Block], head: list[str]) -> None:
        self.order, self.blocks, self.head = order, blocks, head
        self.starts = [order.first[block[0]] for block in blocks]
        self.start, self.end = span(order, [part for block in blocks for part in block])
        modules = dict(model.named_modules())
        self.tables = {
            name for name, module in modules.items() if type(module).__name__.endswith("Embedding")
        }
        self.towers = [name for name, m in modules.items() if name and isinstance(m, PreTrainedModel)]
        begun = [place for name in head for place in order.places[name] if place > self.end]
        self.scores = min(begun, default=math.inf)  # where the head begins: what follows is head, norms too
        base = backbone(model)
        self.base = next(name for name, module in modules.items() if module is base)

    def __call__(self, name: str) -> int:
        owner, last = self._owner(name), len(self.blocks)
        for i, block in enumerate(self.blocks):
            if within(owner, block):
                return i + 1
        if within(owner, self.head):
            return last + 1
        used = name if name in self.order.places else owner
        first = self.order.places[used][0]
        before = bisect_right(self.starts, first)
        if runs_last(self.order, used, self.start, self.end) and not self._ends_tower(owner, before):
            # A final norm stays with the last block; a bias of tied scores lies outside the backbone.
            outside = self.base and not within(owner, [self.base])
            behind = next(place for place in self.order.places[used] if place > self.end)
            return last + 1 if outside or behind > self.scores else last
        if before == 0:
            return 0
        if owner in self.tables or self._is_free(owner) or self._begins_tower(owner, before):
            return 0
        return before if before == last or not self._nearer_to_next(owner, before) else before + 1

    def _owner(self, name: str) -> str:
        """The nearest module that the model knows; PEFT keeps some tensors beside the model (prefixes: embeddings)."""
        owner = name.rpartition(".")[0]
        while owner not in self.order.places:
            owner = owner.rpartition(".")[0]
        return owner

    def _is_free(self, owner: str) -> bool:
        """A token or a table of positions that is held by what holds the blocks."""
        return any(not owner or block[0].startswith(f"{owner}.") for block in self.blocks)

    def _begins_tower(self, owner: str, before: int) -> bool:
        """What embeds the input of a second model inside: its patches, the norm of a decoder's words."""
        return any(
            held[0] >= before and "embed" in owner[len(tower) :].lower()
            for tower, held in self._towers_of(owner)
        )

    def _ends_tower(self, owner: str, before: int) -> bool:
        """What follows the last block of a first model inside, ere a second begins; asked again for the scores or not."""
        return any(held[-1] < before < len(self.blocks) for _, held in self._towers_of(owner))

    def _towers_of(self, owner: str) -> Iterator[tuple[str, list[int]]]:
        """The models inside that hold the module, and which blocks they hold."""
        for tower in self.towers:
            held = [i for i, block in enumerate(self.blocks) if within(block[0], [tower])]
            if held and within(owner, [tower]):
                yield tower, held

    def _nearer_to_next(self, owner: str, before: int) -> bool:
        return _shared(owner, self.blocks[before][0]) > _shared(owner, self.blocks[before - 1][0])


def _shared(a: str, b: str) -> int:
    """How many leading parts two dotted names share."""
    count = 0
    for x, y in zip(a.split("."), b.split("."), strict=False):
        if x != y:
            break
        count += 1
    return count
