"""One phase: its share of the run, what learns in it, and the Trainer that it runs in."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from transformers import (
    EarlyStoppingCallback,
    IntervalStrategy,
    PrinterCallback,
    ProgressCallback,
)

from hf_transfer.data.batching import by_length
from hf_transfer.final_weights import watchers
from hf_transfer.problems import Problem, Problems
from hf_transfer.progress import Progress
from hf_transfer.shift.pseudo_labels import Joined
from hf_transfer.shift.settling import aligned
from hf_transfer.strategies.allocation import Allocation, is_adalora
from hf_transfer.strategies.contrastive import pairs
from hf_transfer.strategies.freezing import freeze
from hf_transfer.training.divergence import finite
from hf_transfer.training.prepared import unprepared
from hf_transfer.training.setup import Setup, phase_folder
from hf_transfer.training.trainer import PhaseTrainer, stock_objective


def phase_arguments(setup: Setup, number: int) -> Any:
    """The run's arguments cut down to one phase's share; nothing is pushed from inside a phase."""
    phase, args = setup.phases[number - 1], copy.copy(setup.args)
    trained = [p for p in setup.phases if not p.solve]
    shares = sum(p.share for p in trained if p.epochs is None)
    epochs = [
        setup.args.num_train_epochs * p.share / shares if p.epochs is None else p.epochs for p in trained
    ]
    place = [p is phase for p in trained].index(True)
    args.num_train_epochs = epochs[place]
    if args.max_steps > 0:  # the length of the whole run, whatever epochs say
        args.max_steps = shared_out(args.max_steps, epochs)[place]
    args.output_dir = str(phase_folder(setup, number))
    args.data_seed = (args.data_seed if args.data_seed is not None else args.seed) + number - 1
    if phase.learning_rate is not None:
        args.learning_rate = (
            phase.learning_rate
        )  # that of the topmost learning group; the others' follow from it
    if phase.pairs:  # the head has learnt nothing yet that could be measured
        args.eval_strategy, args.load_best_model_at_end = IntervalStrategy.NO, False
    args.restore_callback_states_from_checkpoint = True  # early stopping counts on
    args.logging_nan_inf_filter = False  # it hides what is no number, and waits for the device at every step
    args.push_to_hub = False
    for name in ("hub_model_id", "hub_token", "hub_private_repo", "hub_revision"):
        setattr(args, name, None)
    return args


def shared_out(steps: int, shares: Sequence[float]) -> list[int]:
    """`steps` in parts as near to `shares` as whole numbers come; their sum is `steps`.

    Raises:
        Problems: a part would have no step at all.
    """
    ends = [round(steps * sum(shares[: i + 1]) / sum(shares)) for i in range(len(shares))]
    parts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    if min(parts) < 1:
        what = f"{steps} are too few for {len(shares)} phases: they would take {', '.join(map(str, parts))}"
        raise Problems(Problem("--max_steps", what, "give more steps"))
    return parts


def phase_trainer(setup: Setup, number: int, more: Joined | None = None) -> PhaseTrainer:
    """The Trainer of one phase, with what does not learn frozen; `more`: its rows, where they are not the training rows."""
    phase = setup.phases[number - 1]
    unprepared(setup.model)
    freeze(setup.model, setup.groups, phase.learns, setup.trainable, phase.only)
    args = phase_arguments(setup, number)
    if setup.objective is not stock_objective:
        args.label_smoothing_factor = (
            0.0  # it does that itself; stock would say that it cannot, with several labels
        )
    splits, lengths = setup.prepared.splits, setup.prepared.lengths
    evaluation = splits.get("validation")
    if evaluation is not None and "validation" in lengths:
        evaluation = evaluation.select(by_length(lengths["validation"]))  # metrics do not depend on the order
    averaged, watching = watchers(setup, number, phase_folder(setup, number))
    callbacks: list[Any] = [*setup.callbacks, *watching]
    if setup.early_stopping_patience and args.eval_strategy != "no":
        callbacks.append(EarlyStoppingCallback(setup.early_stopping_patience))
    if is_adalora(setup.model):
        callbacks.append(Allocation())
    trainer = PhaseTrainer(
        model=setup.model,
        args=args,
        phase=phase,
        groups=setup.groups,
        objective=pairs(setup.readout) if phase.pairs and setup.readout else setup.objective,
        lengths=more.lengths if more else lengths.get("train"),
        row_weights=more.row_weights if more else setup.row_weights,
        train_collator=setup.train_collator,
        averaged=averaged,
        alignment=aligned(setup, number, args),
        target=setup.target,
        data_collator=setup.collator,
        train_dataset=more.rows if more else splits["train"],
        eval_dataset=evaluation,
        processing_class=setup.processor,
        compute_metrics=finite(setup.compute_metrics),
        **({"preprocess_logits_for_metrics": setup.logged} if setup.logged else {}),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    if not args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(Progress(f"{phase.name} ({number}/{len(setup.phases)})"))
    return trainer
