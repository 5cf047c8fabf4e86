"""How a model is built, asked of the model itself: the only file that knows.

`layer_groups` reads any AutoModel (timm-wrapped and PEFT-wrapped ones too) as an ordered list of groups:
`embeddings`, `block.1` .. `block.n`, `head`. It reads module trees and names only, never runs the model, and so works
on the meta device. Whatever freezes, decays or adapts layers is written on this list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_transfer.problems import Problem, Problems

if TYPE_CHECKING:
    from torch import nn

EMBEDDINGS, HEAD = "embeddings", "head"


@dataclass(frozen=True)
class LayerGroup:
    """One step of the model's depth: the full names of its parameters and buffers."""

    name: str
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]


def layer_groups(model: nn.Module) -> list[LayerGroup]:
    """The model as `[embeddings, block.1, ..., block.n, head]`, in forward order.

    Every parameter and buffer is in exactly one group; a tied tensor counts once, under its first name. Groups are
    never empty, save that a model without a head of its own (a bare encoder, a tied language model) has no `head`.

    Raises:
        Problems: no repeated blocks were found, so the order of the layers is not known.
    """
    inner, prefix = _unwrapped(model)
    blocks = _blocks(inner)
    if not blocks:
        what = f"{type(inner).__name__} has no repeated blocks (a list of layers), so the order of its layers is unknown"
        raise Problems(Problem("model", what, "choose a model that is built of blocks, as nearly all are"))
    heads = head_modules(inner)
    depth = _Depths(inner, [name for name, _ in blocks], heads)
    names = [EMBEDDINGS, *(f"block.{i + 1}" for i in range(len(blocks))), HEAD]
    parameters: dict[str, list[str]] = {name: [] for name in names}
    buffers: dict[str, list[str]] = {name: [] for name in names}
    # PEFT puts its own layers inside the blocks; `plain` gives back the name the layer had before.
    for name, _ in model.named_parameters():
        parameters[names[depth(_plain(name, prefix))]].append(name)
    for name, _ in model.named_buffers():
        buffers[names[depth(_plain(name, prefix))]].append(name)
    return [
        LayerGroup(name, tuple(parameters[name]), tuple(buffers[name]))
        for name in names
        if parameters[name] or buffers[name]
    ]


def head_modules(model: nn.Module) -> list[str]:
    """Full names of the modules applied after the backbone to make the scores, outermost first.

    Asked in turn: timm's `get_classifier`; what lies outside `base_model_prefix`; untied output embeddings; for a
    class named `...For...` without such a prefix, what is registered behind the blocks. A pooler (anything with a
    matrix that is registered behind the last block of the backbone, or is called so) belongs to the head too.
    """
    inner, _ = _unwrapped(model)
    timm_model = getattr(inner, "timm_model", None)
    if timm_model is not None and hasattr(timm_model, "get_classifier"):
        found = timm_model.get_classifier()
        wanted = {id(module) for module in (found if isinstance(found, tuple) else (found,))}
        return [name for name, module in inner.named_modules() if id(module) in wanted and _owns(module)]
    base = _base(inner)
    if base is inner:
        output, table = _embeddings(inner, "output"), _embeddings(inner, "input")
        if output is None:
            return _behind_blocks(inner) if "For" in type(inner).__name__ else []
        if table is not None and output.weight is table.weight:
            return []
        return [name for name, module in inner.named_modules() if module is output]
    return _outside(inner, base) + _poolers(inner, base)


