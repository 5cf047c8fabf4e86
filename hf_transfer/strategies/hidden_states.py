"""What each layer group hands on, as one vector a row: hidden states read with hooks from any model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hf_transfer.anatomy import EMBEDDINGS, HEAD, LayerGroup

if TYPE_CHECKING:
    import torch
    from torch import nn


@contextmanager
def hidden_states(model: nn.Module, groups: Sequence[LayerGroup]) -> Iterator[dict[str, torch.Tensor]]:
    """Within it, every run of the model leaves here what each group but the head has given, by group name.

    A group's output is that of the last module to finish among those that hold its parameters and no others': the block,
    or the final norm behind it. The embeddings' is what the first block is given, as some models add up several tables
    outside of any module. Empty it between runs.
    """
    found: dict[str, torch.Tensor] = {}
    names = [group.name for group in groups]
    behind = names[1] if names[0] == EMBEDDINGS and len(names) > 1 else None
    handles: list[Any] = []
    for module, group in _own_modules(model, groups):
        if group not in (HEAD, EMBEDDINGS):
            handles.append(module.register_forward_hook(_output_to(found, group)))
        if group == behind:
            handles.append(module.register_forward_pre_hook(_input_to(found), with_kwargs=True))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def mean_state(hidden: torch.Tensor, rows: int, mask: torch.Tensor | None) -> torch.Tensor:
    """Hidden states as one vector a row (rows, D): the mean over all positions that are no padding.

    Args:
        hidden: (rows, D), (rows, length, D) or, in XLNet, (length, rows, D), (rows, D, ...) of convolutions, or
            (rows, height, width, D). Where the shape leaves it open, channels come first.
        mask: the tokenizer's (rows, length), 1 for tokens. Where the sequence is longer, prompts were put before it, and
            they are left out; where it is shorter (pooled on the way) it says nothing, and all positions count.

    Returns:
        (rows, 0) for states that are not one a row.
    """
    import torch

    if hidden.dim() == 3 and hidden.shape[0] != rows == hidden.shape[1]:
        hidden = hidden.transpose(0, 1)
    if hidden.dim() < 2 or hidden.shape[0] != rows:
        return hidden.new_zeros(rows, 0)
    if hidden.dim() == 2:
        return hidden
    if hidden.dim() > 3:
        last = hidden.dim() == 4 and hidden.shape[1] == hidden.shape[2] != hidden.shape[3]
        return hidden.flatten(1, 2).mean(1) if last else hidden.flatten(2).mean(2)
    if mask is None or mask.dim() != 2 or hidden.shape[1] < mask.shape[1]:
        return hidden.mean(1)
    weights = mask.to(hidden.dtype).unsqueeze(2)
    tokens = torch.where(weights > 0, hidden[:, -mask.shape[1] :], 0.0)
    return tokens.sum(1) / weights.sum(1).clamp(min=1)


def _own_modules(model: nn.Module, groups: Sequence[LayerGroup]) -> Iterator[tuple[nn.Module, str]]:
    """Modules whose parameters all belong to one group, with its name."""
    owner = {name: group.name for group in groups for name in group.parameters}
    holds: dict[str, set[str]] = {}
    for name, group in owner.items():
        while "." in name:
            name = name.rpartition(".")[0]
            holds.setdefault(name, set()).add(group)
    for name, module in model.named_modules():
        if len(holds.get(name, ())) == 1:
            yield module, next(iter(holds[name]))


def _output_to(found: dict[str, Any], group: str) -> Callable[..., None]:
    def note(module: nn.Module, args: Any, output: Any) -> None:
        if (tensor := _first([output])) is not None:
            found[group] = tensor

    return note


def _input_to(found: dict[str, Any]) -> Callable[..., None]:
    def note(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if (
            EMBEDDINGS not in found
            and (tensor := _first([*args, kwargs.get("hidden_states"), *kwargs.values()])) is not None
        ):
            found[EMBEDDINGS] = tensor

    return note


def _first(values: Sequence[Any]) -> torch.Tensor | None:
    """The first tensor of numbers that could be hidden states; outputs may be tuples or records."""
    import torch

    for value in values:
        if isinstance(value, torch.Tensor):
            if value.dim() > 1 and value.is_floating_point():
                return value
        elif isinstance(value, (tuple, list)) or hasattr(value, "to_tuple"):
            inner = value if isinstance(value, (tuple, list)) else value.to_tuple()
            if (tensor := _first(inner)) is not None:
                return tensor
    return None
