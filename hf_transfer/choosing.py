"""`--strategy auto`: look at the data, the model and the machine, then take a strategy and say why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.evaluation.baselines import baseline
from hf_transfer.evaluation.classification import compute, headline
from hf_transfer.pooling import untouched_head
from hf_transfer.problems import Problems
from hf_transfer.solving import readout_of
from hf_transfer.strategies.choice import Facts, choose
from hf_transfer.strategies.selection import ENOUGH
from hf_transfer.tasks.classification import label_array

if TYPE_CHECKING:
    from hf_transfer.data import Data
    from hf_transfer.training.setup import Setup


def chosen_strategy(setup: Setup, data: Data, by_row: bool = False) -> tuple[str, str]:
    """The strategy that suits, and a sentence for the plan.

    A head is solved on the features of the untouched checkpoint and measured on held-out rows; nothing is changed.

    Args:
        by_row: as in `Facts`.
    """
    known = _known(setup, data)
    facts = Facts(
        rows=_rows(data),
        parameters=sum(parameter.numel() for parameter in setup.model.parameters()),
        blocks=sum(group.name.startswith("block.") for group in setup.groups),
        known=known,
        accelerator=setup.args.device.type != "cpu",
        is_peft=setup.is_peft,
        pairs=data.problem_type == "single_label_classification" and setup.readout is not None,
        by_row=by_row,
    )
    if facts.known is not None and len(setup.prepared.splits.get("validation", ())) >= ENOUGH:
        setup.chosen.append("strategy")
    name, reason = choose(facts)
    return name, f"--strategy auto takes {name}. {reason}"


def _rows(data: Data) -> int:
    """Training rows of the label that is neither rare nor frequent; of a regression all of them."""
    labels = label_array(data.splits["train"], data)
    if data.problem_type == "regression":
        return len(labels)
    counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=len(data.labels))
    return int(np.median(counts))


def _known(setup: Setup, data: Data) -> float | None:
    """How far a head on the untouched checkpoint goes from the baseline to a perfect answer on rows it has not seen.

    They are those that its penalty is chosen on: validation, or folds where that is small.
    """
    setup.readout = setup.readout or readout_of(setup)
    try:
        held = untouched_head(setup)[1].held if setup.readout else None
    except (Problems, ValueError):  # labels that no head fits: training will say what is wrong
        return None
    if held is None:
        return None
    problem, (scores, labels) = data.problem_type, held
    given: dict[str, Any] = {"num_labels": max(1, len(data.labels))}
    name = headline(problem)
    value = compute(problem, scores, labels, **given)[name]
    constant = baseline(problem, label_array(data.splits["train"], data), labels, **given)[name]
    return (value - constant) / max(1e-9, 1 - constant)
