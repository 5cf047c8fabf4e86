"""What goes wrong silently in a model and its training, looked for before it starts: `check_training`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_transfer.checking.freezing import (
    attributes_on_modules,
    drifting_statistics,
    frozen_heads,
    noisy_features,
    nothing_learns,
    stale_gradients,
)
from hf_transfer.checking.loss import multiplied_loss
from hf_transfer.checking.modes import as_in_training, unchanged
from hf_transfer.checking.optimizer import (
    decayed_vectors,
    foreign_parameters,
    frozen_but_held,
    half_precision,
    in_no_optimizer,
)
from hf_transfer.checking.rates import one_rate, scales_without_effect, schedulers_astray
from hf_transfer.checking.subject import Subject, subject_of
from hf_transfer.problems import Problem

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

# What is read off as it is, and what depends on the modes that the model trains in.
READ = (
    attributes_on_modules,
    nothing_learns,
    in_no_optimizer,
    foreign_parameters,
    stale_gradients,
    frozen_but_held,
    decayed_vectors,
    scales_without_effect,
    one_rate,
    schedulers_astray,
    half_precision,
    frozen_heads,
)
IN_TRAINING = (drifting_statistics, noisy_features)


def check_training(
    trainer_or_model: Any | nn.Module,
    optimizer: Optimizer | Sequence[Optimizer] | None = None,
    scheduler: Any = None,
) -> list[Problem]:
    """Mistakes that no error shows: what is meant to learn and does not, what is frozen and moves, rates, loss.

    Nothing is trained and nothing changes: weights, gradients, modes and random states are as before. Where gradients
    are accumulated, a few rows of the Trainer's training set go through its `compute_loss` twice, in eval mode. `docs/check.md`
    has the list of what is looked for.

    Args:
        trainer_or_model: transformers' `Trainer` (or one derived from it), with its optimizer where it has one, else
            with that which it would make; or any torch model.
        optimizer: for a model, the optimizer or optimizers that train it. Without one only the model is looked at.
        scheduler: for a model, the scheduler or schedulers of these.

    Returns:
        One `Problem` for each kind of mistake: the full names of what it is about, what was found, how to mend it.

    Raises:
        Problems: there is nothing to check, or the Trainer cannot make its optimizer.
    """
    subject = subject_of(trainer_or_model, optimizer, scheduler)
    with unchanged(subject):
        found = _all(subject)
    return found


def _all(subject: Subject) -> list[Problem]:
    found = [problem for look in READ for problem in look(subject)]
    with as_in_training(subject):
        found += [problem for look in IN_TRAINING for problem in look(subject)]
    return [*found, *multiplied_loss(subject)]
