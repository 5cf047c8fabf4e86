"""The watch over losses and gradients: a value that is no number stops the run, with its step and rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from hf_transfer.problems import Diverged

MANY = (
    100  # steps after which losses are looked at though nothing is logged: one wait for the device in so many
)
TRY = (
    "What to try: a lower --learning_rate, a longer --warmup_steps, a smaller --max_grad_norm, fp32 in place of fp16 or "
    "bf16; and look at these rows for inputs or labels that are empty or extreme."
)


class LossWatch:
    """Losses and gradient norms on the device, looked at together when something is logged, measured or saved.

    So no step waits for the device, and yet the first bad step is known, and no checkpoint is saved after it.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[int, torch.Tensor, Any]] = []
        self._norms: list[tuple[int, Any]] = []

    @property
    def long(self) -> bool:
        """Whether nothing was looked at for many steps."""
        return len(self._norms) >= MANY

    def add(self, step: int, loss: torch.Tensor, rows: torch.Tensor | None) -> None:
        """Keep a micro-batch's loss and the numbers of its rows."""
        self._losses.append((step, loss.detach(), rows))

    def norm(self, value: Any) -> None:
        """Keep the gradient's norm of the step that was last added."""
        if value is not None and self._losses:
            self._norms.append((self._losses[-1][0], value))

    def check(self, where: str) -> None:
        """Look at all that was kept, on every process at the same time, and forget it.

        Raises:
            Diverged: the first step at which a loss or a norm is no finite number, on all processes.
        """
        losses, norms, self._losses, self._norms = self._losses, self._norms, [], []
        bad = [losses[i][0] for i in _not_finite([loss for _, loss, _ in losses])]
        steep = [norms[i][0] for i in _not_finite([value for _, value in norms])]
        step = _first(min([*bad, *steep], default=0), losses)
        if not step:
            return
        here = [(float(loss), rows) for at, loss, rows in losses if at == step]
        rows = [row for loss, part in here if not np.isfinite(loss) or step not in bad for row in _list(part)]
        found = _everywhere(rows, [loss for loss, _ in here], step in bad)
        raise Diverged(_said(step, where, *found) + "\n" + TRY)


def _not_finite(values: list[Any]) -> list[int]:
    """Places of what is no finite number; one wait for the device."""
    if not values:
        return []
    plain = [v.full_tensor() if hasattr(v, "full_tensor") else torch.as_tensor(v) for v in values]
    device = plain[0].device
    stacked = torch.stack([v.detach().float().reshape(()).to(device) for v in plain])
    return torch.isfinite(stacked).logical_not().nonzero().flatten().tolist()


def _first(step: int, losses: list[tuple[int, torch.Tensor, Any]]) -> int:
    """The first bad step of any process, 0 if there is none."""
    if not dist.is_initialized() or not losses:
        return step
    none = torch.iinfo(torch.int64).max
    first = torch.tensor(step or none, device=losses[0][1].device)
    dist.all_reduce(first, op=dist.ReduceOp.MIN)
    return int(first) if int(first) != none else 0


def _everywhere(rows: list[int], losses: list[float], bad: bool) -> tuple[list[int], list[float], bool]:
    """The same of all processes: the rows of those whose loss is bad, or of all."""
    if not dist.is_initialized():
        return rows, losses, bad
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, (rows, losses, bad))
    chosen = [part for part in parts if part[2]] or parts
    return (
        [row for part in chosen for row in part[0]],
        [loss for part in chosen for loss in part[1]],
        chosen[0][2],
    )


def _said(step: int, where: str, rows: list[int], losses: list[float], bad: bool) -> str:
    what = "The loss" if bad else "The gradient"
    value = next((loss for loss in losses if not np.isfinite(loss)), None)
    number = f" ({value})" if value is not None else ""
    listed = ", ".join(map(str, rows[:64])) + (", ..." if len(rows) > 64 else "")
    named = f" Rows of the training split in that batch: {listed}." if rows else ""
    return f"{what} is not a finite number{number} at step {step} ({where}).{named}"


def _list(rows: Any) -> list[int]:
    return [] if rows is None else [int(row) for row in rows.tolist()]


def finite(compute: Callable[[Any], dict[str, float]]) -> Callable[[Any], dict[str, float]]:
    """`compute_metrics` that stops where the scores are no numbers: metrics would fail on them, or be wrong."""

    def checked(found: Any) -> dict[str, float]:
        check_scores(found.predictions, "validation")
        return compute(found)

    return checked


def check_scores(scores: Any, split: str) -> None:
    """Stop where the model's scores are no finite numbers.

    Raises:
        Diverged: with how many rows.
    """
    finite_ones = np.isfinite(np.asarray(scores, dtype=np.float64)).reshape(len(scores), -1)
    wrong = np.flatnonzero(~finite_ones.all(axis=1))
    if len(wrong):
        said = f"The model's scores are no finite numbers in {len(wrong)} of {len(scores)} {split} rows"
        raise Diverged(f"{said}: its weights have diverged.\n{TRY}")
