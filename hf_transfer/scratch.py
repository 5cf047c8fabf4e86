"""What the pretraining was worth: the same model trained from random weights on the same rows, beside the result."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.anatomy import LayerGroup
from hf_transfer.probing import side_by_side
from hf_transfer.problems import Diverged, Problem, Problems
from hf_transfer.strategies.phases import FULL, Phase

if TYPE_CHECKING:
    from hf_transfer.data import Data
    from hf_transfer.tasks.task import Task
    from hf_transfer.training.setup import Setup

FOLDER = "scratch"  # in the run folder, for as long as the run lasts: an interrupted one goes on there


@dataclass(frozen=True)
class Scratch:
    """A model that was trained from random weights.

    Attributes:
        logits: (rows, labels) a split; none where its training diverged.
        facts: JSON for the record: `epochs`, `steps`, `learning_rate`, `seconds`, `seed`, `diverged`.
    """

    logits: dict[str, np.ndarray] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def comparing(asked: bool, task: Task, model: Any, do_train: bool) -> tuple[bool, list[str]]:
    """Whether a model can be trained from scratch, and for the plan why not where it was asked for.

    Raises:
        Problems: the Auto class would make another model than this one.
    """
    if not asked or not do_train:
        return False, ["Nothing is compared with a model from scratch: nothing is trained."] if asked else []
    import transformers

    made = getattr(transformers, task.auto_class)._model_mapping.get(type(model.config), ())
    if type(model) not in (made if isinstance(made, tuple) else (made,)):
        what = f"{type(model).__name__} is not what {task.auto_class} makes of its configuration"
        raise Problems(Problem("--compare_scratch", what, "leave it out"))
    return True, []


def scratch_note(setup: Setup) -> str:
    """What will be trained, for the plan."""
    args = setup.args
    long = f"{args.max_steps:,} steps" if args.max_steps > 0 else f"{args.num_train_epochs:g} epochs"
    return (
        f"The same model is then trained from random weights too, all of it, for {long} at {_rate(setup):.3g}, without adapter "
        "and regularisation: one more training, which the expected time leaves out."
    )


def train_from_scratch(task: Task, config: Any, setup: Setup, splits: list[str], resume: bool) -> Scratch:
    """Train a model of the run's configuration from random weights, drawn from its seed, with its budget and arguments.

    Everything learns. The best weights are kept by the same rule; nothing of the run's own model is touched.

    Args:
        config: of the checkpoint, with the data's labels.
        setup: of the run, which has been trained.
        splits: that the end of the run measures.
        resume: go on where an interrupted run was.
    """
    from hf_transfer.predict import shared_scores
    from hf_transfer.training.train import train, what_is_safe

    own = _setup(task, config, setup)
    try:
        (entry,) = train(own, resume)
    except Diverged:
        return Scratch({}, {"learning_rate": own.args.learning_rate, "seed": own.args.seed, "diverged": True})
    except BaseException as error:
        error.safe = what_is_safe(setup, error)  # type: ignore[attr-defined]  # of the run, not of this folder
        raise
    args, model = own.args, own.model.to(own.args.device)
    logits = {
        split: shared_scores(
            model,
            own.prepared.splits[split].remove_columns("labels"),
            own.collator,
            args.per_device_eval_batch_size,
            (args.process_index, args.world_size),
        )
        for split in splits
    }
    facts = {name: entry[name] for name in ("epochs", "steps", "learning_rate", "seconds")}
    return Scratch(logits, facts | {"seed": args.seed, "diverged": False})


def forget(folder: Path) -> None:
    """Delete what the training from scratch has left in a run folder."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def scratch_warnings(data: Data, trained: dict[str, Any], found: Scratch) -> list[dict[str, str]]:
    """A warning for each split where the run ends below the model from scratch by more than two standard errors."""
    if found.facts.get("diverged"):
        what = "the model trained from random weights diverged: there is nothing to compare with"
        return [{"where": "scratch", "what": what, "mend": ""}]
    warnings = []
    for split, one in side_by_side(data, found.logits, trained).items():
        if one.first - one.second > 2 * one.error:
            what = (
                f"{one.metric} {one.second:.4f} is below that of the same model trained from random weights, "
                f"{one.first:.4f}: negative transfer"
            )
            mend = "let more learn (--strategy full), or choose another --model_name_or_path"
            warnings.append({"where": split, "what": what, "mend": mend})
    return warnings


def _setup(task: Task, config: Any, setup: Setup) -> Setup:
    import transformers

    from hf_transfer.training.setup import Setup

    args = copy.copy(setup.args)
    args.output_dir, args.learning_rate = str(setup.folder / FOLDER), _rate(setup)
    args.report_to, args.run_name = [], None
    transformers.set_seed(args.seed)  # every process draws the same, and a resumed run too
    model = getattr(transformers, task.auto_class).from_config(copy.deepcopy(config)).float()
    task.fit(setup.processor, model)
    parameters = tuple(name for name, _ in model.named_parameters())
    group = LayerGroup("model", parameters, tuple(name for name, _ in model.named_buffers()))
    return Setup(
        model=model,
        groups=[group],
        phases=[Phase("from scratch", ("model",))],
        trainable=frozenset(parameters),
        args=args,
        prepared=setup.prepared,
        collator=setup.collator,
        processor=setup.processor,
        compute_metrics=setup.compute_metrics,
        early_stopping_patience=setup.early_stopping_patience,
    )


def _rate(setup: Setup) -> float:
    """The run's own where everything learns at it; a rate for a head or an adapter would be none for a whole model."""
    last = setup.phases[-1]
    whole = {group.name for group in setup.groups} <= set(last.learns) and last.only == "all"
    if whole and not (last.solve or last.pairs or setup.is_peft):
        return float(last.learning_rate or setup.args.learning_rate)
    return FULL
