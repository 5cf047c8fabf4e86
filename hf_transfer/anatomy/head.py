"""Which modules make the scores: the part of the anatomy that finds heads and poolers."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from hf_transfer.anatomy.blocks import Block, has_layers, owns, within
from hf_transfer.anatomy.order import Order


def backbone(model: Any) -> nn.Module:
    """What `base_model_prefix` names, else that of the only model inside (DetrForSegmentation's), else the model.

    A model with transformer layers beside the one inside is no head on it: GIT's text behind its vision model.
    """
    base = getattr(model, getattr(model, "base_model_prefix", "") or " ", None)
    if isinstance(base, nn.Module):
        return base
    inner = [child for child in model.children() if isinstance(child, PreTrainedModel)]
    if len(inner) != 1 or type(model).__name__ == type(inner[0]).__name__:
        return model
    beside = any(has_layers(child) for child in model.children() if child is not inner[0])
    return model if beside else backbone(inner[0])


def embeddings(model: Any, side: str) -> Any:
    """The model's input or output embeddings; None where it has none or cannot tell (CLIP's classifier)."""
    try:
        return getattr(model, f"get_{side}_embeddings")()
    except (AttributeError, NotImplementedError):
        return None


def stated_heads(model: Any, order: Order) -> list[str]:
    """Outermost modules that the model itself sets apart from its backbone.

    timm's `get_classifier`; what lies outside `base_model_prefix` and is not used before it, also where the backbone
    is lent a reference to it (DETR's kin refine boxes with the head's layers); untied output embeddings.
    """
    names = {id(module): name for name, module in model.named_modules()}
    if (inner := getattr(model, "timm_model", None)) is not None and hasattr(inner, "get_classifier"):
        found = inner.get_classifier()
        wanted = {id(module) for module in (found if isinstance(found, tuple) else (found,))}
    else:
        base, output, table = backbone(model), embeddings(model, "output"), embeddings(model, "input")
        begins = order.first[names[id(base)]]
        wanted = {key for key in _outside(model, base, table) if order.first[names[key]] > begins}
        untied = getattr(output, "weight", None) is not getattr(table, "weight", None)
        if untied and not isinstance(output, nn.Embedding):  # FSMT's scores are read off its decoder's words
            wanted.add(id(output))
    return _outermost(
        [name for key, name in names.items() if name and key in wanted and owns(model.get_submodule(name))]
    )


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
    start, end = span(order, parts)
    stages = {stage for part in parts for stage in _items(part)}
    found: list[str] = []
    for name, module in model.named_modules():
        if not name or within(name, [*parts, *stages, *found, *stated]) or not owns(module):
            continue
        whole = not any(other.startswith(f"{name}.") for other in [*parts, *stated])
        late = runs_last(order, name, start, end) and any(
            parameter.dim() == 2 for parameter in module.parameters()
        )
        holder, _, short = name.rpartition(".")
        whose = all(
            part.startswith(f"{holder}.") or not holder for part in parts
        )  # not an encoder's before a decoder
        if whole and (late or (short == "pooler" and whose)):
            found.append(name)
    return found


def _items(name: str) -> list[str]:
    """The items of lists around a module: what ends a stage (CrossViT's way back) is no head."""
    path = name.split(".")
    return [".".join(path[:i]) for i in range(1, len(path)) if path[i - 1].isdigit()]


def runs_last(order: Order, name: str, start: int, end: int) -> bool:
    """Used behind the blocks: not counting a table read before them and again for the scores."""
    places = order.places[name]
    return places[-1] > end and (places[0] > start or any(start < place < end for place in places))


def span(order: Order, parts: list[str]) -> tuple[int, int]:
    """Where the first of these modules is first used, and where anything in them is last used."""
    inside = [place for name, place in order.last.items() if within(name, parts)]
    return min(order.first[part] for part in parts), max(inside)


def _outermost(names: list[str]) -> list[str]:
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]
