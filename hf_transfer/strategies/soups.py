"""One model out of several of the same run: greedy soups, and the way from where a run started to where it ended.

States are plain dicts of tensors by name. Integer tensors (BatchNorm counts its batches) are taken, never averaged;
running statistics are averaged like weights, which is why a mixture is only ever taken for what it scores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

State = dict[str, torch.Tensor]
Rank = tuple[
    float, float
]  # the metric, so that higher is better, and minus the loss, which decides between equal ones
CANDIDATES = "candidates"  # of a phase: weights at its best evaluations, gone when the phase is done
ALPHAS = tuple(i / 10 for i in range(11))


def state_of(model: nn.Module, names: Collection[str] | None = None) -> State:
    """Copies on the CPU of what learns now (or of the parameters `names`) and of all buffers."""
    kept = [(n, p) for n, p in model.named_parameters() if (p.requires_grad if names is None else n in names)]
    return {name: t.detach().to("cpu", copy=True).contiguous() for name, t in [*kept, *model.named_buffers()]}


def put(model: nn.Module, state: State) -> None:
    """Copy a state into the model's tensors of these names."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for name, value in state.items():
            tensors[name].copy_(value)


def mean(states: Sequence[State]) -> State:
    """The mean of states of the same names, computed in fp64; integers are the first's."""
    found = dict(states[0])
    for name, value in states[0].items():
        if value.is_floating_point() and len(states) > 1:
            found[name] = (sum(state[name].double() for state in states) / len(states)).to(value.dtype)  # type: ignore[union-attr]
    return found


def interpolated(start: State, end: State, alpha: float) -> State:
    """`(1 - alpha) start + alpha end` (WiSE-FT, Wortsman et al. 2022); what `start` lacks, and integers, are `end`'s."""
    found = dict(end)
    for name in start:
        if end[name].is_floating_point():
            mixed = (1 - alpha) * start[name].double() + alpha * end[name].double()
            found[name] = mixed.to(end[name].dtype)
    return found


def greedy_soup(
    candidates: Iterable[tuple[int, Rank, State]], rank: Callable[[State], Rank]
) -> tuple[State, list[dict[str, Any]]]:
    """The mean of the best candidate and of every further one that makes the mean better (Wortsman et al. 2022).

    Args:
        candidates: `(step, rank, state)`.
        rank: of a state on validation.

    Returns:
        The soup, and what was tried: `[{"step", "rank" (of the mean with it), "kept"}]`. It ranks no lower than the best
        candidate.
    """
    ranked = sorted(candidates, key=lambda c: (c[1], -c[0]), reverse=True)
    kept, best = [ranked[0][2]], rank(ranked[0][2])
    tried: list[dict[str, Any]] = [{"step": ranked[0][0], "rank": best, "kept": True}]
    for step, _, state in ranked[1:]:
        found = rank(mean([*kept, state]))
        tried.append({"step": step, "rank": found, "kept": found > best})
        if found > best:
            kept, best = [*kept, state], found
    return mean(kept), tried


def best_alpha(start: State, end: State, rank: Callable[[State], Rank]) -> tuple[float, dict[str, Rank]]:
    """Which `interpolated` of alpha 0, 0.1, .. 1 ranks highest, of equal ones the nearest to `end`; and all ranks."""
    ranks = {alpha: rank(interpolated(start, end, alpha)) for alpha in ALPHAS}
    best = max(ranks, key=lambda alpha: (ranks[alpha], alpha))
    return best, {f"{alpha:g}": found for alpha, found in ranks.items()}


class Candidates(TrainerCallback):
    """Keeps the weights of the best evaluations of a phase, for a soup.

    Args:
        folder: where; the first process writes.
        most: how many to keep.
        rank: what the metrics of an evaluation are worth.
    """

    def __init__(self, folder: Path, most: int, rank: Callable[[dict[str, float]], Rank]) -> None:
        self.folder, self.most, self.rank = folder, most, rank

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget those of steps that a resumed phase has yet to take."""
        if args.should_save:
            for step, path in _listed(self.folder):
                if step > state.global_step:
                    path.unlink()

    def on_evaluate(
        self, args: Any, state: Any, control: Any, model: Any = None, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Write the weights, and delete the poorest where there are too many."""
        if not args.should_save or not state.global_step:
            return
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{state.global_step}.safetensors"
        rank = {"rank": json.dumps(self.rank(metrics))}
        save_file(state_of(model), str(path.with_suffix(".partial")), metadata=rank)
        path.with_suffix(".partial").replace(path)
        ranked = sorted(_ranks(self.folder), key=lambda found: (found[1], -found[0]), reverse=True)
        for step, _ in ranked[self.most :]:
            (self.folder / f"step-{step}.safetensors").unlink()


def candidates(folder: Path) -> list[tuple[int, Rank, State]]:
    """`(step, rank, state)` of what `Candidates` has kept."""
    from safetensors.torch import load_file

    return [(step, rank, load_file(folder / f"step-{step}.safetensors")) for step, rank in _ranks(folder)]


def _ranks(folder: Path) -> list[tuple[int, Rank]]:
    from safetensors import safe_open

    found = []
    for step, path in _listed(folder):
        with safe_open(str(path), "pt") as file:
            metric, loss = json.loads(file.metadata()["rank"])
            found.append((step, (metric, loss)))
    return found


def _listed(folder: Path) -> list[tuple[int, Path]]:
    return sorted((int(path.stem.partition("-")[2]), path) for path in folder.glob("step-*.safetensors"))
