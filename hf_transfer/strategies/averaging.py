"""Weights averaged along a phase: evaluated, chosen and saved in place of those that the optimizer moves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

AVERAGED = "averaged.safetensors"  # of a checkpoint, beside the weights that the optimizer goes on with
UPDATES = "updates"


def decay_at(decay: float, updates: int) -> float:
    """`min(decay, (1 + t) / (10 + t))`: after few steps a constant 0.9999 would leave the average at the start."""
    return min(decay, (1 + updates) / (10 + updates))


class AveragedWeights(TrainerCallback):
    """The exponential moving average of what learns in a phase, in fp32: bf16 would round each step to nothing.

    Buffers are not averaged: the running statistics of the last step go with the averaged weights. Every process
    computes the same from the same weights.

    Args:
        model: the plain model, whose parameters stay the same objects; what learns when training starts is averaged.
        decay: share of the average that each step keeps, reached step by step (`decay_at`).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.updates = model, decay, 0
        self.average: dict[str, torch.Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start from the weights as they are; a resumed phase has loaded its average by now."""
        if not self.average:
            self.average = {name: p.detach().float().clone() for name, p in self._learning().items()}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the average by one step."""
        share = 1 - decay_at(self.decay, self.updates)
        for name, parameter in self._learning().items():
            self.average[name].lerp_(parameter.detach().float(), share)
        self.updates += 1

    @contextlib.contextmanager
    def standing_in(self) -> Iterator[None]:
        """Within, the model has the averaged weights."""
        if not self.average:  # nothing was trained yet
            yield
            return
        moved = {name: p.detach().clone() for name, p in self._learning().items()}
        self.put()
        try:
            yield
        finally:
            _copy(self.model, moved)

    def put(self) -> None:
        """Give the model the averaged weights, for good."""
        _copy(self.model, self.average)

    def save(self, checkpoint: Path) -> None:
        """Write the average into a checkpoint."""
        from safetensors.torch import save_file

        average = {name: value.contiguous() for name, value in self.average.items()}
        save_file(average, str(checkpoint / AVERAGED), metadata={UPDATES: str(self.updates)})

    def load(self, checkpoint: str | Path) -> None:
        """Take up the average of a checkpoint.

        Raises:
            RuntimeError: it has none, or one of other weights.
        """
        from safetensors import safe_open

        path, learning = Path(checkpoint) / AVERAGED, self._learning()
        if not path.is_file():
            raise RuntimeError(f"{checkpoint} has no {AVERAGED}: it was not written by a run with --ema")
        with safe_open(str(path), "pt") as file:
            if set(file.keys()) != set(learning):
                raise RuntimeError(f"{path} averages other weights than those that learn now")
            self.average = {name: file.get_tensor(name).to(p.device) for name, p in learning.items()}
            self.updates = int(file.metadata()[UPDATES])

    def _learning(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def _copy(model: nn.Module, values: dict[str, torch.Tensor]) -> None:
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in values.items():
            parameters[name].copy_(value)
