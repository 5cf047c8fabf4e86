"""All that the phases of a run share, and where each leaves what it made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from hf_transfer.adapters import adapter_of
from hf_transfer.anatomy import LayerGroup
from hf_transfer.run_folder import ADAPTER
from hf_transfer.shift.target import Target
from hf_transfer.strategies.alignment import Alignment
from hf_transfer.strategies.features import Readout
from hf_transfer.strategies.phases import Phase
from hf_transfer.strategies.regularization import Regularization
from hf_transfer.strategies.shift import Shift
from hf_transfer.tasks.task import Prepared
from hf_transfer.training.trainer import Objective, stock_objective


@dataclass
class Setup:
    """All that the phases of a run share."""

    model: Any
    groups: list[LayerGroup]
    phases: list[Phase]
    trainable: frozenset[str]  # what may learn at all: what PEFT, or whoever gave the model, left trainable
    args: Any  # TrainingArguments of the whole run
    prepared: Prepared
    collator: Any
    processor: Any
    compute_metrics: Callable[[Any], dict[str, float]]
    callbacks: Sequence[TrainerCallback] = ()
    early_stopping_patience: int | None = None
    objective: Objective = stock_objective
    regularization: Regularization = Regularization()
    shift: Shift = Shift()
    target: Target | None = None  # rows of the target domain, without labels
    alignment: Alignment | None = None  # of the features of both domains
    fresh: frozenset[str] = frozenset()  # names of the parameters that are not pretrained
    train_collator: Any = None  # of training batches, where it is another
    class_weights: Any = None  # of the labels, or of a yes and a no to each, for heads that are solved
    logged: Any = None  # (scores, labels) -> what an evaluation keeps of a batch, where it is not the scores
    row_weights: Any = None  # chances of the training rows to be drawn, where they differ
    command: Sequence[str] = ()  # the words that started the run, where they are known
    asked: Sequence[str] = ()  # names of training arguments that were given, not taken by default
    readout: Readout | None = None  # where the scores are read off, for phases that solve
    pooling: str = (
        "own"  # what a solved head reads: what the model's class reads, or the mean over the tokens
    )
    features: dict[Any, Any] = field(default_factory=dict)  # read once, for as long as the weights below stay
    chosen: list[str] = field(default_factory=list)  # what was chosen on validation rows before training

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.args.output_dir)

    @property
    def is_peft(self) -> bool:
        """Whether the model has an adapter, PEFT's or of ours."""
        return adapter_of(self.model) is not None


def phase_folder(setup: Setup, number: int) -> Path:
    """Where a phase's checkpoints go."""
    return setup.folder if len(setup.phases) == 1 else setup.folder / f"phase-{number}"


def phase_weights(setup: Setup, number: int) -> Path:
    """Where a finished phase leaves its weights: the run's only phase at their final place."""
    folder = phase_folder(setup, number)
    return folder / ADAPTER if setup.is_peft else folder
