"""Did it transfer? What the checkpoint knew before training, as a solved head on its features tells; and the comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.evaluation.classification import compute, headline, predicted, probabilities
from hf_transfer.evaluation.thresholds import tune
from hf_transfer.problems import Problems
from hf_transfer.ranks import from_first
from hf_transfer.solving import best_head, feature_rows, readout_of, through
from hf_transfer.tasks.classification import label_array

if TYPE_CHECKING:
    from hf_transfer.data import Data
    from hf_transfer.training import Setup

MOST = 5_000  # training rows that a probe reads: more would cost time and change little


def probe(setup: Setup, splits: list[str]) -> dict[str, np.ndarray]:
    """Logits (rows, labels) a split of a head solved on the features of the model as it stands, which is not changed.

    Logistic regression (ridge for values) on at most 5,000 training rows, its strength chosen on validation or folds.

    Returns:
        Nothing where the model's scores are not a linear function of features.
    """
    readout = setup.readout = setup.readout or readout_of(setup)
    if readout is None or "train" not in setup.prepared.splits:
        return {}
    limit = None if all(phase.solve for phase in setup.phases) else MOST  # those are read whole anyway
    train = feature_rows(setup, "train", readout, limit)
    held = feature_rows(setup, "validation", readout) if "validation" in setup.prepared.splits else None
    try:
        view, solved = from_first(setup.args, lambda: best_head(setup, "logistic", train, held))
    except (Problems, ValueError):  # labels that no head fits: training will say what is wrong
        return {}
    return {
        split: solved.head(through(setup, view, feature_rows(setup, split, readout)).features)
        for split in splits
    }


def probe_results(data: Data, logits: dict[str, np.ndarray], prefixes: dict[str, str]) -> dict[str, float]:
    """Metrics of the probe as `eval_probe_<key>` and `test_probe_<key>`."""
    problem, size, found = data.problem_type, max(1, len(data.labels)), dict[str, float]()
    thresholds = None
    for split, scores in logits.items():
        labels = label_array(data.splits[split], data)
        if problem == "multi_label_classification" and split == "validation":
            thresholds = tune(probabilities(problem, scores), labels)
        measured = compute(problem, scores, labels, num_labels=size, thresholds=thresholds)
        found |= {f"{prefixes[split]}_probe_{key}": value for key, value in measured.items()}
    return found


def negative_transfer(
    data: Data,
    split: str,
    results: dict[str, float],
    prefix: str,
    trained: np.ndarray,
    probed: np.ndarray,
) -> dict[str, str] | None:
    """A warning where the trained model ends below the probe by more than two standard errors.

    For accuracy the error is that of the difference on the same rows; for other metrics it is taken from the width of
    the trained model's interval, which is wider, so that fewer cases are called.
    """
    name = headline(data.problem_type)
    value, before = results.get(f"{prefix}_{name}"), results.get(f"{prefix}_probe_{name}")
    if value is None or before is None or value >= before:
        return None
    error = standard_error(data, split, results, prefix, trained, probed)
    if error is None or before - value <= 2 * error:
        return None
    what = f"{name} {value:.4f} is below that of a solved head on the untouched checkpoint, {before:.4f}: negative transfer"
    mend = "use --strategy feature-extraction or lp-ft, a lower --learning_rate, or fewer epochs"
    return {"where": split, "what": what, "mend": mend}


def standard_error(
    data: Data, split: str, results: dict[str, float], prefix: str, trained: np.ndarray, probed: np.ndarray
) -> float | None:
    """Of the difference between the trained model's headline metric and the probe's; None where it is not known."""
    problem, name = data.problem_type, headline(data.problem_type)
    if problem == "single_label_classification":
        labels = label_array(data.splits[split], data)
        right = [
            np.asarray(predicted(problem, scores) == labels, dtype=float) for scores in (trained, probed)
        ]
        return float(np.std(right[0] - right[1]) / np.sqrt(len(labels)))
    low, high = (results.get(f"{prefix}_{name}_ci95_{end}") for end in ("low", "high"))
    return None if low is None or high is None else (high - low) / 3.92 * 2**0.5


def transfer_warnings(
    data: Data,
    results: dict[str, float],
    trained: dict[str, Any],
    probed: dict[str, Any],
    prefixes: dict[str, str],
) -> list[dict[str, str]]:
    """`negative_transfer` on each split that both were measured on."""
    found = [
        negative_transfer(data, split, results, prefixes[split], trained[split], probed[split])
        for split in probed
        if split in trained
    ]
    return [warning for warning in found if warning]
