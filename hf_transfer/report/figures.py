"""The metrics of a run with interval and baseline, and the words that keep them honest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .read import Record
from .wording import LOWER_IS_BETTER, METRICS, count, metric_name, number, rate, share

_NO_METRIC = (
    "loss",
    "runtime",
    "samples_per_second",
    "steps_per_second",
    "samples",
    "model_preparation_time",
)


@dataclass(frozen=True)
class Figure:
    """A metric as measured, with its bootstrap 95 % interval, what the baseline reaches, the probe of the untouched
    checkpoint, and the same model from random weights (None: unknown)."""

    key: str
    name: str
    value: float
    low: float | None
    high: float | None
    baseline: float | None
    probe: float | None = None
    scratch: float | None = None

    @property
    def verdict(self) -> str:
        """How the figure stands to the baseline, in one sentence; empty when that is unknown."""
        if self.baseline is None or self.low is None or self.high is None:
            return ""
        worst, value, baseline = self.low, self.value, self.baseline
        if self.key in LOWER_IS_BETTER:
            worst, value, baseline = -self.high, -self.value, -self.baseline
        if worst > baseline:
            return "The whole interval is better than the baseline."
        if value > baseline:
            return "The interval reaches down to the baseline: the gain may be chance."
        return "This is not better than the baseline."


def figures(record: Record, prefix: str | None) -> list[Figure]:
    """The metrics under a prefix (`eval`, `test`), the headline first; figures that are not finite are left out."""
    if prefix is None:
        return []
    values = {key.removeprefix(f"{prefix}_"): finite(value) for key, value in record.results.items()
              if key.startswith(f"{prefix}_")}  # fmt: skip
    keys = [
        key
        for key in values
        if key not in _NO_METRIC
        and not key.startswith(("baseline_", "probe_", "scratch_"))
        and "_ci95_" not in key
    ]
    order = [record.headline, *METRICS]
    keys.sort(key=lambda key: (order.index(key) if key in order else len(order), key))
    found = []
    for key in keys:
        value = values[key]
        if value is not None:
            low, high = values.get(f"{key}_ci95_low"), values.get(f"{key}_ci95_high")
            name = metric_name(
                key, str(record.run.get("task") if key == "perplexity" else record.problem_type)
            )
            beside = [values.get(f"{kind}_{key}") for kind in ("baseline", "probe", "scratch")]
            if drawn(record):
                beside[0] = None
            found.append(Figure(key, name, value, low, high, *beside))
    return found


def headline(record: Record) -> Figure | None:
    """The figure the model was chosen by where it was measured, else the first there is."""
    found = figures(record, record.measured)
    return next((figure for figure in found if figure.key == record.headline), found[0] if found else None)


def finite(value: Any) -> float | None:
    """The value as a float, or None when it is no finite number."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def drawn(record: Record) -> bool:
    """Whether a language model's head was new: its perplexity before training says nothing, and is no baseline."""
    return record.problem_type == "language_modeling" and bool(record.base.get("new"))


def baseline_words(record: Record) -> str:
    """What the baseline does, in words."""
    if drawn(record):
        return "left out: the checkpoint brought no head for this, and what one drawn at random gives says nothing"
    if record.problem_type == "language_modeling":
        return "the checkpoint before training, on the same tokens"
    if record.problem_type == "regression":
        return "always the mean of the training values (a constant correlates with nothing: 0)"
    if record.problem_type == "multi_label_classification":
        return "the same, best constant set of labels for every row"
    counts = ((record.audit.get("rows") or {}).get("train") or {}).get("labels") or {}
    most = f" (“{max(counts, key=lambda label: counts[label])}”)" if counts else ""
    return f"always the most frequent class of the training rows{most}"


def probe_words(record: Record) -> str:
    """What the probe is, in words."""
    kind = "ridge regression" if record.problem_type == "regression" else "logistic regression"
    read = "mean over the tokens" if record.run.get("probe_pooling") == "mean" else "features"
    return f"{kind} on the {read} of the checkpoint before training: what it knew already"


def scratch_words(record: Record) -> str:
    """What the model from scratch is, in words."""
    facts = record.run.get("scratch") or {}
    long = "" if facts.get("steps") is None else f" for {count(facts['steps'])} steps"
    how = f"at {rate(facts['learning_rate'])}, seed {facts.get('seed')}" if facts.get("learning_rate") else ""
    return f"the same model trained whole from random weights on the same rows{long} {how}: what pretraining was worth"


def forgetting_words(record: Record) -> str:
    """How far the model has moved from the checkpoint, in one sentence; empty when it was not watched."""
    found = record.run.get("forgetting") or {}
    moved = [row for row in found.get("groups") or [] if finite(row.get("relative_distance")) is not None]
    parts = []
    if moved:
        most = max(moved, key=lambda row: float(row["relative_distance"]))
        cka = finite(most.get("cka"))
        beside = "" if cka is None else f", linear CKA {number(cka)}"
        how = f"relative distance {number(most['relative_distance'])}{beside}"
        parts.append(
            f"the features moved most in {most['group']} ({how})"
            if most["relative_distance"]
            else "no feature moved"
        )
    head = found.get("head") or {}
    if "agreement" in head:
        what = "labels" if record.problem_type == "multi_label_classification" else "rows"
        parts.append(
            f"the checkpoint's own head gave the same answer on {share(head['agreement'])} of the {what} "
            f"(mean KL divergence {number(head['kl'])})"
        )
    elif head:
        parts.append(
            f"the values differ from those of its own head by {number(head['mean_difference'])} on average"
        )
    if words := found.get("masked_lm"):
        parts.append(
            f"the loss of the checkpoint's head for masked words went from {number(words['before'])} to "
            f"{number(words['after'])} on {count(words['tokens'])} masked tokens of a general text"
        )
    where = f"Compared with the checkpoint on {count(found.get('rows'))} {found.get('split')} rows"
    return f"{where}, {('; ' if len(parts) > 2 else ' and ').join(parts)}." if parts else ""


def measured_words(record: Record) -> str:
    """Where the figures were measured, said so that nobody takes a validation figure for a test figure."""
    if record.measured is None:
        return "not evaluated"
    rows = f"{len(record.predictions):,} rows of " if record.predictions is not None else ""
    if not record.phases:
        return f"{rows}the {record.split} split; nothing was trained or chosen in this run"
    if record.measured == "test" or record.run.get("chosen_on_validation") == []:
        return f"{rows}the {record.split} split, which took no part in training or in choosing the model"
    return f"{rows}the {record.split} split: chosen and reported on validation, so a little flattering"
