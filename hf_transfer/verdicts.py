"""What is wrong with a result, or will be: one sentence a split and one advice for all, so that no two contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_transfer.anatomy import HEAD
from hf_transfer.evaluation.classification import LOWER_IS_BETTER, headline
from hf_transfer.probing import TRAIN_OTHERWISE, pooling_hint, transfer_warnings
from hf_transfer.scratch import scratch_warnings

if TYPE_CHECKING:
    from hf_transfer.assess import Assessment
    from hf_transfer.finishing import Job
    from hf_transfer.training.setup import Setup

Warnings = list[dict[str, str]]
FAR = "begin with a solved head (--strategy lp-ft or ridge), or write the values in units in which they are about 1"


def verdicts(job: Job, found: Assessment) -> Warnings:
    """Warnings where the result is no better than the baseline, or worse than the probe or the model from scratch."""
    learned = not all(phase.solve for phase in job.setup.phases)
    probed: Warnings = []
    if job.probe:
        logits, pooling = job.probe.logits, job.probe.pooling
        probed = pooling_hint(job.setup, job.probe) or transfer_warnings(
            job.data, found.logits, logits, pooling, learned
        )
        if job.setup.shift.on():  # which a head that is solved leaves nothing to act on
            probed = [one | {"mend": f"without target rows {one['mend']}"} for one in probed]
    scratch = scratch_warnings(job.data, found.logits, job.scratch) if job.scratch else []
    return agreed(no_better(found.results, headline(job.data.problem_type), learned), probed, scratch)


def agreed(constant: Warnings, probed: Warnings, scratch: Sequence[dict[str, str]] = ()) -> Warnings:
    """The warnings, those about the same split in one, with the advice of whoever knows most: the probe, or scratch.

    Args:
        constant: from `no_better`. Beside a probe that is better its advice (train longer, at a higher rate) would be wrong,
            or a guess: the features are there, and a head that is solved on them is sure.
        probed: from `transfer_warnings` or `pooling_hint`; scratch: from `scratch_warnings`.
    """
    adviser = next((one for one in (*probed, *scratch, *constant) if one["mend"]), {"where": "", "mend": ""})
    advice = adviser["mend"]
    if constant and probed:
        advice = advice.replace(f"; {TRAIN_OTHERWISE}", ": both begin with that head")
    found: dict[str, list[str]] = {}
    for one in (*constant, *probed, *scratch):
        found.setdefault(one["where"], []).append(one["what"])
    return [
        {"where": where, "what": "; ".join(what), "mend": advice if where == adviser["where"] else ""}
        for where, what in found.items()
    ]


def no_better(results: dict[str, float], name: str, learned: bool = True) -> Warnings:
    """A warning where the model is no better than a constant answer, or tells texts no better than before.

    Args:
        learned: whether anything was trained step by step; a solved head has no rate and no length.
    """
    found, lower = [], name in LOWER_IS_BETTER
    best = "before training" if lower else "of the best constant answer"
    look = "look at the texts" if lower else "look at rows and labels"
    mend = f"train longer, or at a higher --learning_rate or --head_learning_rate, and {look}"
    if not learned:
        mend = "look at rows and labels, let more learn (--strategy full), or choose another --model_name_or_path"
    for prefix, split in (("test", "test"), ("eval", "validation")):
        value, constant = results.get(f"{prefix}_{name}"), results.get(f"{prefix}_baseline_{name}")
        if value is None or constant is None:
            continue
        if value >= constant if lower else value <= constant:
            what = f"{name} {value:.4f} is no better than that {best}, {constant:.4f}"
            found.append({"where": split, "what": what, "mend": mend})
            continue
        error, of_mean = results.get(f"{prefix}_mse"), results.get(f"{prefix}_baseline_mse")
        if error is not None and of_mean is not None and error >= of_mean:
            what = f"the values are far off, whatever their order: mse {error:.4g}, that {best} {of_mean:.4g}"
            found.append({"where": split, "what": what, "mend": FAR if learned else mend})
    return found


def far_values(setup: Setup) -> Warnings:
    """Before training: a warning where values lie so far from 0, or so close together, that a new head learns them slowly."""
    import numpy as np

    first = setup.phases[0]
    head = {name for group in setup.groups if group.name == HEAD for name in group.parameters}
    if setup.model.config.problem_type != "regression" or first.solve or not setup.args.do_train:
        return []
    values = np.asarray(setup.prepared.splits["train"]["labels"], dtype=np.float64)
    middle, spread = float(values.mean()), float(values.std())
    new = setup.fresh if setup.is_peft else head & setup.fresh  # an adapter's head has another name
    if not new or (abs(middle) <= 10 and 0.05 <= spread <= 10):
        return []
    what = f"values lie around {middle:.4g} (standard deviation {spread:.4g}), where a head that starts at 0 takes many steps to get"
    return [{"where": "train", "what": what, "mend": FAR}]
