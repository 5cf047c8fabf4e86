"""How good the trained model is: scores on every held-out row, metrics with intervals beside their baselines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.evaluation.baselines import baseline
from hf_transfer.evaluation.classification import compute, headline, probabilities
from hf_transfer.evaluation.intervals import intervals, settled
from hf_transfer.evaluation.thresholds import tune
from hf_transfer.predict import shared_scores
from hf_transfer.tasks.classification import label_array, prediction_table
from hf_transfer.training.divergence import check_scores

if TYPE_CHECKING:
    import pandas as pd

    from hf_transfer.data import Data
    from hf_transfer.tasks.task import Prepared

PREFIX = {"validation": "eval", "test": "test"}


@dataclass
class Assessment:
    """What evaluation found.

    Attributes:
        results: flat metrics as in `all_results.json` (`eval_*`, `test_*`).
        thresholds: probability from which each label is given, tuned on validation; None unless multi-label.
        logits: (rows, labels) per split.
        predictions: the table of the split that the report is about (the test if there is one).
        forgetting: what has moved since the checkpoint, from `forgetting.after`; None unless it was watched.
    """

    results: dict[str, float] = field(default_factory=dict)
    thresholds: list[float] | None = None
    logits: dict[str, np.ndarray] = field(default_factory=dict)
    predictions: pd.DataFrame | None = None
    forgetting: dict[str, Any] | None = None


def assess(
    model: Any,
    data: Data,
    prepared: Prepared,
    collator: Any,
    splits: list[str],
    *,
    batch_size: int,
    extra: tuple[Any, ...] = (),
    world: tuple[int, int] = (0, 1),
) -> Assessment:
    """Evaluate `model` in fp32 on the named splits, each row once whatever the number of processes.

    Args:
        splits: of `validation` and `test`; thresholds are tuned on the first only, and never on the test.
        world: rank and number of processes; rows are shared out, and every rank returns the same.
    """
    found = Assessment()
    size = max(1, len(data.labels))
    train_labels = label_array(data.splits["train"], data) if "train" in data.splits else None
    for split in splits:
        labels = label_array(data.splits[split], data)
        inputs = prepared.splits[split].remove_columns("labels")
        found.logits[split] = logits = shared_scores(model, inputs, collator, batch_size, world)
        check_scores(logits, split)
        if data.problem_type == "multi_label_classification" and split == "validation":
            found.thresholds = [float(t) for t in tune(probabilities(data.problem_type, logits), labels)]
        options: dict[str, Any] = {"num_labels": size, "thresholds": found.thresholds}
        measured = compute(data.problem_type, logits, labels, extra=extra, **options)
        keys = [key for key in measured if key in _with_interval(data.problem_type)]
        spans = settled(intervals(data.problem_type, logits, labels, keys, **options), len(labels))
        constant = (
            {} if train_labels is None else baseline(data.problem_type, train_labels, labels, num_labels=size)
        )
        found.results |= _named(PREFIX[split], measured, spans, constant)
        found.results[f"{PREFIX[split]}_loss"] = loss(data.problem_type, logits, labels)
        found.results[f"{PREFIX[split]}_samples"] = len(labels)
    if splits:
        shown = "test" if "test" in splits else splits[-1]
        found.predictions = prediction_table(
            data.splits[shown], shown, found.logits[shown], data, found.thresholds
        )
    return found


def _with_interval(problem_type: str) -> tuple[str, ...]:
    more = {"single_label_classification": ("f1_macro", "matthews_correlation"), "regression": ("spearmanr",)}
    return (headline(problem_type), *more.get(problem_type, ("f1_macro",)))


def _named(
    prefix: str, measured: dict[str, float], spans: dict[str, tuple[float, float]], constant: dict[str, float]
) -> dict[str, float]:
    named: dict[str, float] = {}
    for key, value in measured.items():
        named[f"{prefix}_{key}"] = value
        if key in spans:
            named[f"{prefix}_{key}_ci95_low"], named[f"{prefix}_{key}_ci95_high"] = spans[key]
    return named | {f"{prefix}_baseline_{key}": value for key, value in constant.items() if key in measured}


def loss(problem_type: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """The loss that transformers' heads use for this problem type, as a mean over rows."""
    import torch
    from torch.nn import functional

    scores_, truth = torch.from_numpy(logits).double(), torch.from_numpy(labels)
    if problem_type == "regression":
        return float(functional.mse_loss(scores_.squeeze(-1), truth.double()))
    if problem_type == "multi_label_classification":
        return float(functional.binary_cross_entropy_with_logits(scores_, truth.double()))
    return float(functional.cross_entropy(scores_, truth))
