"""Which modules make the scores: the part of the anatomy that finds heads and poolers."""

from __future__ import annotations

from typing import Any

from torch import nn

from hf_transfer.anatomy_blocks import Block, owns, within
from hf_transfer.anatomy_order import Order


def backbone(model: Any) -> nn.Module:
    """What `base_model_prefix` names; the model itself where that is nothing."""
    base = getattr(model, getattr(model, "base_model_prefix", "") or " ", None)
    return base if isinstance(base, nn.Module) else model


def embeddings(model: Any, side: str) -> Any:
    """The model's input or output embeddings; None where it has none or cannot tell (CLIP's classifier)."""
    try:
        return getattr(model, f"get_{side}_embeddings")()
    except (AttributeError, NotImplementedError):
        return None


def stated_heads(model: Any) -> list[str]:
    """Outermost modules that the model itself sets apart from its backbone.

    timm's `get_classifier`; what lies outside `base_model_prefix`, also where the backbone is lent a reference to it
    (DETR's kin refine boxes with the head's layers); untied output embeddings.
    """
    if (inner := getattr(model, "timm_model", None)) is not None and hasattr(inner, "get_classifier"):
        found = inner.get_classifier()
        wanted = {id(module) for module in (found if isinstance(found, tuple) else (found,))}
    else:
        base, output, table = backbone(model), embeddings(model, "output"), embeddings(model, "input")
        wanted = _outside(model, base, table)
        if isinstance(output, nn.Module) and getattr(output, "weight", None) is not getattr(
            table, "weight", 0
        ):
            wanted.add(id(output))
    return _outermost([name for name, m in model.named_modules() if name and id(m) in wanted and owns(m)])


def _outside(model: nn.Module, base: nn.Module, table: Any) -> set[int]:
    if base is model:
        return set()
    inside = {id(parameter) for parameter in base.parameters()}
    shared = _lent(model, base) - {id(table)}
    return shared | {
        id(module)
        for module in model.modules()
        if module is not model and not any(id(parameter) in inside for parameter in module.parameters())
    }


def _lent(model: nn.Module, base: nn.Module) -> set[int]:
    """Children of the model that are small parts of the backbone, too."""
    parts = {id(module) for module in base.modules() if module is not base}
    size = sum(parameter.numel() for parameter in base.parameters())
    return {
        id(child)
        for child in model.children()
        if id(child) in parts and 2 * sum(parameter.numel() for parameter in child.parameters()) < size
    }


def late_heads(model: nn.Module, blocks: list[Block], order: Order, stated: list[str]) -> list[str]:
    """Outermost modules that follow the last block and hold a matrix, and whatever is called a pooler.

    A last convolution (MobileNet's) makes features, not scores, and stays with the last block as a last norm does.
    A pooler may be registered anywhere (NomicBERT's before the blocks) and run before the last of them (CANINE's).
    """
    parts = [part for block in blocks for part in block]
    end = max(place for name, place in order.last.items() if within(name, parts))
    start = min(order.first[part] for part in parts)  # a table that the scores read again is none of the head
    found: list[str] = []
    for name, module in model.named_modules():
        if not name or within(name, [*parts, *found, *stated]) or not owns(module):
            continue
        whole = not any(other.startswith(f"{name}.") for other in [*parts, *stated])
        late = (
            order.last[name] > end
            and order.first[name] > start
            and any(parameter.dim() == 2 for parameter in module.parameters())
        )
        if whole and (late or name.rpartition(".")[2] == "pooler"):
            found.append(name)
    return found


def _outermost(names: list[str]) -> list[str]:
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]
