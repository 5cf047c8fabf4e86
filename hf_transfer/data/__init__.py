"""Data: sources, columns, labels, splits, audit. `load` joins them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_transfer.data.data import Data
    from hf_transfer.data.loading import load
    from hf_transfer.data.unlabelled import read_rows

HOMES = {"Data": "data", "load": "loading", "read_rows": "unlabelled"}  # imported when first asked for

__all__ = ["Data", "examples", "load", "read_rows"]


def __getattr__(name: str) -> Any:
    if name in HOMES:
        from importlib import import_module

        return getattr(import_module(f"hf_transfer.data.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def examples(name: str) -> Path:
    """Folder of a data set that is shipped with the package, e.g. `everyday_sentiment`.

    Raises:
        Problems: there is no such data set.
    """
    from hf_transfer.problems import Problem, Problems, nearest

    here = Path(__file__).resolve().parent
    known = sorted(path.name for path in here.iterdir() if path.is_dir() and any(path.glob("*.csv")))
    if name not in known:
        what = f"there is no example data set {name!r}{nearest(name, known)}"
        raise Problems(Problem("examples", what, f"choose {', '.join(known)}" if known else ""))
    return here / name
