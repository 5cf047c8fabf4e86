"""The csv files that benchmarks write row by row, so that nothing is lost and a run that is there is not run again."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def held(path: Path, key: Sequence[str]) -> set[tuple[str, ...]]:
    """The values of the columns `key`, as text, in each row that the file holds; empty where there is no file."""
    if not path.is_file():
        return set()
    with path.open(newline="") as file:
        return {tuple(row[name] for name in key) for row in csv.DictReader(file)}


def add(path: Path, row: dict[str, Any], fields: Sequence[str] | None = None) -> None:
    """One row at the end of the file, with a head of `fields` (by default the row's own) if it is new."""
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fields or list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
