"""A wrong or odd input as plain data: what lies in the working folder, and what is typed there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Content = str | bytes | Callable[[Path, Path], object]
"""Of a file: its text or bytes, or a function that makes it, given its path and the folder of checkpoints."""


@dataclass(frozen=True)
class Case:
    """`python recipes/RECIPE.py FLAGS` in an empty folder with `files`, and the exit code that is due.

    Attributes:
        name: how the page calls it.
        flags: as typed; MODELS is the folder of checkpoints.
        files: path -> content; a path that ends in a slash is an empty folder.
        code: 2 leaves nothing behind, 0 a run folder.
    """

    name: str
    flags: str = "--dataset_name a.csv"
    files: Mapping[str, Content] = field(default_factory=dict)
    code: int = 2
    recipe: str = "sentiment"
