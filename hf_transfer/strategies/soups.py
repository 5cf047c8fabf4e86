"""One model out of several of the same run: greedy soups, and the way from where a run started to where it ended.

States are plain dicts of tensors by name. Integer tensors (BatchNorm counts its batches) are taken, never averaged;
running statistics are averaged like weights, which is why a mixture is only ever taken for what it scores.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

State = dict[str, torch.Tensor]
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
    candidates: Iterable[tuple[int, float, State]], score: Callable[[State], float], sign: float = 1.0
) -> tuple[State, list[dict[str, Any]]]:
    """The mean of the best candidate and of every further one that makes the mean better (Wortsman et al. 2022).

    Args:
        candidates: `(step, score, state)`.
        score: of a state on validation.
        sign: 1 where a higher score is better, -1 where a lower one is.

    Returns:
        The soup, and what was tried: `[{"step", "score" (of the mean with it), "kept"}]`. Its score is no worse than the
        best candidate's.
    """
    ranked = sorted(candidates, key=lambda c: (-sign * c[1], c[0]))
    kept, best = [ranked[0][2]], score(ranked[0][2])
    tried: list[dict[str, Any]] = [{"step": ranked[0][0], "score": best, "kept": True}]
    for step, _, state in ranked[1:]:
        found = score(mean([*kept, state]))
        better = sign * (found - best) > 0
        tried.append({"step": step, "score": found, "kept": better})
        if better:
            kept, best = [*kept, state], found
    return mean(kept), tried


def alpha_scores(start: State, end: State, score: Callable[[State], float]) -> dict[str, float]:
    """The score of `interpolated` for each alpha of 0, 0.1, .. 1."""
    return {f"{alpha:g}": score(interpolated(start, end, alpha)) for alpha in ALPHAS}


def chosen_alpha(scores: dict[str, float], sign: float = 1.0) -> float:
    """The alpha of the best score; of equal ones the largest, which is nearest to what was trained."""
    return max((sign * score, float(alpha)) for alpha, score in scores.items())[1]


class Candidates(TrainerCallback):
    """Keeps the weights of the best evaluations of a phase, for a soup.

    Args:
        folder: where; the first process writes.
        most: how many to keep.
        metric, sign: what they are ranked by, and 1 where higher is better or -1.
    """

    def __init__(self, folder: Path, most: int, metric: str, sign: float) -> None:
        self.folder, self.most, self.metric, self.sign = folder, most, metric, sign

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
        if not args.should_save or not state.global_step or self.metric not in (metrics or {}):
            return
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{state.global_step}.safetensors"
        score = {"score": repr(float(metrics[self.metric]))}
        save_file(state_of(model), str(path.with_suffix(".partial")), metadata=score)
        path.with_suffix(".partial").replace(path)
        ranked = sorted(_scores(self.folder), key=lambda found: (-self.sign * found[1], found[0]))
        for step, _ in ranked[self.most :]:
            (self.folder / f"step-{step}.safetensors").unlink()


def candidates(folder: Path) -> list[tuple[int, float, State]]:
    """`(step, score, state)` of what `Candidates` has kept."""
    from safetensors.torch import load_file

    return [(step, score, load_file(folder / f"step-{step}.safetensors")) for step, score in _scores(folder)]


def _scores(folder: Path) -> list[tuple[int, float]]:
    from safetensors import safe_open

    found = []
    for step, path in _listed(folder):
        with safe_open(str(path), "pt") as file:
            found.append((step, float(file.metadata()["score"])))
    return found


def _listed(folder: Path) -> list[tuple[int, Path]]:
    return sorted((int(path.stem.partition("-")[2]), path) for path in folder.glob("step-*.safetensors"))
