"""What was given for steps of training that this run's phases do not make, or that they do otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_transfer.anatomy import HEAD
from hf_transfer.voting import votes

if TYPE_CHECKING:
    from hf_transfer.training.setup import Setup

OF_STEPS = (
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "weight_decay",
    "warmup_steps",
    "lr_scheduler_type",
    "optim",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "max_grad_norm",
    "label_smoothing_factor",
)
OF_PHASES = ("layer_decay", "head_learning_rate")


def without_effect(setup: Setup) -> list[str]:
    """A sentence for each reason, with what was given in vain."""
    if not setup.args.do_train:
        return []
    trained = [phase for phase in setup.phases if not phase.solve]
    given = {name: getattr(setup.args, name) for name in OF_STEPS if name in setup.asked}
    given |= {name: value for name in OF_PHASES if (value := getattr(setup.phases[-1], name)) is not None}
    if setup.early_stopping_patience:
        given["early_stopping_patience"] = setup.early_stopping_patience
    if not trained:
        why = "neighbours vote and nothing is trained" if votes(setup) else "the head is solved, not trained"
        return _told(given, given, why)
    notes = []
    own = [phase.epochs is not None for phase in trained]
    # Else steps are the length of the whole run.
    by_epochs = setup.args.max_steps <= 0 and "num_train_epochs" in given
    if by_epochs and all(own):
        notes += _told(given, ("num_train_epochs",), "every phase has its own epochs")
    elif by_epochs and any(own):
        notes.append(
            f"--num_train_epochs {given['num_train_epochs']:g} are those of the phases without epochs of their own."
        )
    if all(phase.learning_rate is not None for phase in trained):
        notes += _told(given, ("learning_rate",), "every phase has its own")
    if not any(HEAD in phase.learns for phase in trained):
        notes += _told(given, ("head_learning_rate",), "the head is not trained step by step")
    if setup.args.eval_strategy == "no":
        notes += _told(
            given, ("early_stopping_patience",), "nothing is evaluated while training (--eval_strategy no)"
        )
    elif all(phase.pairs for phase in trained):
        notes += _told(given, ("early_stopping_patience",), "nothing is evaluated while pairs teach")
    return notes


def _told(given: dict[str, Any], names: Any, why: str) -> list[str]:
    said = [f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {getattr(value, 'value', value)}"
            for name, value in given.items() if name in names]  # fmt: skip
    return [f"{', '.join(said)} {'has' if len(said) == 1 else 'have'} no effect: {why}."] if said else []
