"""Features of two domains made alike while a head learns on one of them: DANN and CORAL."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import TrainerCallback

from hf_transfer.strategies.objectives import Criterion, Objective, scores
from hf_transfer.strategies.phases import HEAD_ONLY
from hf_transfer.strategies.shift import DANN

TARGET = "target"  # in a training batch: the model's inputs of the target rows, as many as training rows
ALIGNMENT = (
    "alignment.safetensors"  # of a checkpoint: the domain classifier, and what was seen since the last log
)
WATCHED = "watched"
WIDTH = 1024  # of the hidden layers, as in the paper


def reversed_gradients(
    features: Sequence[torch.Tensor], logits: Sequence[torch.Tensor], loss: torch.Tensor
) -> list[torch.Tensor]:
    """The gradient of the domain loss at the features, turned round, as if the slope of the domain logit had length one.

    Ganin et al. 2016 turn it round as it comes. Its length then depends on how the domain classifier is made and how fast it learns:
    at MiniLM's features it was so much longer than the task's that the model forgot the task (docs/regularizers.md). Each row
    keeps its direction and its error, so that a step is the same however its batch is split.

    Args:
        features: rows (n, D) of each domain, leaves; logits: (n, 1) of each, computed from them; loss: their `domain_loss`.
    """
    slopes = torch.autograd.grad([part.sum() for part in logits], features, retain_graph=True)
    errors = torch.autograd.grad(loss, logits, retain_graph=True)
    return [-error * F.normalize(slope, dim=1) for error, slope in zip(errors, slopes, strict=True)]


def ramp(progress: float) -> float:
    """`2 / (1 + exp(-10 p)) - 1` over the progress p, from 0 to nearly 1 (Ganin et al. 2016, for the reversed gradient)."""
    return float(2 / (1 + torch.exp(torch.tensor(-10.0 * progress, dtype=torch.float64))) - 1)


def coral(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """`||C_S - C_T||_F^2 / (4 d^2)` of the covariances of features (rows, d) (Deep CORAL, Sun and Saenko 2016).

    As in the paper: sums of squares, and no term for the means. Zero where a side has one row alone.
    """
    if min(len(source), len(target)) < 2:
        return 0.0 * (source.sum() + target.sum())
    difference = torch.cov(source.T.float()) - torch.cov(target.T.float())
    return difference.square().sum() / (4 * source.shape[1] ** 2)


def domain_classifier(width: int) -> nn.Sequential:
    """Features (rows, width) to one logit a row, two hidden layers between."""
    return nn.Sequential(
        *(nn.Linear(width, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))
    )


def domain_loss(source: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy and accuracy of domain logits (rows, 1); both domains weigh the same."""
    sides = ((source.flatten(), 1.0), (target.flatten(), -1.0))
    loss = sum(
        (F.softplus(-sign * logits).mean() for logits, sign in sides), start=torch.zeros(()).to(source)
    )
    right = sum(
        ((sign * logits > 0).float().mean() for logits, sign in sides), start=torch.zeros(()).to(source)
    )
    return loss / 2, right.detach() / 2


