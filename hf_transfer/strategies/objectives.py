"""Training losses other than the model's own: functions that take an objective and return one.

An objective is `(model, inputs) -> (loss, outputs)`; the loss is a mean over the rows of a micro-batch, which the Trainer
weighs by their number over the global batch. So every term here is a mean over rows, or does not depend on them, and
comes out the same however a batch is split. Outside of training every objective gives what the one inside it gives: the
evaluation loss stays the model's own, comparable between runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import nn

Objective = Callable[[Any, dict[str, Any]], tuple[torch.Tensor, Any]]
Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
NONE = 1e-12  # the least that is raised to a power: the slope of x ** gamma at 0 is infinite below gamma 1


def cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    gamma: float = 0.0,
    offsets: torch.Tensor | None = None,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """One label a row: the mean over rows of `-sum_c t_c w_c (1 - p_c)^gamma log p_c`, p the softmax of logits + offsets.

    Args:
        logits: (rows, labels).
        labels: ids (rows,), or shares of the labels (rows, labels), as mixup gives.
        weights: (labels,), 1 on average over the training rows; see `balance.class_weights`.
        gamma: of the focal loss (Lin et al. 2017); 0 is cross-entropy.
        offsets: (labels,) `tau log prior` of logit adjustment (Menon et al. 2021).
        smoothing: share of each target that is spread over all labels (Szegedy et al. 2016).
    """
    logits = logits.float()
    targets = labels.float() if labels.dim() == 2 else F.one_hot(labels, logits.shape[-1]).float()
    targets = targets * (1 - smoothing) + smoothing / logits.shape[-1]
    logs = F.log_softmax(logits if offsets is None else logits + offsets.to(logits), dim=-1)
    if weights is not None:
        targets = targets * weights.to(targets)
    return -(targets * _focused(logs, gamma)).sum(-1).mean()


def binary_cross_entropy(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    weights: tuple[torch.Tensor, torch.Tensor] | None = None,
    gamma: float = 0.0,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Several labels a row: the mean over rows and labels of the yes-or-no cross-entropy.

    Args:
        logits, labels: (rows, labels); labels from 0 to 1.
        weights: those of yes and of no, each (labels,); see `balance.label_weights`.
        gamma: as in `cross_entropy`, of p for yes and 1 - p for no.
        smoothing: 0 and 1 become `smoothing / 2` and `1 - smoothing / 2`.
    """
    logits, targets = logits.float(), labels.float() * (1 - smoothing) + smoothing / 2
    yes, no = targets, 1 - targets
    if weights is not None:
        yes, no = yes * weights[0].to(yes), no * weights[1].to(no)
    found = yes * _focused(F.logsigmoid(logits), gamma) + no * _focused(F.logsigmoid(-logits), gamma)
    return -found.mean()


def _focused(logs: torch.Tensor, gamma: float) -> torch.Tensor:
    """`(1 - p)^gamma log p` of `log p`."""
    return logs * (-torch.expm1(logs)).clamp(min=NONE) ** gamma if gamma else logs


