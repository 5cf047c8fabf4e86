"""The report: one HTML file for a browser or a printer that loads nothing from elsewhere and runs no script."""

from __future__ import annotations

import base64
import struct
from functools import cache
from pathlib import Path
from typing import Any

from hf_transfer.run_folder import write_text

from . import tables, training
from .figures import (
    baseline_words,
    figures,
    forgetting_words,
    headline,
    measured_words,
    probe_words,
    scratch_words,
)
from .plots import DPI, write_plots
from .read import Record, read_record
from .wording import FILTERS, count, duration, given, metric_name, without_paths

SHARPNESS = DPI / 96  # image pixels to a CSS pixel
ALTERNATIVES = {
    "learning_curve": "Line plots over training steps: loss, and the metric the model was chosen by on validation.",
    "confusion": "Matrix of true against predicted classes; the table beside it lists the pairs mixed up most.",
    "per_class": "Bars of F1 per class; the same figures are in the table of classes.",
    "drift": "Lines over layers, from the input up: how far features and weights moved, and how alike features stayed.",
    "scatter": "Scatter of predicted against actual values with the diagonal, and a histogram of the residuals.",
}


def write_report(folder: Path | str) -> Path:
    """Write `plots/*.png` and the self-contained `report.html` of a run folder; returns the page's path.

    The page shows texts of the data (mistakes), escaped: it is for the owner of the data and is not pushed by default.
    Raises `Problems` when the folder is no run folder.
    """
    plots = write_plots(folder)
    record = read_record(folder)
    page = _environment().get_template("report.html.jinja").render(**_view(record, plots))
    path = record.folder / "report.html"
    write_text(path, page)
    return path


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader

    here = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=here, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= FILTERS
    return environment


def _view(record: Record, plots: dict[str, Path]) -> dict[str, Any]:
    """Everything the template shows, worked out beforehand."""
    classes = tables.per_class(record) if tables.has_classes(record) else []
    single = record.problem_type == "single_label_classification"
    measured = figures(record, record.measured)
    splits, label_counts = tables.label_counts(record)
    return {
        "title": title(record),
        "record": record,
        "run": record.run,
        "what": what_it_does(record),
        "measured": measured,
        "headline": headline(record),
        "where": measured_words(record),
        "baseline": baseline_words(record),
        "probe": probe_words(record),
        "scratch": scratch_words(record),
        "forgetting": forgetting_words(record),
        "drift": (record.run.get("forgetting") or {}).get("groups") or [],
        "validation": {figure.key: figure for figure in figures(record, "eval")},
        "kind": record.problem_type.split("_")[0],
        "classes": classes,
        "pairs": tables.confused_pairs(record) if classes and single else [],
        "mistakes": tables.mistakes(record),
        "warnings": tables.warnings(record),
        "splits": splits,
        "label_counts": label_counts,
        "best_kept": (record.run.get("arguments") or {}).get("load_best_model_at_end"),
        "phases": [
            {
                **phase,
                "rows": training.learned(phase),
                "how": training.solved_words(phase.get("solved") or {}),
            }
            for phase in record.phases
        ],
        "settings": given(record.run),
        "facts": facts(record),
        "clean": without_paths,
        "metric_name": metric_name,
        "plots": {name: _image(path) for name, path in plots.items()},
        "alternatives": ALTERNATIVES,
    }


def _image(path: Path) -> dict[str, Any]:
    """A PNG as `uri` (its bytes in base64) with the `width` and `height` in CSS pixels to show it at."""
    content = path.read_bytes()
    width, height = struct.unpack(">II", content[16:24])  # of the IHDR chunk, which is always first
    uri = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    return {"uri": uri, "width": round(width / SHARPNESS), "height": round(height / SHARPNESS)}


def title(record: Record) -> str:
    """A name for the run: the task and the data."""
    data = without_paths(str(record.data.get("name") or "")).strip("…")
    work = str(record.run.get("task") or "run").replace("_", " ").replace("-", " ")
    return f"{work[:1].upper()}{work[1:]}" + (f" on {data}" if data else "")


def what_it_does(record: Record) -> str:
    """One sentence: which model, how adapted, for what."""
    base = without_paths(str(record.base.get("id") or record.base.get("name") or "a pretrained model"))
    n = len(record.labels)
    words = "finds masked words" if record.run.get("task") == "fill-mask" else "tells the next word"
    work = {
        "language_modeling": f"{words} of texts like these",
        "regression": "predicts a number",
        "multi_label_classification": f"gives each input any of {n} labels",
    }.get(record.problem_type, f"sorts each input into one of {n} classes")
    peft = (record.run.get("peft") or {}).get("type")
    strategy = record.run.get("strategy")
    how = ", ".join(
        part for part in (f"strategy {strategy}" if strategy else "", str(peft) if peft else "") if part
    )
    return f"{base} was adapted{f' ({how})' if how else ''} and now {work}."


def facts(record: Record) -> list[tuple[str, str]]:
    """What was run, on what, with which versions: pairs of words, without what is not known."""
    run, base, data = record.run, record.base, record.data
    hardware, seconds = run.get("hardware") or {}, run.get("seconds") or {}
    peft, check = run.get("peft") or {}, run.get("reload_check") or {}
    steps, batch = run.get("global_step"), run.get("global_batch_size")
    pairs = [
        ("Task", run.get("task")),
        ("Base model", base.get("id") or base.get("name")),
        ("Base revision", base.get("revision")),
        ("Base adapted before on", base.get("adapted_on")),
        ("Base licence", base.get("license") or "unknown"),
        ("Model class", base.get("class")),
        ("Parameters", count(base.get("parameters")) if base.get("parameters") else None),
        ("New parameters", ", ".join(map(str, base.get("new") or []))),
        ("Strategy", run.get("strategy")),
        ("Head reads", "the mean over the tokens" if run.get("pooling") == "mean" else None),
        (
            "Adapter",
            ", ".join(f"{key} {value}" for key, value in peft.items() if not isinstance(value, dict | list)),
        ),
        ("Data", data.get("hub_id") or data.get("name")),
        ("Data licence", data.get("license") or "unknown"),
        ("Data fingerprint", data.get("fingerprint")),
        ("Columns", ", ".join(f"{role}: {name}" for role, name in (data.get("columns") or {}).items())),
        ("Steps", f"{count(steps)} of {count(batch)} rows each" if steps and batch else None),
        ("Training time", duration(seconds["train"]) if "train" in seconds else None),
        ("Evaluation time", duration(seconds["evaluate"]) if "evaluate" in seconds else None),
        ("Seed", run.get("seed")),
        ("Hardware", ", ".join(f"{key} {value}" for key, value in hardware.items() if value is not None)),
        ("Processes", run.get("world_size")),
        ("Saved model reloaded", _reloaded(check)),
        ("Created", run.get("created")),
        ("Versions", ", ".join(f"{name} {version}" for name, version in (run.get("versions") or {}).items())),
    ]
    return [(name, without_paths(str(value))) for name, value in pairs if value not in (None, "", {}, [])]


def _reloaded(check: dict[str, Any]) -> str | None:
    if not check:
        return None
    merged = ", adapter merged" if check.get("merged") else ""
    return f"largest difference of a logit {check.get('max_difference', float('nan')):.1e} over {check.get('rows')} rows{merged}"
