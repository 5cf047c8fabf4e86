"""The groups themselves: every parameter and buffer in one of them, by its depth or by patterns given by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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


def layer_groups(model: nn.Module, patterns: Mapping[str, str] | None = None) -> list[LayerGroup]:
    """The model as `[embeddings, block.1, ..., block.n, head]`, in forward order.

    Every parameter and buffer is in exactly one group; a tied tensor counts once, under its first name. A layer that
    is applied again and again (ALBERT) is one block. Groups are never empty, save that a model without a head of its
    own (a bare encoder, a tied language model) has no `head`.

    Args:
        patterns: the groups named by hand, for a model that cannot be understood: `{group: regex}` in forward order.
            A regex must match from the start of a name; every parameter must match exactly one of them.

    Raises:
        Problems: no repeated blocks were found, so the order of the layers is not known; or the patterns do not fit.
    """
    if patterns is not None:
        return named_groups(model, patterns)
    from hf_transfer.anatomy.depth import depths

    inner, prefix = unwrapped(model)
    count, depth = depths(inner)
    if not count:
        raise Problems(_not_understood(inner))
    names = [EMBEDDINGS, *(f"block.{i + 1}" for i in range(count)), HEAD]
    return _collected(model, names, lambda name: names[depth(name.removeprefix(prefix))])


def named_groups(model: nn.Module, patterns: Mapping[str, str]) -> list[LayerGroup]:
    """Groups named by hand; a buffer that no pattern matches goes with the parameters of its module, else to the first.

    Raises:
        Problems: a pattern that is no regex or matches nothing, a parameter that matches none or several.
    """
    compiled, wrong = {}, []
    for group, pattern in patterns.items():
        try:
            compiled[group] = re.compile(pattern)
        except re.error as error:
            wrong.append(Problem(f"pattern of {group}", f"{pattern!r} is no regular expression: {error}"))
    if wrong or not compiled:
        raise Problems(*wrong or [Problem("patterns", "none is given", "name at least one group")])
    parameters = [name for name, _ in model.named_parameters()]
    matches = {name: [g for g, p in compiled.items() if p.match(name)] for name in parameters}
    used = {group for found in matches.values() for group in found}
    wrong += [
        Problem(
            f"pattern of {group}", f"{patterns[group]!r} matches no parameter", "patterns match full names"
        )
        for group in compiled
        if group not in used
    ]
    for found, what in ((0, "matches no pattern"), (2, "matches more than one pattern")):
        names = [name for name, groups in matches.items() if min(len(groups), 2) == found]
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            mend = "every parameter belongs to exactly one group; close a number with a dot, as in 'layer\\.1\\.'"
            wrong.append(Problem(f"parameter {names[0]}{more}", what, mend))
    if wrong:
        raise Problems(*wrong)
    owner = {name.rpartition(".")[0]: groups[0] for name, groups in matches.items()}
    first = next(iter(compiled))

    def group_of(name: str) -> str:
        stated = [group for group, pattern in compiled.items() if pattern.match(name)]
        return matches.get(name, stated or [owner.get(name.rpartition(".")[0], first)])[0]

    return _collected(model, list(compiled), group_of)


def head_modules(model: nn.Module) -> list[str]:
    """Full names of the modules applied after the backbone to make the scores, outermost first, poolers included."""
    from hf_transfer.anatomy.depth import heads

    return heads(unwrapped(model)[0])


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

    Leaves rather than the composite module: some PEFT methods cannot merge a composite one. Of layers inside another
    layer (SigLIP's attention pooling) the outer alone: PEFT cannot save the same tensor twice.
    """
    inner, _ = unwrapped(model)
    roots, found = head_modules(inner), list[str]()
    for name, module in inner.named_modules():
        inside = any(name == root or name.startswith(root + ".") for root in roots)
        held = any(name.startswith(other + ".") for other in found)
        if inside and not held and any(True for _ in module.parameters(recurse=False)):
            found.append(name)
    return found


def is_copy(name: str) -> bool:
    """Whether peft keeps this parameter only to go back to: what stood in place of one of its `modules_to_save`."""
    return ".original_module." in name


def max_positions(model: nn.Module) -> int | None:
    """Longest input that the model's tables of absolute positions take; None where there are none.

    Read from the tables: the number in a config counts RoBERTa's two reserved rows.
    """
    from torch import nn

    inner = unwrapped(model)[0]
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


def unwrapped(model: nn.Module) -> tuple[Any, str]:
    """The transformers model inside a PEFT wrapper, and the prefix its names have outside."""
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        wrapped: Any = model
        inner = wrapped.get_base_model()
        for name, module in model.named_modules():
            if module is inner:
                return inner, f"{name}." if name else ""
    return model, ""


def _collected(model: nn.Module, names: list[str], group_of: Callable[[str], str]) -> list[LayerGroup]:
    parameters: dict[str, list[str]] = {name: [] for name in names}
    buffers: dict[str, list[str]] = {name: [] for name in names}
    for name, _ in model.named_parameters():
        parameters[group_of(name)].append(name)
    for name, _ in model.named_buffers():
        buffers[group_of(name)].append(name)
    return [
        LayerGroup(name, tuple(parameters[name]), tuple(buffers[name]))
        for name in names
        if parameters[name] or buffers[name]
    ]


def _not_understood(model: nn.Module) -> Problem:
    seen = ", ".join(f"{name} ({type(child).__name__})" for name, child in model.named_children())
    return Problem(
        "model",
        f"{type(model).__name__} has no repeated blocks (a list of layers), so the order of its layers is unknown; "
        f"it is made of {seen or 'free parameters'}",
        "choose a model that is built of blocks, as nearly all are, or name the groups by hand: layer_groups(model, "
        "patterns={'embeddings': r'first\\.', 'block.1': r'second\\.', 'head': r'last\\.'})",
    )
