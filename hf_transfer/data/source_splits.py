"""The splits of a source that are used: chosen by name, with the same columns, and labelled."""

from __future__ import annotations

from collections.abc import Mapping

from hf_transfer.data.columns import Roles
from hf_transfer.data.labels import Labels
from hf_transfer.data.sources import Source
from hf_transfer.data.split_names import choose_splits
from hf_transfer.data.tables import Table
from hf_transfer.problems import Problem, Problems


def chosen_tables(source: Source, wanted: Mapping[str, str | None]) -> dict[str, Table]:
    """The tables for train, validation and test; `source` is told what is left out.

    Args:
        wanted: names of splits in the source, or slices of one, where they are given.

    Raises:
        Problems: no such split, or one without rows.
    """
    tables, left_out = choose_splits(source.name, source.tables, wanted)
    empty = [split for split, table in tables.items() if not len(table.rows)]
    if empty:
        raise Problems(*(Problem(split, f"{tables[split].name} has no rows") for split in empty))
    source.ignored += left_out
    source.warnings += [
        Problem(name, "this split is left out", "choose it with --train_split") for name in left_out
    ]
    return tables


def same_columns(
    tables: Mapping[str, Table], columns: Mapping[str, str], task: Roles, warnings: list[Problem]
) -> dict[str, Table]:
    """The tables, all of which have the columns; a test split without labels is left out and named.

    Raises:
        Problems: another split lacks a column.
    """
    kept, problems = dict(tables), []
    for split, table in tables.items():
        missing = [name for name in columns.values() if name not in table.columns]
        if split == "test" and missing == [columns[task.target]]:
            del kept[split]
            warnings.append(Problem(split, f"left out: {table.name} has no column {missing[0]!r}"))
        elif missing:
            there = ", ".join(table.columns)
            what = f"{table.name} has no column {', '.join(map(repr, missing))}; its columns are {there}"
            problems.append(Problem(split, what, "give all splits the same columns"))
    if problems:
        raise Problems(*problems)
    return kept


def labelled(tables: Mapping[str, Table], labels: Labels) -> dict[str, Table]:
    """Without a test split whose labels are all hidden, as those of many benchmarks are."""
    hidden = "test" in tables and all(value is None for value in labels.values["test"])
    if hidden and not any(problem.where.startswith("test ") for problem in labels.problems):
        labels.warnings.append(
            Problem("test", f"left out: {tables['test'].name} has no labels (all missing or -1)")
        )
        return {split: table for split, table in tables.items() if split != "test"}
    return dict(tables)
