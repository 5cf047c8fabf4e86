"""A run's regularisation put where it acts: on the model before training, on the loss, on the rows, on the weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.anatomy import layer_groups, linear_layers
from hf_transfer.final_weights import choose_on_validation, learned, no_way_back, way_back
from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.regularization import (
    NEW_DEFAULT,
    OF_LOSS,
    SINGLE,
    Regularization,
    check,
    sentences,
)

if TYPE_CHECKING:
    from hf_transfer.data import Data
    from hf_transfer.tasks.task import Task
    from hf_transfer.training.setup import Setup


def checked(
    chosen: Regularization | None, task: Task, data: Data, args: Any, peft_config: Any, objective: Any
) -> Regularization:
    """What was chosen, nothing by default, once it is known to go with the rest of the run.

    Raises:
        Problems: something would do nothing, or something other than its name says.
    """
    chosen = chosen or Regularization()
    check(
        chosen,
        problem_type=data.problem_type,
        labels=data.labels,
        images="image" in task.inputs,
        args=args,
        is_peft=peft_config is not None,
        own_objective=objective is not None,
        validation="validation" in data.splits,
    )
    return chosen


def rebuilt(model: Any, chosen: Regularization, seed: int) -> tuple[list[str], list[str]]:
    """Change the model itself: blocks drawn anew, another dropout. Before PEFT wraps it.

    Returns:
        Names of the parameters that are no longer the pretrained ones, and sentences for the plan.

    Raises:
        Problems: the model has not so many blocks, or no dropout.
    """
    from transformers import set_seed

    from hf_transfer.strategies.dropout import set_dropout
    from hf_transfer.strategies.reinit import reinitialise

    redrawn: list[str] = []
    notes = []
    if chosen.reinit_layers is not None:
        set_seed(seed)  # every process draws the same, and a resumed run too
        redrawn = reinitialise(model, layer_groups(model), chosen.reinit_layers)
        notes.append(f"The last {chosen.reinit_layers} block(s) are drawn anew: {len(redrawn)} tensors.")
    if chosen.dropout is not None:
        found = set_dropout(model, chosen.dropout)
        if not found["modules"]:
            what = f"{type(model).__name__} has no dropout that could be set"
            raise Problems(Problem("--dropout", what, "leave it out"))
        fields = ", ".join(found["config"]) or "none: its configuration has no such field"
        notes.append(
            f"Dropout is {chosen.dropout:g} in {len(found['modules'])} places (configuration: {fields})."
        )
    return redrawn, notes


def regularize(setup: Setup, data: Data, chosen: Regularization, fresh: Sequence[str]) -> list[str]:
    """Give a run the loss, the collator and the sampling that were chosen; its arguments may change too.

    Args:
        setup: changed in place.
        data: its training labels are counted.
        fresh: names of the parameters that are not pretrained.

    Returns:
        Sentences for the plan.

    Raises:
        Problems: something that would have no effect on this model under this strategy.
    """
    setup.regularization, setup.fresh = chosen, frozenset(fresh)
    if not setup.args.do_train:
        return []
    found = _without_effect(setup, chosen)
    if found:
        raise Problems(*found)
    notes = sentences(chosen)
    if chosen.on() and any(phase.solve for phase in setup.phases):
        but = ", but for class weights" * (chosen.class_weights is not None and _weighs(setup))
        notes.append(
            f"Regularisation acts in the phases that train; where the head is solved it has no part{but}."
        )
    notes += _judged(setup, data, chosen)
    if setup.alignment is not None:  # within what changes weights, around what judges scores
        setup.objective = setup.alignment.around(setup.objective)
    notes += _sampled(setup, data, chosen)
    notes += _pulled(setup, chosen)
    if chosen.wise_ft is not None:
        where = "scaled" if setup.is_peft else "taken part of the way from where the last phase starts"
        share = "by a share chosen on validation" if chosen.wise_ft == "auto" else f"by {chosen.wise_ft:g}"
        notes.append(
            f"WiSE-FT: after training {len(way_back(setup))} tensors are {where}, {share}; what was new then stays as trained."
        )
    choose_on_validation(setup, data, chosen)
    return notes


def _without_effect(setup: Setup, chosen: Regularization) -> list[Problem]:
    """What this model, or this strategy, gives nothing to act on."""
    from hf_transfer.strategies.dropout import noise
    from hf_transfer.strategies.freezing import freeze, still_modules

    trained = [phase for phase in setup.phases if not phase.solve]
    asked = [name for name in chosen.on() if name != "class_weights" or not _weighs(setup)]
    if setup.args.label_smoothing_factor and all(phase.pairs for phase in trained):
        asked.append("label_smoothing_factor")
    if not trained:
        what = f"has no effect under --strategy {setup.phases[-1].name}: its head is solved, not trained"
        mend = "leave it out, or choose a strategy that trains"
        return [Problem(f"--{name}", what, mend) for name in asked]
    paired = next((phase.name for phase in trained if phase.pairs), None)
    if paired and (wrong := [name for name in asked if name in OF_LOSS]):
        what = f"acts on the loss of single rows, and phase {paired} learns from pairs of them"
        return [Problem(f"--{name}", what, "leave it out") for name in wrong]
    found, learns = [], learned(setup, trained)
    mend = "leave it out, or choose a strategy in which pretrained layers learn"
    for name in ("l2_sp", "mixout"):
        if getattr(chosen, name) is not None and not learns - setup.fresh:
            found.append(Problem(f"--{name}", "no pretrained weight learns under this strategy", mend))
    if chosen.mixout is not None and learns - setup.fresh and not mixed_names(setup):
        found.append(Problem("--mixout", "no pretrained matrix of the blocks learns", mend))
    if chosen.wise_ft is not None and (why := no_way_back(setup)):
        found.append(Problem("--wise_ft", why, mend))
    if chosen.reinit_layers is not None and not set(redrawn_blocks(setup, chosen)) <= learns:
        what = "blocks that are drawn anew would not learn under this strategy: they would stay random"
        found.append(Problem("--reinit_layers", what, "leave it out, or choose --strategy full"))
    for name in ("soup", "wise_ft"):
        if getattr(chosen, name) is not None and setup.phases[-1].solve:
            what = "acts on the last phase, and there the head is solved, not trained"
            found.append(Problem(f"--{name}", what, "leave it out, or let the last phase train"))
    for phase in trained if chosen.r_drop is not None else ():
        freeze(setup.model, setup.groups, phase.learns, setup.trainable, phase.only)
        if not noise(setup.model, still_modules(setup.model)):
            what = f"phase {phase.name} has no dropout above 0, so both passes would be the same"
            mend = "add --dropout 0.1, or leave it out"
            found.append(Problem("--r_drop", what, mend))
    return found


def _weighs(setup: Setup) -> bool:
    """Whether a head is solved in which class weights have a part: class means and votes of neighbours have none."""
    return any(phase.solve in ("logistic", "ridge") for phase in setup.phases)


def mixed_names(setup: Setup) -> frozenset[str]:
    """The matrices that mixout acts on: pretrained ones of the blocks that learn (as in the authors' code, no embeddings)."""
    matrices = {f"{layer}.weight" for layer in linear_layers(setup.model, list(setup.groups))}
    return (learned(setup) - setup.fresh) & matrices


def redrawn_blocks(setup: Setup, chosen: Regularization) -> list[str]:
    """Parameters of the last `reinit_layers` blocks."""
    blocks = [group for group in setup.groups if group.name.startswith("block.")]
    return [name for group in blocks[-(chosen.reinit_layers or 0) :] for name in group.parameters]


# The loss.


def _judged(setup: Setup, data: Data, chosen: Regularization) -> list[str]:
    from hf_transfer.strategies import objectives
    from hf_transfer.strategies.mixing import mixing

    notes: list[str] = []
    criterion = _criterion(setup, data, chosen, notes)
    if chosen.mixup is not None or chosen.cutmix is not None:
        setup.train_collator = mixing(
            setup.collator, len(data.labels), chosen.mixup or 0.0, chosen.cutmix or 0.0
        )
    if criterion is not None:
        setup.objective = objectives.judged_by(criterion, setup.objective)
    if chosen.r_drop is not None:
        several = data.problem_type != SINGLE
        setup.objective = objectives.r_drop(setup.objective, chosen.r_drop, several)
    return notes


def _criterion(setup: Setup, data: Data, chosen: Regularization, notes: list[str]) -> Any:
    """The loss on scores and labels where it is not the model's own; sentences about it go to `notes`."""
    from hf_transfer.strategies.objectives import binary_cross_entropy, cross_entropy

    smoothing = float(setup.args.label_smoothing_factor)
    names = ("class_weights", "focal_gamma", "logit_adjustment", "mixup", "cutmix")
    if not smoothing and not any(name in chosen.on() for name in names):
        return None
    options: dict[str, Any] = {"smoothing": smoothing, "gamma": chosen.focal_gamma or 0.0}
    options |= _imbalance(data, chosen, notes)
    setup.class_weights = options.get("weights")
    if smoothing:
        notes.append(
            f"Labels are smoothed by {smoothing:g} in training; the evaluation loss is that of plain labels."
        )
    return partial(cross_entropy if data.problem_type == SINGLE else binary_cross_entropy, **options)


def _imbalance(data: Data, chosen: Regularization, notes: list[str]) -> dict[str, Any]:
    """Class weights and offsets from the training rows."""
    import torch

    from hf_transfer.strategies import balance

    if chosen.class_weights is None and chosen.logit_adjustment is None:
        return {}
    labels, names = training_labels(data), data.labels
    rows = balance.counts(labels, len(names))
    if chosen.logit_adjustment is not None:
        notes.append(
            f"Logit adjustment, tau {chosen.logit_adjustment:g}: in training only; scores of the saved model are balanced ones."
        )
        offsets = chosen.logit_adjustment * balance.log_priors(rows, names)
        return {"offsets": torch.tensor(offsets, dtype=torch.float32)}
    given = None if chosen.class_weights == "auto" else dict(chosen.class_weights or {})
    if data.problem_type == SINGLE:
        weights = balance.class_weights(rows, given, names)
        shown, kept = weights, torch.tensor(weights, dtype=torch.float32)
    else:
        both = balance.label_weights(rows, len(labels), given, names)
        shown = both[0]
        kept = tuple(torch.tensor(w, dtype=torch.float32) for w in both)  # type: ignore[assignment]
    told = ", ".join(f"{name} {value:.3g}" for name, value in zip(names[:8], shown, strict=False))
    notes.append(f"Class weights (1 on average over the training rows): {told}{', ...' * (len(names) > 8)}.")
    return {"weights": kept}


def training_labels(data: Data) -> np.ndarray:
    """Ids (rows,) or a 0/1 matrix (rows, labels)."""
    from hf_transfer.tasks.classification import label_array

    return label_array(data.splits["train"], data)


# Rows and weights.


def _sampled(setup: Setup, data: Data, chosen: Regularization) -> list[str]:
    from hf_transfer.strategies.balance import row_weights

    if not chosen.weighted_sampling:
        return []
    setup.row_weights = row_weights(training_labels(data), len(data.labels))
    return [
        "Rows are drawn with replacement so that all labels come equally often; an epoch is as long as before."
    ]


def _pulled(setup: Setup, chosen: Regularization) -> list[str]:
    """Penalties and masks that need the weights from before training: a copy of those that learn is kept."""
    from hf_transfer.strategies import objectives

    notes: list[str] = []
    if chosen.l2_sp is None and chosen.mixout is None:
        return notes
    kept = learned(setup) - setup.fresh
    start = {n: p.detach().clone() for n, p in setup.model.named_parameters() if n in kept}
    if chosen.mixout is not None:
        names = mixed_names(setup)
        setup.objective = objectives.mixout(setup.objective, setup.model, start, names, chosen.mixout)
        notes.append(f"Mixout, p {chosen.mixout:g}, on {len(names)} pretrained matrices.")
    if chosen.l2_sp is not None:
        beta = NEW_DEFAULT if chosen.l2_sp_new is None else chosen.l2_sp_new
        setup.objective = objectives.l2_sp(setup.objective, setup.model, start, chosen.l2_sp, beta)
        notes.append(
            f"L2-SP, alpha {chosen.l2_sp:g} on {len(start)} pretrained tensors, beta {beta:g} on new ones."
        )
        if setup.args.weight_decay:
            notes[-1] += f" It stands in place of weight decay ({setup.args.weight_decay:g})."
            setup.args.weight_decay = 0.0
    return notes