def linear_layers(model: nn.Module, groups: list[LayerGroup] | None = None) -> list[str]:
    """Full names of the matrix layers (Linear, Conv1D, Conv2d without groups) inside the blocks: where LoRA goes."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    groups = layer_groups(model) if groups is None else groups
    inside = {name for group in groups if group.name.startswith("block.") for name in group.parameters}
    found = []
    for name, module in model.named_modules():
        wide = isinstance(module, (nn.Linear, Conv1D)) or (
            isinstance(module, nn.Conv2d) and module.groups == 1
        )
        if wide and f"{name}.weight" in inside:
            found.append(name)
    return found


def head_leaves(model: nn.Module) -> list[str]:
    """Full names of the head's own layers (those that hold parameters directly), for PEFT's `modules_to_save`.

    Leaves rather than the composite module: some PEFT methods cannot merge a composite one.
    """
    inner, _ = _unwrapped(model)
    roots = head_modules(inner)
    return [
        name
        for name, module in inner.named_modules()
        if any(name == root or name.startswith(root + ".") for root in roots)
        and any(True for _ in module.parameters(recurse=False))
    ]


def max_positions(model: nn.Module) -> int | None:
    """Longest input that the model's tables of absolute positions take; None where there are none.

    Read from the tables: the number in a config counts RoBERTa's two reserved rows.
    """
    from torch import nn

    inner = _unwrapped(model)[0]
    limits = [
        module.num_embeddings
        - getattr(module, "offset", 0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in inner.named_modules()
        if isinstance(module, nn.Embedding)
        and re.search(r"(^|[._])(w?pe|embed_positions|position_embeddings)$", name)
    ]
    configured = getattr(inner.config, "max_position_embeddings", None)
    if isinstance(configured, int) and configured > 0:
        limits.append(configured)
    return min(limits, default=None)


# How the model tree is read.


def _unwrapped(model: nn.Module) -> tuple[Any, str]:
    """The transformers model inside a PEFT wrapper, and the prefix its names have outside."""
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        wrapped: Any = model
        inner = wrapped.get_base_model()
        for name, module in model.named_modules():
            if module is inner:
                return inner, f"{name}." if name else ""
    return model, ""


def _plain(name: str, prefix: str) -> str:
    """`base_model.model.x.base_layer.weight`, `x.modules_to_save.default.weight`, `x.lora_A.default.weight` -> `x.weight`."""
    name = name.removeprefix(prefix)
    name = re.sub(r"\.(modules_to_save\.[^.]+|original_module|base_layer)(?=\.)", "", name)
    return re.sub(r"\.(lora|vera|oft|ia3|hada|lokr)_[^.]*(\..*)?$", ".weight", name)


def _base(model: Any) -> nn.Module:
    from torch import nn

    base = getattr(model, getattr(model, "base_model_prefix", "") or " ", None)
    return base if isinstance(base, nn.Module) else model


def _embeddings(model: Any, side: str) -> Any:
    """The model's input or output embeddings; None where it has none or cannot tell (CLIP's classifier)."""
    try:
        return getattr(model, f"get_{side}_embeddings")()
    except (AttributeError, NotImplementedError):
        return None


def _owns(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _outermost(names: list[str]) -> list[str]:
    return [name for name in names if not any(name.startswith(other + ".") for other in names)]


def _is_list(module: nn.Module) -> bool:
    from torch import nn

    return isinstance(module, (nn.Sequential, nn.ModuleList))


def _is_stage(module: nn.Module) -> bool:
    """A list, or a bundle of blocks (Swin's, ConvNeXt's and ResNet's stages, ALBERT's layer groups).

    A stage and a block that holds a list of its own layers (T5, ResNet) look alike from outside; the libraries tell
    them apart by the class, which is called a Stage or a Group in every hierarchical model of transformers and timm.
    """
    return _is_list(module) or any(word in type(module).__name__ for word in ("Stage", "LayerGroup"))


def _is_bare_stage(module: nn.Module) -> bool:
    """A stage that holds its blocks under names of their own rather than in a list (timm's RegNet)."""
    return _is_stage(module) and not any(_is_list(child) for child in module.children())


def _is_block(module: nn.Module) -> bool:
    """Holds at least two layers with parameters and is no bundle of blocks itself, nor one layer wrapped by PEFT."""
    if hasattr(module, "base_layer") or hasattr(module, "modules_to_save"):
        return False
    layers = sum(1 for m in module.modules() if any(True for _ in m.parameters(recurse=False)))
    return layers >= 2 and not _is_stage(module)


def _blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The repeated layers in the order of registration, stages flattened."""
    return list(_walk(model, "", set(_outside(model, _base(model)))))


def _outside(model: nn.Module, base: nn.Module) -> list[str]:
    """The outermost modules of a model that lie outside its backbone; none where it has no backbone of its own."""
    if base is model:
        return []
    inside = {id(parameter) for parameter in base.parameters()}
    names = [
        name
        for name, module in model.named_modules()
        if name and _owns(module) and not any(id(p) in inside for p in module.parameters())
    ]
    return _outermost(names)


def _walk(module: nn.Module, prefix: str, heads: set[str]) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        full = f"{prefix}.{name}" if prefix else name
        if full in heads or not _owns(child):
            continue
        if (_is_list(module) or _is_bare_stage(module)) and _is_block(child):
            yield full, child
        elif _is_list(child) and not any(_is_block(kid) or _is_stage(kid) for kid in child.children()):
            continue  # a stem or a downsampling list of plain layers
        else:
            yield from _walk(child, full, heads)


def _poolers(model: nn.Module, base: nn.Module) -> list[str]:
    """Matrices of the backbone that are registered behind its last block, outside any list of blocks."""
    from torch import nn

    blocks = _blocks(model)
    if not blocks:
        return []
    last, seen, found = blocks[-1][0], False, []
    for name, module in model.named_modules():
        if name == last or name.startswith(last + "."):
            seen = True
        elif seen and isinstance(module, nn.Linear) and any(module is m for m in base.modules()):
            # The outermost module that holds this layer and neither holds nor follows from a block.
            parts = name.split(".")
            for cut in range(1, len(parts) + 1):
                outer = ".".join(parts[:cut])
                if not last.startswith(outer + ".") and outer != last:
                    found.append(outer)
                    break
        elif (
            name.rpartition(".")[2] == "pooler" and _owns(module) and any(module is m for m in base.modules())
        ):
            found.append(name)  # registered before the blocks (NomicBERT)
    return _outermost(list(dict.fromkeys(found)))


def _behind_blocks(model: nn.Module) -> list[str]:
    """The model's own children with a matrix that are registered behind the one that holds the last block."""
    from torch import nn

    blocks = _blocks(model)
    names = [name for name, _ in model.named_children()]
    last = names.index(blocks[-1][0].partition(".")[0]) if blocks else len(names)
    return [
        name
        for name, child in list(model.named_children())[last + 1 :]
        if any(isinstance(module, nn.Linear) for module in child.modules())
    ]


class _Depths:
    """Depth of a name: 0 embeddings, 1..L blocks, L+1 head. What lies between blocks joins its neighbour."""

    def __init__(self, model: nn.Module, blocks: list[str], heads: list[str]) -> None:
        self.blocks, self.heads = blocks, heads
        modules = [name for name, _ in model.named_modules()]
        self.position = {name: i for i, name in enumerate(modules)}
        self.tables = {name for name, m in model.named_modules() if type(m).__name__.endswith("Embedding")}
        self.tables |= _norms_of_tables(model)
        base = _base(model)
        self.base = next((name for name, module in model.named_modules() if module is base), "")

    def __call__(self, name: str) -> int:
        last = len(self.blocks)
        for i, block in enumerate(self.blocks):
            if name.startswith(block + "."):
                return i + 1
        if any(name == head or name.startswith(head + ".") for head in self.heads):
            return last + 1
        owner = name.rpartition(".")[0]
        if owner in self.tables or owner == "":
            return 0  # tables and free tokens are read before the blocks wherever they are registered
        if self.base and not f"{owner}.".startswith(f"{self.base}."):
            return last + 1  # a masked language model's bias, beside a matrix tied to the embeddings
        shared = [_shared(owner, block) for block in self.blocks]
        near = [i for i, n in enumerate(shared) if n == max(shared)]
        before = [i for i in near if self.position[self.blocks[i]] < self.position.get(owner, 0)]
        inside_stage = max(shared) > min(shared)
        if owner.rpartition(".")[2].startswith("final"):
            return near[-1] + 1  # OPT registers its final norm before the blocks
        if before:
            return before[-1] + 1
        return near[0] + 1 if inside_stage and near[0] > 0 else 0


def _norms_of_tables(model: nn.Module) -> set[str]:
    """Norms of embeddings that are registered behind the blocks: BART's `layernorm_embedding`, and the one that
    follows DeBERTa's table of relative positions.
    """
    found = set()
    for prefix, parent in model.named_modules():
        before = ""
        for name, child in parent.named_children():
            vectors = all(p.dim() == 1 for p in child.parameters()) and not any(
                True for _ in child.children()
            )
            if _owns(child) and vectors and ("embed" in name or before.endswith("Embedding")):
                found.add(f"{prefix}.{name}" if prefix else name)
            before = type(child).__name__ if _owns(child) else before
    return {name for name in found if not name.rpartition(".")[2].startswith("final")}


def _shared(a: str, b: str) -> int:
    """How many leading parts two dotted names share."""
    count = 0
    for x, y in zip(a.split("."), b.split("."), strict=False):
        if x != y:
            break
        count += 1
    return count
