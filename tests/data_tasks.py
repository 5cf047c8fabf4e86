"""The part of a task that loading data needs, without any model."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest

from hf_transfer.problems import Problems


@dataclass(frozen=True)
class Roles:
    inputs: tuple[str, ...]
    optional: tuple[str, ...] = ()
    target: str = "label"


TEXT = Roles(("text", "text_pair"), ("text_pair",))
IMAGE = Roles(("image",))


def write_csv(
    path: Path, rows: list[tuple[object, ...]], header: tuple[str, ...] = ("text", "label")
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([header, *rows])
    return path


def reviews(count: int = 40) -> list[tuple[str, str]]:
    """Different texts, half of them of each class."""
    return [
        (f"review number {i} was {'fine' if i % 2 else 'dull'}", "good" if i % 2 else "bad")
        for i in range(count)
    ]


def refused(call, *args, **options) -> str:
    """The text of the problems that a call raises."""
    with pytest.raises(Problems) as error:
        call(*args, **options)
    return str(error.value)
