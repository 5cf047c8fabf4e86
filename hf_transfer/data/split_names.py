"""Which of a source's tables is train, validation and test."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from hf_transfer.data.tables import Table, joined
from hf_transfer.problems import Problem, Problems, nearest

SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
    "test": ("test", "testing"),
}


WHOLE = "whole"  # the split name of rows that belong to no split yet


def split_of(name: str) -> str | None:
    """The split that a file, folder or key name speaks of: `reviews_dev.csv` -> validation; None without one."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    found = [split for split, names in SPLIT_WORDS.items() if words & set(names)]
    return found[0] if len(found) == 1 else None


def choose_splits(
    source: str, tables: Mapping[str, Table], wanted: Mapping[str, str | None]
) -> tuple[dict[str, Table], list[str]]:
    """The tables as train, validation and test (WHOLE rows are train), and the names of those left out.

    Args:
        source: what messages call it.
        wanted: split -> name in the source, or a slice of it such as `train[:10%]`.

    Raises:
        Problems: a wanted split is not there, no train, or several could be one split.
    """
    chosen: dict[str, Table] = {}
    problems: list[Problem] = []
    asked = [name for name in wanted.values() if name]
    for split in SPLIT_WORDS:
        given = wanted.get(split)
        fitting = [split] if split in tables else [name for name in tables if split_of(name) == split]
        if given:
            try:
                chosen[split] = _slice(tables, given, f"--{split}_split")
            except Problems as error:
                problems += error.problems
        elif len(fitting) > 1:
            what = f"several splits could be {split}: {', '.join(fitting)}"
            problems.append(Problem(source, what, f"choose one with --{split}_split"))
        elif fitting and fitting[0] not in asked:
            chosen[split] = tables[fitting[0]]
    if "train" not in chosen and not problems:
        if len(tables) == 1:
            chosen["train"] = next(iter(tables.values()))
        else:
            what = f"no training split among {', '.join(tables)}"
            problems.append(Problem(source, what, "choose one with --train_split"))
    if problems:
        raise Problems(*problems)
    used = [name for name, table in tables.items() if any(table is other for other in chosen.values())]
    return chosen, [name for name in tables if name not in used and not any(name in spec for spec in asked)]


def _slice(tables: Mapping[str, Table], spec: str, flag: str) -> Table:
    """A split, or slices of splits written as `datasets` writes them."""
    from datasets import ReadInstruction

    by_name = {("train" if name == WHOLE else name): table for name, table in tables.items()}
    if spec in by_name:
        return by_name[spec]
    sizes = {name: len(table.rows) for name, table in by_name.items()}
    try:
        parts = ReadInstruction.from_spec(spec).to_absolute(sizes)
    except (ValueError, AssertionError) as error:
        what = f"there is no split {spec!r}{nearest(spec, list(sizes))}; there are {', '.join(sizes)}"
        raise Problems(Problem(flag, what, "choose one of them, or a slice such as train[:80%]")) from error
    slices = []
    for part in parts:
        table = by_name[part.splitname]
        start, stop = part.from_ or 0, sizes[part.splitname] if part.to is None else part.to
        if start >= stop:
            raise Problems(
                Problem(flag, f"{spec!r} holds no rows; {part.splitname} has {sizes[part.splitname]}")
            )
        slices.append(
            replace(table, rows=table.rows.select(range(start, stop)), name=f"{table.name} [{start}:{stop}]")
        )
    return joined(slices)