class Alignment(TrainerCallback):
    """The domain classifier of a phase, what it sees, and the term that it adds to the loss.

    It stands beside the model, in the optimizer and in checkpoints, and never in what is saved. With `coral` it only
    watches: no gradient goes from it to the features. Every phase draws it anew.

    Args:
        method, weight: see `Shift`.
        layer: the linear layer whose outputs are the scores; its inputs, as the model pools them, are the features.
        criterion: the model's own loss on scores and labels.
    """

    def __init__(self, method: str, weight: float, layer: nn.Linear, criterion: Criterion) -> None:
        self.method, self.weight, self.layer, self.criterion = method, weight, layer, criterion
        self.classifier = domain_classifier(layer.in_features)
        self.strength = 0.0
        self._watched = torch.zeros(3)  # since the last log: right answers, the term of CORAL, target rows

    def begin(self, seed: int, device: torch.device) -> None:
        """Draw the domain classifier; the global random state stays as it is."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.classifier = domain_classifier(self.layer.in_features).to(device)
        self.strength, self._watched = 0.0, torch.zeros(3, device=device)

    def optimizer_group(self, learning_rate: float) -> dict[str, Any]:
        """At a new head's rate, or the model's if that is higher; without decay."""
        rate = max(HEAD_ONLY, learning_rate)
        return {
            "params": list(self.parameters()),
            "lr": rate,
            "weight_decay": 0.0,
            "name": "domain classifier",
        }

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of the domain classifier."""
        return self.classifier.parameters()

    # The steps of a phase.

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """How strongly the gradient is reversed in this step."""
        self.strength = self.weight * ramp(state.global_step / max(1, state.max_steps))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Trainer clears the gradients of its model alone."""
        self.classifier.zero_grad()

    def average_gradients(self, processes: int) -> None:
        """The mean over the processes, as DDP takes it of the model's; called once the last micro-batch is done."""
        import torch.distributed as dist

        for parameter in self.parameters() if processes > 1 else ():
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= processes

    def around(self, objective: Objective) -> Objective:
        """`objective` on the training rows of a batch, with the term for both domains added in training.

        Both go through the model in one pass, so that BatchNorm sees both.
        """

        @wraps(objective)
        def run(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
            target = inputs.pop(TARGET, None)
            if target is None or not model.training:
                return objective(model, inputs)
            both = _Both(model, self.layer, target, self.criterion)
            loss, outputs = objective(both, inputs)
            return loss + self.term(both.source, both.target), outputs

        return run

    def term(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """What features (rows, D) of both domains add to the loss; what the domain classifier answers is counted."""
        parts = [part.float() for part in (source, target)]
        seen = [part.detach().requires_grad_(self.method == DANN) for part in parts]
        logits = [self.classifier(part) for part in seen]
        loss, accuracy = domain_loss(*logits)
        if self.method == DANN:
            turned = reversed_gradients(seen, logits, loss)
            moved = sum(
                ((part * gradient).sum() for part, gradient in zip(parts, turned, strict=True)),
                start=0.0 * loss,
            )
            apart = self.strength * self.head_slope() * (moved - moved.detach())  # of value zero
        else:
            apart = self.weight * coral(*parts)
            loss = loss - loss.detach()  # the domain classifier learns, and counts for nothing
        counted = torch.stack([accuracy, apart.detach(), torch.ones_like(accuracy)])
        self._watched += counted * len(target)
        return apart + loss

    def head_slope(self) -> torch.Tensor:
        """About how steep the task's own loss is at the features: the distance of two rows of the head's weights."""
        weight = self.layer.weight.detach().float()
        return math.sqrt(2) * weight.norm() / math.sqrt(len(weight))

    # What is told, and kept.

    def told(self, summed: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
        """`domain_accuracy` since the last log and, of `coral`, the weighted `coral_loss`.

        Args:
            summed: adds up over the processes.
        """
        right, apart, seen = summed(self._watched).tolist()
        self._watched.zero_()
        found = {"domain_accuracy": right / max(1, seen)}
        return found if self.method == DANN else found | {"coral_loss": apart / max(1, seen)}

    def save(self, checkpoint: Path, watched: torch.Tensor) -> None:
        """Write the domain classifier into a checkpoint, and what all processes have counted since the last log."""
        from safetensors.torch import save_file

        state = {name: value.contiguous() for name, value in self.classifier.state_dict().items()}
        save_file(state | {WATCHED: watched.cpu()}, str(checkpoint / ALIGNMENT))

    def load(self, checkpoint: str | Path, first: bool) -> None:
        """Take up the domain classifier of a checkpoint; the first process takes up what was counted.

        Raises:
            RuntimeError: it has none.
        """
        from safetensors.torch import load_file

        path = Path(checkpoint) / ALIGNMENT
        if not path.is_file():
            raise RuntimeError(f"{checkpoint} has no {ALIGNMENT}: it was not written by a run with --align")
        state = load_file(str(path))
        self._watched.copy_(state.pop(WATCHED) if first else torch.zeros(3))
        state.pop(WATCHED, None)
        self.classifier.load_state_dict(state)

    @property
    def watched(self) -> torch.Tensor:
        """Since the last log: right answers, the term of CORAL, of how many target rows; (3,)."""
        return self._watched


class _Both:
    """A model that takes target rows along: called with training rows, it gives scores and loss of these alone.

    After a call `source` and `target` are the features (rows, D) of both.
    """

    training = True

    def __init__(self, model: Any, layer: nn.Linear, beside: dict[str, Any], criterion: Criterion) -> None:
        self.model, self.layer, self.beside, self.criterion = model, layer, beside, criterion
        self.source = self.target = torch.empty(0)

    def __call__(self, **inputs: Any) -> dict[str, torch.Tensor]:
        labels = inputs.pop("labels", None)
        joined = {
            name: torch.cat([value, self.beside[name]]) if name in self.beside else value
            for name, value in inputs.items()
        }
        rows = len(next(value for name, value in inputs.items() if name in self.beside))
        handle = self.layer.register_forward_hook(_and_its_input)
        try:
            wide = scores(self.model(**joined))
        finally:
            handle.remove()
        logits, features = wide[:, : self.layer.out_features], wide[:, self.layer.out_features :]
        self.source, self.target = features[:rows], features[rows:]
        found = {"logits": logits[:rows]}
        return found if labels is None else {"loss": self.criterion(found["logits"], labels), **found}


def _and_its_input(layer: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    """Scores and features side by side: the model picks or pools both alike, whether before the layer or after it."""
    return torch.cat([output, args[0]], dim=-1)
