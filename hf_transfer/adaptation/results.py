"""What domain adaptation came to: perplexity before and after, the task, and the gain over the task without it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.problems import Problem, Problems
from hf_transfer.run import Run
from hf_transfer.run_folder import PREDICTIONS

if TYPE_CHECKING:
    import pandas as pd

    from hf_transfer.evaluation.compared import Compared


@dataclass(frozen=True)
class Adaptation:
    """What domain adaptation came to.

    Attributes:
        run: the task's, from the adapted checkpoint.
        language_model: the run on the texts, whose baseline is the perplexity before it.
        unadapted: the task's run from the original checkpoint; None unless it was asked for.
        gain: the two tasks' headline metrics on the same rows, with the interval of the difference.
    """

    run: Run
    language_model: Run
    unadapted: Run | None = None
    gain: Compared | None = None


def gain(unadapted: Run, adapted: Run) -> Compared:
    """The two runs' headline metrics on the split that both predicted, with the paired bootstrap over its rows.

    Raises:
        Problems: they predicted different rows, or none.
    """
    import pandas as pd

    from hf_transfer.evaluation.compared import compared

    record = adapted.record
    lacking = [
        run.output_dir for run in (unadapted, adapted) if not (Path(run.output_dir) / PREDICTIONS).is_file()
    ]
    if lacking:
        what = f"{lacking[0]} has no predictions to compare"
        raise Problems(Problem("comparison", what, "leave --do_eval or --do_predict on"))
    one, two = (pd.read_parquet(Path(run.output_dir) / PREDICTIONS) for run in (unadapted, adapted))
    if list(one["row"]) != list(two["row"]) or list(one["split"]) != list(two["split"]):
        raise Problems(
            Problem("comparison", "the two runs predicted different rows", "compare runs of the same data")
        )
    problem, labels = record["problem_type"], record["labels"]
    before, after = (_scores(table, problem, labels) for table in (one, two))
    return compared(problem, before, after, _truth(two, problem, labels), thresholds=(0.5, 0.5))


def _scores(table: pd.DataFrame, problem: str, labels: list[str]) -> Any:
    """Scores (rows, labels) by which the metric is that of a table of predictions; of a regression its values."""
    import numpy as np

    if problem == "regression":
        return table[["prediction"]].to_numpy(float)
    if problem == "multi_label_classification":  # at the thresholds that were tuned on validation
        return np.array(
            [[1.0 if name in set(row) else -1.0 for name in labels] for row in table["prediction"]]
        )
    return np.log(np.clip(table[[f"probability_{name}" for name in labels]].to_numpy(float), 1e-12, 1))


def _truth(table: pd.DataFrame, problem: str, labels: list[str]) -> Any:
    import numpy as np

    if problem == "regression":
        return table["label"].to_numpy(float)
    if problem == "multi_label_classification":
        return np.array([[float(name in set(row)) for name in labels] for row in table["label"]])
    return np.array([labels.index(name) for name in table["label"]])


def print_adaptation(found: Adaptation) -> None:
    """Perplexity before and after adapting, and the task's result; beside that without it, where it was asked for."""
    if os.environ.get("RANK", "0") != "0":
        return
    from rich.table import Table

    from hf_transfer.plan import NO_BASELINE, console

    table = Table(title="domain adaptation", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("", "before", "after", "95 % interval"):
        table.add_column(column, justify="right" if column else "left")
    for row in _rows(found):
        table.add_row(*row)
    out = console()
    out.print()
    out.print(table)
    if _drawn(found):
        out.print(f"  perplexity before: {NO_BASELINE}")
    if (compared := found.gain) is not None:
        side = "above" if compared.low > 0 else "below"
        sure = compared.low > 0 or compared.high < 0
        words = f"the whole interval is {side} 0" if sure else "0 is within the interval: it may be chance"
        out.print(
            f"  Adapting changed {compared.metric} by {compared.second - compared.first:+.4f}; {words}."
        )


def _drawn(found: Adaptation) -> bool:
    """Whether the language model's head was new: before training it tells nothing."""
    return bool(found.language_model.record["base_model"]["new"])


def _rows(found: Adaptation) -> list[tuple[str, str, str, str]]:
    """Cells: what, before, after, interval of the value after (of the difference, for a comparison)."""
    rows = []
    results = found.language_model.metrics
    kind = "of masked tokens" if found.language_model.record["task"] == "fill-mask" else "of the next token"
    for prefix, split in (("eval", "validation"), ("test", "test")):
        if f"{prefix}_perplexity" in results:
            rows.append(
                _row(
                    f"  perplexity {kind} ({split} texts)", f"{prefix}_perplexity", results, not _drawn(found)
                )
            )
    record = found.run.record
    prefix = "test" if "test" in record["evaluated_on"] else "eval"
    name, key = record["headline"], f"{prefix}_{record['headline']}"
    if (compared := found.gain) is not None:
        rows.append((f"  {name} ({record['evaluated_on'][prefix]})", f"{compared.first:.4f}", f"{compared.second:.4f}",
                     f"difference {compared.low:+.4f} .. {compared.high:+.4f}"))  # fmt: skip
    elif key in found.run.metrics:
        rows.append(
            _row(f"  {name} ({record['evaluated_on'][prefix]})", key, found.run.metrics, before=False)
        )
    return rows


def _row(
    title: str, key: str, results: Mapping[str, float], before: bool = True
) -> tuple[str, str, str, str]:
    prefix, _, name = key.partition("_")
    was = results.get(f"{prefix}_baseline_{name}") if before else None
    ends = [results.get(f"{key}_ci95_{end}") for end in ("low", "high")]
    span = f"{ends[0]:.4f} .. {ends[1]:.4f}" if None not in ends else ""
    return title, "" if was is None else f"{was:.4f}", f"{results[key]:.4f}", span
