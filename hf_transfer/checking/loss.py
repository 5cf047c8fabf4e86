"""Whether accumulation steps and processes multiply the loss (transformers' Trainer, for heads that ignore `num_items_in_batch`)."""

from __future__ import annotations

import copy
from typing import Any

import torch

from hf_transfer.checking.subject import Subject
from hf_transfer.problems import Problem
from hf_transfer.tasks.task import IGNORED, countable

ROWS = 8


def multiplied_loss(subject: Subject) -> list[Problem]:
    """A loss that ignores `num_items_in_batch` where the Trainer takes it for scaled and leaves out its own division.

    The Trainer believes every model whose forward takes `**kwargs`. Asked of the loss itself: of the same rows, with
    twice the number of items it must be half as large.
    """
    trainer = subject.trainer
    if trainer is None or (factor := _factor(trainer)) <= 1 or not _believed(trainer):
        return []
    try:
        losses = _losses(subject)
    except Exception as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        what = f"a batch of the training set did not go through compute_loss: {said}"
        return [Problem(type(subject.model).__name__, what, "training would stop there, too")]
    if losses is None or not losses[0] or abs(losses[0] - losses[1]) > 1e-3 * abs(losses[0]):
        return []
    whose = _whose(trainer, subject.model)
    what = f"{whose} ignores num_items_in_batch: loss and gradients are {factor} times too large ({_why(trainer)})"
    mend = (
        "set model.accepts_loss_kwargs = False before the Trainer is made, or give it a compute_loss_func that divides "
        "the summed loss by num_items_in_batch"
        if whose != _OWN.format(type(trainer).__name__)
        else f"divide the summed loss by num_items_in_batch, or set loss_is_scaled_for_ga = False in {type(trainer).__name__}"
    )
    return [Problem("loss", what, mend)]


_OWN = "{}.compute_loss"


def _factor(trainer: Any) -> int:
    """Accumulation steps times processes, as far as the Trainer multiplies by these."""
    args = trainer.args
    steps = int(args.gradient_accumulation_steps)
    if not args.average_tokens_across_devices or _overridden(trainer):
        return steps
    return steps * max(int(trainer.accelerator.num_processes), int(args.n_gpu))


def _why(trainer: Any) -> str:
    steps = int(trainer.args.gradient_accumulation_steps)
    processes = _factor(trainer) // steps
    return f"{steps} accumulation steps" + (f" x {processes} processes" if processes > 1 else "")


def _believed(trainer: Any) -> bool:
    """Whether the Trainer counts items and then does not divide; a subclass that says so itself is trusted."""
    counts = getattr(trainer, "model_accepts_loss_kwargs", False) or trainer.compute_loss_func is not None
    return bool(counts) and getattr(trainer, "loss_is_scaled_for_ga", None) is None


def _overridden(trainer: Any) -> bool:
    from transformers import Trainer

    return type(trainer).compute_loss is not Trainer.compute_loss


def _whose(trainer: Any, model: Any) -> str:
    if _overridden(trainer):
        return _OWN.format(type(trainer).__name__)
    return "compute_loss_func" if trainer.compute_loss_func is not None else type(_inner(model)).__name__


def _inner(model: Any) -> Any:
    from hf_transfer.anatomy import unwrapped

    return unwrapped(model)[0]


def _losses(subject: Subject) -> tuple[float, float] | None:
    """The loss of the same rows, told that there are N items and 2 N; None where the rows cannot be drawn or counted."""
    trainer = subject.trainer
    batch = _batch(trainer)
    if batch is None or not isinstance(batch.get("labels"), torch.Tensor):
        return None
    batch = trainer._prepare_inputs(batch)
    items = countable(batch["labels"]).ne(IGNORED).sum()
    for module in subject.model.modules():
        module.training = False
    found = []
    with torch.no_grad():
        for count in (items, 2 * items):
            loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=count)
            found.append(float(loss.float().mean()))
    return found[0], found[1]


def _batch(trainer: Any) -> dict[str, Any] | None:
    """A few rows as the Trainer's collator makes them. A stream of rows is left alone: reading moves it on."""
    from datasets import Dataset

    rows = trainer.train_dataset
    if rows is None or not hasattr(rows, "__getitem__") or not len(rows):
        return None
    if isinstance(rows, Dataset):
        rows = trainer._remove_unused_columns(rows)
        collate = trainer.data_collator
    else:
        collate = trainer._get_collator_with_removed_columns(trainer.data_collator)
    batch = copy.deepcopy(collate)([rows[i] for i in range(min(ROWS, len(rows)))])
    return dict(batch)
