"""The plots of a run folder, as PNG files without any text of the data.

Drawn with matplotlib's objects on Agg alone: no pyplot, no window, no state shared with a notebook.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from . import tables, training
from .figures import finite
from .read import Record, read_record
from .wording import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#2563eb", "#c2570c", "#6b7280"
DPI = 144
NAMED_CLASSES = 40  # more class names than this cannot be read on an axis
BARS = 30
COUNTED_CLASSES = 12  # nor more counts than this squared in a matrix


def write_plots(folder: Path | str) -> dict[str, Path]:
    """Draw what the run folder has figures for into `plots/`; returns file paths by name (`learning_curve`, ...).

    `learning_curve` needs the history; `confusion` and `per_class`, or for regression `scatter`, the predictions; `drift`, that forgetting was
    watched.
    """
    record = read_record(folder)
    drawn = {"learning_curve": learning_curve(record)}
    if record.problem_type == "regression":
        drawn["scatter"] = scatter(record)
    elif tables.has_classes(record):
        drawn["per_class"] = per_class(record)
        if record.problem_type == "single_label_classification":
            drawn["confusion"] = confusion(record)
    drawn["drift"] = drift(record)
    target = record.folder / "plots"
    target.mkdir(exist_ok=True)
    return {
        name: _save(figure, target / f"{name}.png") for name, figure in drawn.items() if figure is not None
    }


def learning_curve(record: Record) -> Figure | None:
    """Loss (training and validation) and the headline metric on validation, over steps; phases are marked."""
    train, validation = training.curve(record, "loss"), training.curve(record, "eval_loss")
    metric = training.curve(record, f"eval_{record.headline}")
    if not any(step > 0 for step in (*train[0], *validation[0])):
        return None  # nothing was trained, or the head was solved
    figure = _figure(9.6 if metric[0] else 6.4, 3.6)
    left, *right = figure.subplots(1, 2 if metric[0] else 1, squeeze=False)[0]
    left.plot(*train, color=BLUE, linewidth=1.4, label="training", marker="." if len(train[0]) < 40 else None)
    if validation[0]:
        left.plot(*validation, color=ORANGE, linewidth=1.8, marker="o", markersize=4, label="validation")
    _name(left, "Loss", "step", "")
    left.legend(frameon=False)
    for axes in right:
        axes.plot(*metric, color=ORANGE, linewidth=1.8, marker="o", markersize=4, label="validation")
        if record.headline == "perplexity":
            axes.set_yscale("log")  # that of a head drawn at random would hide all others
        _mark_kept(axes, record)
        baseline = finite(record.results.get(f"eval_baseline_{record.headline}"))
        if baseline is not None:
            axes.axhline(baseline, color=GREY, linestyle=":", linewidth=1.4, label="baseline")
        probe = finite(record.results.get(f"eval_probe_{record.headline}"))
        if probe is not None:
            axes.axhline(probe, color=GREY, linestyle="--", linewidth=1.2, label="probe before training")
        _name(axes, f"{METRICS.get(record.headline, record.headline)} on validation", "step", "")
        axes.legend(frameon=False)
    for axes in (left, *right):
        axes.set_xlim(left=0)
        _mark_phases(axes, record)
    return figure


def _mark_kept(axes: Axes, record: Record) -> None:
    """A ring around the step of the last phase whose weights were kept, where the run chose by this metric."""
    number, best = len(record.phases), (record.phases[-1].get("best") if record.phases else None) or {}
    value, step = finite(best.get("value")), finite(best.get("step"))
    if value is None or step is None or best.get("metric") != f"eval_{record.headline}":
        return
    step += training.phase_offset(record, number)
    axes.plot([step], [value], "o", markersize=11, fillstyle="none", color=BLUE, label=f"kept: {value:.3f}")


def _mark_phases(axes: Axes, record: Record) -> None:
    """A line where each phase begins, and its name where there is room for it."""
    if len(record.phases) < 2:
        return
    start = 0
    for phase in record.phases:
        if start:
            axes.axvline(start, color=GREY, linewidth=0.8, alpha=0.6)
        if len(record.phases) <= 4:
            text = axes.text(start, 0.01, f" {phase.get('name', '')}", transform=axes.get_xaxis_transform(),
                             fontsize=8, color=GREY, va="bottom")  # fmt: skip
            text.set_parse_math(False)
        start += int(phase.get("steps") or 0)


def confusion(record: Record) -> Figure:
    """Confusion matrix, coloured by the share of each true class; counts where they can be read."""
    table = tables.confusion(record)
    n = len(record.labels)
    shares = table / table.sum(axis=1, keepdims=True).clip(min=1)
    named = n <= NAMED_CLASSES
    side = min(9.0, 2.6 + 0.3 * n) if named else 6.5
    figure = _figure(side + 1.6, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    _name(
        axes,
        "",
        "predicted class" + ("" if named else " (number)"),
        "true class" + ("" if named else " (number)"),
    )
    if named:
        names, size = _drawable(record.labels), 10 if n <= 12 else 7
        _ticks(axes, "x", names, size, rotation=0 if max(map(len, names)) * n < 45 else 90)
        _ticks(axes, "y", names, size)
    if n <= COUNTED_CLASSES:
        for i in range(n):
            for j in range(n):
                ink = "white" if shares[i, j] > 0.55 else "black"
                axes.text(
                    j, i, f"{table[i, j]:,}", ha="center", va="center", color=ink, fontsize=10 if n < 8 else 8
                )
    axes.grid(False)
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true class")
    return figure


def per_class(record: Record) -> Figure:
    """F1 of each class as bars, best on top; of many classes the weakest are shown."""
    rows = [row for row in tables.per_class(record) if row["f1"] is not None]
    rows = sorted(rows, key=lambda row: row["f1"])[:BARS]
    names = dict(zip(record.labels, _drawable(record.labels), strict=True))
    figure = _figure(6.8, 1.0 + 0.26 * max(len(rows), 2))
    axes = figure.subplots()
    axes.barh(range(len(rows)), [row["f1"] for row in rows], color=BLUE, height=0.7)
    for position, row in enumerate(rows):
        axes.text(
            row["f1"] + 0.01, position, f"{row['f1']:.2f}  (n={row['support']:,})", va="center", fontsize=8
        )
    left_out = len(record.labels) - len(rows)
    kind = "label" if record.problem_type == "multi_label_classification" else "class"
    _name(axes, f"F1 per {kind}{' (the weakest)' if left_out and len(rows) == BARS else ''}", "", "")
    axes.set_xlim(0, 1.2)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.set_ylim(-0.6, max(len(rows), 2) - 0.4)
    _ticks(axes, "y", [names[row["label"]] for row in rows], 9)
    axes.grid(False, axis="y")
    return figure


def drift(record: Record) -> Figure | None:
    """Where forgetting was watched: features and weights against the checkpoint's, over the layer groups."""
    rows = (record.run.get("forgetting") or {}).get("groups") or []
    names = [str(row["group"]).removeprefix("block.").replace("embeddings", "E") for row in rows]
    lines = {
        key: [math.nan if (value := finite(row.get(key))) is None else value for row in rows]
        for key in ("relative_distance", "weight_distance", "cka")
    }
    if all(math.isnan(value) for values in lines.values() for value in values):
        return None
    figure = _figure(9.6, 3.6)
    left, right = figure.subplots(1, 2)
    for key, color, name in (("relative_distance", BLUE, "features"), ("weight_distance", ORANGE, "weights")):
        left.plot(lines[key], color=color, marker="o", markersize=4, linewidth=1.8, label=name)
    right.plot(lines["cka"], color=BLUE, marker="o", markersize=4, linewidth=1.8)
    _name(left, "Relative distance from the checkpoint", "layer group (E: embeddings, numbers: blocks)", "")
    _name(right, "Linear CKA with the checkpoint", "layer group (E: embeddings, numbers: blocks)", "")
    left.legend(frameon=False)
    left.set_ylim(bottom=0)
    known = [value for value in lines["cka"] if not math.isnan(value)]
    right.set_ylim(min(0.9, *known, 1) - 0.02, 1.01)  # a difference of a thousandth shall look like one
    step = max(1, len(names) // 12)
    for axes in (left, right):
        axes.set_xticks(range(0, len(names), step), names[::step], fontsize=9)
    return figure


def scatter(record: Record) -> Figure | None:
    """Regression: predicted against actual with the diagonal, and the residuals as a histogram."""
    frame = record.predictions
    if frame is None or not {"label", "prediction"} <= set(frame.columns):
        return None
    frame = frame[["label", "prediction"]].astype(float).dropna()
    actual, predicted = frame["label"].to_numpy(), frame["prediction"].to_numpy()
    if not len(frame):
        return None
    figure = _figure(9.6, 4.2)
    left, right = figure.subplots(1, 2)
    left.scatter(
        actual, predicted, s=14, alpha=max(0.15, min(0.7, 300 / len(frame))), color=BLUE, linewidths=0
    )
    low, high = min(actual.min(), predicted.min()), max(actual.max(), predicted.max())
    left.plot([low, high], [low, high], color=GREY, linestyle="--", linewidth=1.2, label="predicted = actual")
    _name(left, "Predicted and actual", "actual", "predicted")
    left.legend(frameon=False)
    right.hist(
        predicted - actual,
        bins=min(40, max(8, len(frame) // 10)),
        color=BLUE,
        edgecolor="white",
        linewidth=0.4,
    )
    right.axvline(0, color=GREY, linestyle="--", linewidth=1.2)
    _name(right, "Residuals", "predicted - actual", "rows")
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _name(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _ticks(axes: Axes, axis: str, names: list[str], size: int, rotation: int = 0) -> None:
    """Class names at the ticks, taken as they are: a `$` in a name is no formula."""
    if axis == "x":
        axes.set_xticks(range(len(names)), names, fontsize=size, rotation=rotation)
    else:
        axes.set_yticks(range(len(names)), names, fontsize=size)
    for label in axes.get_xticklabels() if axis == "x" else axes.get_yticklabels():
        label.set_parse_math(False)


def _drawable(labels: list[str], longest: int = 28) -> list[str]:
    """Names that matplotlib's font can draw, shortened; one it cannot (Chinese, emoji) becomes its number."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    glyphs = get_font(findfont(FontProperties())).get_charmap()
    names = []
    for position, label in enumerate(labels):
        flat = " ".join(label.split())
        short = flat if len(flat) <= longest else flat[: longest - 1] + "…"
        names.append(short if all(ord(letter) in glyphs for letter in short) else f"class {position}")
    return names


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return path