def judged_by(criterion: Criterion, objective: Objective) -> Objective:
    """In training the loss of `criterion` on the model's scores in place of what `objective` says."""

    @wraps(objective)
    def run(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        if not model.training:
            return objective(model, inputs)
        # Without labels: the model would compute its own loss, and knows no shares of labels.
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        return criterion(scores(outputs), inputs["labels"]), outputs

    return run


def scores(outputs: Any) -> torch.Tensor:
    """The logits in what a classifier returns."""
    found: torch.Tensor = outputs["logits"] if isinstance(outputs, dict) else outputs[0]
    return found


def r_drop(objective: Objective, alpha: float, several: bool = False) -> Objective:
    """Add `alpha` times the symmetric divergence between two passes under different dropout (Liang et al. 2021).

    Both passes are one, of every row twice, as in the authors' code: `(L_1 + L_2) / 2 + alpha (KL(p|q) + KL(q|p)) / 2`.
    (Two forwards would also break frozen BatchNorm on several processes: the second rewrites what the first one needs.)

    Args:
        several: the labels are independent of each other: the divergence is the mean over labels of yes or no.
    """

    @wraps(objective)
    def run(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        if not model.training:
            return objective(model, inputs)
        loss, outputs = objective(model, twice(inputs))
        first, second = scores(outputs).float().chunk(2)
        return loss + alpha * divergence(first, second, several), outputs

    return run


def twice(inputs: dict[str, Any]) -> dict[str, Any]:
    """Every row of a batch two times, the second copies behind the first."""
    rows = len(inputs["labels"])
    return {
        name: torch.cat([value, value])
        if isinstance(value, torch.Tensor) and value.dim() and len(value) == rows
        else value
        for name, value in inputs.items()
    }


def divergence(first: torch.Tensor, second: torch.Tensor, several: bool = False) -> torch.Tensor:
    """Mean over rows of `(KL(p|q) + KL(q|p)) / 2` of two score matrices (rows, labels); `several`: see `r_drop`."""
    if several:
        first, second = (torch.stack([x, torch.zeros_like(x)], -1).flatten(0, 1) for x in (first, second))
    p, q = F.log_softmax(first, -1), F.log_softmax(second, -1)
    return 0.5 * ((p.exp() - q.exp()) * (p - q)).sum(-1).mean()


def l2_sp(
    objective: Objective, model: nn.Module, start: dict[str, torch.Tensor], alpha: float, beta: float
) -> Objective:
    """Add `alpha / 2 ||w - w0||^2` of pretrained weights and `beta / 2 ||w||^2` of new ones (Li et al. 2018).

    Args:
        model: the plain model, whose parameters stay the same objects; those that learn now are counted.
        start: w0 by name; kept where the weights are from the first step on.
    """

    @wraps(objective)
    def run(wrapped: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        loss, outputs = objective(wrapped, inputs)
        return (loss + distance(model, start, alpha, beta) if wrapped.training else loss), outputs

    return run


def distance(
    model: nn.Module, start: dict[str, torch.Tensor], alpha: float, beta: float
) -> torch.Tensor | float:
    """The penalty of `l2_sp`."""
    total: torch.Tensor | float = 0.0
    for name, weight in model.named_parameters():
        if weight.requires_grad and name in start:
            total = total + alpha / 2 * (weight - _beside(start, name, weight)).square().sum()
        elif weight.requires_grad:
            total = total + beta / 2 * weight.square().sum()
    return total


def _beside(start: dict[str, torch.Tensor], name: str, weight: torch.Tensor) -> torch.Tensor:
    if start[name].device != weight.device:
        start[name] = start[name].to(weight.device)
    return start[name]


def mixout(
    objective: Objective, model: nn.Module, start: dict[str, torch.Tensor], names: Collection[str], p: float
) -> Objective:
    """In training each entry of the matrices `names` is the pretrained one with probability `p` (Lee et al. 2020).

    The result is scaled so that its mean is the weight itself. Nothing is put into the model: the mixed matrices stand in
    for the parameters during the pass alone, so names, optimizer and what is saved stay as they are.
    """
    chosen = {id(weight): name for name, weight in model.named_parameters() if name in names}

    @wraps(objective)
    def run(wrapped: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        if not wrapped.training:
            return objective(wrapped, inputs)
        mixed = {
            full: mixed_out(weight, _beside(start, chosen[id(weight)], weight), p)
            for full, weight in wrapped.named_parameters()
            if id(weight) in chosen and weight.requires_grad
        }
        return objective(_Standing(wrapped, mixed), inputs)

    return run


def mixed_out(weight: torch.Tensor, start: torch.Tensor, p: float) -> torch.Tensor:
    """`(M w0 + (1 - M) w - p w0) / (1 - p)`, M of ones with probability `p`."""
    return start + F.dropout(weight - start, p)


@dataclass
class _Standing:
    """A model that is called with other tensors in place of some of its parameters."""

    model: Any
    weights: dict[str, torch.Tensor]
    training: bool = True

    def __call__(self, **inputs: Any) -> Any:
        return torch.func.functional_call(self.model, self.weights, kwargs=inputs)
