"""Did it transfer? What the checkpoint knew before training, as a solved head on its features tells; and the comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.evaluation.classification import compute, probabilities
from hf_transfer.evaluation.compared import Compared, compared
from hf_transfer.evaluation.thresholds import tune
from hf_transfer.pooling import takes_mean, untouched_head, words
from hf_transfer.problems import Problems
from hf_transfer.solving import feature_rows, mean_rows, readout_of, through
from hf_transfer.tasks.classification import label_array

if TYPE_CHECKING:
    from hf_transfer.data import Data
    from hf_transfer.training.setup import Setup

TRAIN_OTHERWISE = (
    "or train slower or shorter if the training loss has fallen far, faster or longer if it has hardly fallen"
)


@dataclass(frozen=True)
class Probe:
    """What a head solved on the untouched checkpoint says.

    Attributes:
        logits: (rows, labels) a split; none where the model's scores are not a linear function of features.
        pooling: what the head reads: `own` or `mean`.
        compared: the two on held-out rows, where both were tried.
    """

    logits: dict[str, np.ndarray] = field(default_factory=dict)
    pooling: str = "own"
    compared: Compared | None = None


def probe(setup: Setup, splits: list[str]) -> Probe:
    """A head solved on the features of the model as it stands, which is not changed: `pooling.untouched_head`."""
    readout = setup.readout = setup.readout or readout_of(setup)
    if readout is None or "train" not in setup.prepared.splits:
        return Probe()
    try:
        view, solved, found = untouched_head(setup)
    except (Problems, ValueError):  # labels that no head fits: training will say what is wrong
        return Probe()
    head = solved.head
    if found is not None and found.better:
        means = {split: mean_rows(setup, split) for split in splits}
        return Probe({split: head(rows.features) for split, rows in means.items() if rows}, "mean", found)
    return Probe(
        {split: head(through(setup, view, feature_rows(setup, split)).features) for split in splits},
        "own" if readout.tokens else setup.pooling,  # a vote of means leaves the model as it was
        found,
    )


def pooling_hint(setup: Setup, found: Probe) -> list[dict[str, str]]:
    """A warning where the run's solved head reads what the class reads, and the mean over the tokens would be better."""
    if found.pooling != "mean" or setup.pooling == "mean" or found.compared is None or setup.is_peft:
        return []
    if not takes_mean(setup.phases):
        return []
    what = f"the mean over the tokens would have been better: {words(found.compared)}"
    return [{"where": "features", "what": what, "mend": "use --pooling mean"}]


def beside_results(
    data: Data, kind: str, logits: dict[str, np.ndarray], prefixes: dict[str, str]
) -> dict[str, float]:
    """Metrics of another model on the run's rows as `eval_<kind>_<key>` and `test_<kind>_<key>`."""
    problem, size, found = data.problem_type, max(1, len(data.labels)), dict[str, float]()
    thresholds = tuned(data, logits)
    for split, scores in logits.items():
        labels = label_array(data.splits[split], data)
        measured = compute(problem, scores, labels, num_labels=size, thresholds=thresholds)
        found |= {f"{prefixes[split]}_{kind}_{key}": value for key, value in measured.items()}
    return found


def tuned(data: Data, logits: dict[str, np.ndarray]) -> np.ndarray | None:
    """From which probability on a model gives each of several labels: tuned on validation, as the run's own are; else None."""
    if data.problem_type != "multi_label_classification" or "validation" not in logits:
        return None
    labels = label_array(data.splits["validation"], data)
    return tune(probabilities(data.problem_type, logits["validation"]), labels)


def side_by_side(data: Data, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Compared]:
    """Two models' scores by split, compared on each that both have, at the thresholds that their figures in the results have."""
    one, other = (0.5 if (cuts := tuned(data, logits)) is None else cuts for logits in (first, second))
    return {
        split: compared(
            data.problem_type,
            first[split],
            second[split],
            label_array(data.splits[split], data),
            (one, other),
        )
        for split in first
        if split in second
    }


def transfer_warnings(
    data: Data, trained: dict[str, Any], probed: dict[str, Any], pooling: str = "own", learned: bool = True
) -> list[dict[str, str]]:
    """A warning for each split where the trained model ends below the probe by more than two standard errors of the difference.

    Args:
        trained, probed: scores (rows, labels) by split.
        pooling: what the probe's head reads.
        learned: whether anything but the head did; else it is only that another head reads the same features better.
    """
    on = "the mean over the tokens of the" if pooling == "mean" else "the"
    mend = f"use --strategy feature-extraction or lp-ft; {TRAIN_OTHERWISE}"
    if pooling == "mean":
        mend = "use --strategy feature-extraction --pooling mean, or more rows, or more epochs"
    if not learned:
        mend = "use --strategy feature-extraction" + " --pooling mean" * (pooling == "mean")
    warnings = []
    for split, found in side_by_side(data, probed, trained).items():
        if found.first - found.second > 2 * found.error:
            what = (
                f"{found.metric} {found.second:.4f} is below that of a solved head on {on} untouched checkpoint, "
                f"{found.first:.4f}: " + ("negative transfer" if learned else "it reads the features better")
            )
            warnings.append({"where": split, "what": what, "mend": mend})
    return warnings
