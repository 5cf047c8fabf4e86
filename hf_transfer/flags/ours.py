"""The flags of a recipe's dataclass."""

from __future__ import annotations

import sys
from dataclasses import MISSING, field, fields
from pathlib import Path
from typing import Any

from hf_transfer.flags.values import Flag, kind_of
from hf_transfer.problems import Problem, Problems


def flag(group: str, default: Any, help: str, least: float | None = None, most: float | None = None) -> Any:
    """A dataclass field that is a flag: its heading in `--help`, default, help, least and greatest value."""
    return field(default=default, metadata={"group": group, "help": help, "least": least, "most": most})


def our_flags(cls: type) -> dict[str, Flag]:
    """Name -> `Flag` of the fields of `cls`; one that a recipe gives another default keeps its help."""
    table = {}
    for item in fields(cls):
        if item.init:
            history = [vars(parent)["__dataclass_fields__"][item.name] for parent in reversed(cls.__mro__)
                       if item.name in vars(parent).get("__dataclass_fields__", {})]  # fmt: skip
            told: dict[str, Any] = {}
            for earlier in history:
                told |= earlier.metadata
            default = item.default if item.default_factory is MISSING else item.default_factory()
            kind = kind_of(item.type)
            table[item.name] = Flag(
                name=item.name,
                kind=kind,
                default=None if default is MISSING else default,
                help=told.get("help", ""),
                group=told.get("group", "Recipe"),
                bare="bool" in kind.types,
                least=told.get("least"),
                most=told.get("most"),
            )
    return table


def recipe_name(cls: type) -> str:
    """`cls.recipe`, else the name of the script the class is written in, else "run" (a notebook)."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    own = file and not cls.__module__.startswith("hf_transfer.arguments")
    return getattr(cls, "recipe", "") or (Path(file).stem if file and own else "run")


def default_output_dir(recipe: str, resume: bool, overwrite: bool) -> Path:
    """`outputs/<recipe>` or the next free number; with `resume` the last used, with `overwrite` the first.

    All ranks come to the same answer: nothing is written before they have met in `TrainingArguments`.
    """
    first = Path("outputs") / recipe
    taken: list[Path] = []
    while _holds(folder := first if not taken else Path(f"{first}-{len(taken) + 1}")):
        taken.append(folder)
    if resume and not taken:
        what = f"there is no run in {first}"
        raise Problems(
            Problem("--resume_from_checkpoint", what, "name the folder of the run with --output_dir")
        )
    return taken[-1] if resume else first if overwrite else folder


def _holds(folder: Path) -> bool:
    return folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
