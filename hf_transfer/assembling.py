"""The parts of a run put together: layer groups, phases, what is measured at an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hf_transfer.adapters import adapter_of
from hf_transfer.data.texts import LANGUAGE
from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.freezing import check_peft
from hf_transfer.strategies.phases import AUTO, Phase, phases

if TYPE_CHECKING:
    from hf_transfer.data import Data
    from hf_transfer.pretrained import Pretrained
    from hf_transfer.shift.target import Target
    from hf_transfer.strategies.regularization import Regularization
    from hf_transfer.strategies.shift import Shift
    from hf_transfer.tasks.task import Task
    from hf_transfer.training.setup import Setup


def make_setup(
    task: Task,
    base: Pretrained,
    args: Any,
    strategy: Any,
    modifiers: dict[str, float | None],
    patterns: Mapping[str, str] | None,
    metrics: Any,
    **given: Any,
) -> Setup:
    """What the phases of a run share; `auto` stands as everything learning until it is chosen.

    Args:
        modifiers: `layer_decay`, `head_learning_rate` and `loraplus_lr_ratio` as given for the whole run.
        patterns: layer groups named by hand.
        **given: further fields of `Setup`.
    """
    from hf_transfer.language import Logged, check_phases, measured, shifts
    from hf_transfer.strategies.allocation import check_allocation
    from hf_transfer.strategies.rates import check_loraplus
    from hf_transfer.training.setup import Setup

    model = base.model
    groups = _groups(model, strategy, modifiers["layer_decay"], patterns)
    planned = planned_phases("full" if strategy in AUTO else strategy, groups, modifiers)
    check_peft(groups, {name for phase in planned for name in phase.learns}, adapter_of(model) is not None)
    check_allocation(model, len(planned))
    check_loraplus(model, modifiers["loraplus_lr_ratio"])
    if not task.target:
        check_phases(planned)
    return Setup(
        model=model,
        groups=groups,
        phases=planned,
        trainable=frozenset(name for name, parameter in model.named_parameters() if parameter.requires_grad),
        args=args,
        prepared=base.prepared,
        collator=task.collator(base.processor),
        processor=base.processor,
        compute_metrics=partial(_measured, base.data, tuple(metrics or ())) if task.target else measured,
        train_collator=task.train_collator(base.processor) if task.train_collator else None,
        logged=None if task.target else Logged(shifts(task)),
        **given,
    )


def settle(
    setup: Setup,
    base: Pretrained,
    strategy: Any,
    modifiers: dict[str, float | None],
    *,
    pooling: str | None,
    begun: dict[str, Any],
    shift: Shift,
    target: Target | None,
    regularization: Regularization,
) -> tuple[Any, list[str]]:
    """Choose what was left open, and give the run what acts beside its phases: heads to solve, target rows, regularisers.

    Args:
        setup: changed in place.
        begun: the settings that a resumed run was begun with.

    Returns:
        The strategy, chosen where `auto` was asked for, and sentences for the plan.

    Raises:
        Problems: something that does not go together, or would have no effect.
    """
    from hf_transfer.choosing import chosen_strategy
    from hf_transfer.pooling import HEAD_OF_THE_MEAN, settle_pooling
    from hf_transfer.regularizing import regularize
    from hf_transfer.shift.settling import settle_shift
    from hf_transfer.solving import check_output, settle_solvers
    from hf_transfer.training.trainer import stock_objective
    from hf_transfer.verdicts import far_values
    from hf_transfer.without_effect import without_effect

    if base.data.problem_type != LANGUAGE:  # whose collator draws what it masks
        check_output(setup)
    taken, notes = strategy, []
    if strategy in AUTO:
        own_loss = setup.objective is not stock_objective or setup.args.label_smoothing_factor
        by_row = bool(own_loss or shift.on() or regularization.on())
        taken, why = chosen_strategy(setup, base.data, by_row) if setup.args.do_train else ("full", "")
        setup.phases = planned_phases(taken, setup.groups, modifiers)
        notes += [why] if why else []
    notes += settle_solvers(setup)
    notes += without_effect(setup)
    notes += settle_pooling(setup, pooling, strategy, begun)
    notes += settle_shift(setup, shift, target)
    # A model that pools has its head in another place.
    own = setup.model is base.model
    fresh = [*base.facts["new"], *base.redrawn] if own else [*HEAD_OF_THE_MEAN]
    notes += regularize(setup, base.data, regularization, fresh)
    setup.prepared.warnings.extend(far_values(setup))
    return taken, notes


def planned_phases(strategy: Any, groups: Any, modifiers: dict[str, float | None]) -> list[Phase]:
    """The phases of a strategy with what was given for all of them.

    What was given wins over what a named strategy brings along; phases of one's own keep what they say.

    Raises:
        Problems: from `phases`, and a modifier by which nothing would learn.
    """
    wrong = [
        Problem(
            f"--{name}", f"is {value:g}, so nothing would learn by it", "give more than 0, or leave it out"
        )
        for name, value in modifiers.items()
        if value is not None and value <= 0
    ]
    if wrong:
        raise Problems(*wrong)
    found = []
    for phase in phases(strategy, groups):
        own = {} if isinstance(strategy, str) else {n: getattr(phase, n) for n in modifiers}
        given: dict[str, Any] = {
            name: value for name, value in modifiers.items() if value is not None and own.get(name) is None
        }
        found.append(replace(phase, **given))
    return found


def _measured(data: Data, extra: tuple[Any, ...], found: Any) -> dict[str, float]:
    """What Trainer logs at an evaluation and chooses the best model by, as the run's end measures it on validation.

    Several labels: at thresholds tuned on these rows. At 0.5 a model of many rare labels gives none for a long time, its F1
    is 0 at every evaluation, and the first would be taken for the best.
    """
    import numpy as np

    from hf_transfer.evaluation.classification import compute, probabilities
    from hf_transfer.evaluation.thresholds import tune

    problem, logits, labels = data.problem_type, found.predictions, found.label_ids
    several = problem == "multi_label_classification" and bool(np.isfinite(logits).all())
    thresholds = tune(probabilities(problem, logits), labels) if several else None
    size = max(1, len(data.labels))
    return compute(problem, logits, labels, num_labels=size, thresholds=thresholds, extra=extra)


def _groups(model: Any, strategy: Any, layer_decay: float | None, patterns: Mapping[str, str] | None) -> Any:
    """The model's layer groups; a model whose layers have no order that could be found can still learn as a whole."""
    from hf_transfer.anatomy import LayerGroup, layer_groups

    if patterns is not None:
        return layer_groups(model, patterns)
    try:
        return layer_groups(model)
    except Problems:
        if strategy != "full" or layer_decay is not None:
            raise
    parameters, buffers = (
        tuple(name for name, _ in found) for found in (model.named_parameters(), model.named_buffers())
    )
    return [LayerGroup("model", parameters, buffers)]
