"""Predictions on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_transfer.inputs import Inputs

SHOWN = 50  # rows


def print_predictions(inputs: Inputs, predictions: Sequence[dict[str, Any]]) -> None:
    """A table of inputs and what is predicted, at most `SHOWN` rows."""
    from rich.markup import escape
    from rich.table import Table

    from hf_transfer.plan import console

    out, table = console(), Table(box=None, padding=(0, 2, 0, 0))
    for role in inputs.columns:
        table.add_column(role, no_wrap=True, overflow="ellipsis", max_width=70, ratio=1)
    for name in ("value",) if "value" in predictions[0] else ("prediction", "score"):
        table.add_column(
            name, justify="left" if name == "prediction" else "right", no_wrap=name != "prediction"
        )
    shown = list(zip(*(_readable(inputs, role) for role in inputs.columns), strict=True))
    for given, row in zip(shown, predictions, strict=False):
        table.add_row(*(escape(" ".join(text.split())) for text in given), *map(escape, _cells(row)))
    out.print(table)
    if len(predictions) > SHOWN:
        out.print(f"... and {len(predictions) - SHOWN:,} more rows: --output predictions.csv writes them all")


def _readable(inputs: Inputs, role: str) -> list[str]:
    """The first inputs of a role as texts: images by their folder and file."""
    if role != "image":
        return [str(text) for text in inputs.rows[role][:SHOWN]]
    from hf_transfer.data.tables import column_of

    cells = column_of(inputs.rows, role).slice(0, SHOWN).to_pylist()
    paths = [Path((cell or {}).get("path") or f"image {i}") for i, cell in enumerate(cells)]
    return [str(Path(*path.parts[-2:])) if path.parent.name else path.name for path in paths]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if "value" in row:
        return (f"{row['value']:.4f}",)
    if "labels" in row:
        return ", ".join(row["labels"]) or "-", ", ".join(f"{score:.3f}" for score in row["scores"]) or "-"
    return row["label"], f"{row['score']:.3f}"
