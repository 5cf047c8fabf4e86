"""Re-initialised upper blocks: what is most specialised in the pretrained task is learned anew (Zhang et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from hf_transfer.anatomy import LayerGroup, unwrapped
from hf_transfer.problems import Problem, Problems

MARK = (
    "_is_hf_initialized"  # transformers' mark on loaded tensors, which its own init functions then pass over
)


def reinitialise(model: nn.Module, groups: Sequence[LayerGroup], count: int) -> list[str]:
    """Draw the last `count` blocks anew, as the model itself does where a checkpoint lacks them.

    A final norm belongs to the last block. Layers that the model's `_init_weights` does not reach (timm's convolutions and
    norms of their own) are drawn by their own `reset_parameters`. Running statistics start again.

    Returns:
        Names of the parameters that are no longer the pretrained ones.

    Raises:
        Problems: the model has not so many blocks, or a matrix in them cannot be drawn anew.
    """
    blocks = [group for group in groups if group.name.startswith("block.")]
    if not 0 < count <= len(blocks):
        what = f"{count} does not fit: this model has {len(blocks)} blocks"
        raise Problems(Problem("--reinit_layers", what, f"give 1 to {len(blocks)}"))
    names = {name for group in blocks[-count:] for name in group.parameters}
    inner: Any = unwrapped(model)[0]
    tensors = dict(model.named_parameters())
    before = {name: tensors[name].detach().clone() for name in names}
    for name, module in model.named_modules():
        own = [key for key, _ in module.named_parameters(prefix=name, recurse=False)]
        if own and names.issuperset(own):
            _draw(inner, module)
    # (Tables that begin at 0 and were still there are no matter.)
    left = [
        n for n in names if tensors[n].dim() > 1 and torch.equal(before[n], tensors[n]) and before[n].any()
    ]
    if left:
        what = f"{type(inner).__name__} does not say how {min(left)} is initialised"
        raise Problems(Problem("--reinit_layers", what, "leave the flag out"))
    return [name for name in tensors if name in names]


def _draw(model: Any, module: nn.Module) -> None:
    """One module that holds parameters of its own."""
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    marked = [tensor for tensor in own if getattr(tensor, MARK, False)]
    for tensor in marked:
        setattr(tensor, MARK, False)
    matrices = [p for p in module.parameters(recurse=False) if p.dim() > 1]
    before = [p.detach().clone() for p in matrices]
    reset: Any = getattr(module, "reset_parameters", None)
    with torch.no_grad():
        model._init_weights(module)
        if callable(reset) and any(map(torch.equal, before, matrices)):
            reset()
        if isinstance(module, _NormBase):
            module.reset_running_stats()
    for tensor in marked:
        setattr(tensor, MARK, True)
