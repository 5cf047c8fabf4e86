"""Rows to predict on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_transfer.data.columns import Roles, find_columns
from hf_transfer.data.sources import find_source
from hf_transfer.data.standard import standard
from hf_transfer.problems import Problem, Problems

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_transfer.data.tables import Table


def read_rows(task: Roles, dataset: Any, **columns: str | None) -> Dataset:
    """Rows to predict on: the task's inputs and `row`; every row is kept, labels are not needed.

    Args:
        dataset: as in `load`, with one split (or a `test` split, which is taken); also a list of texts.
        columns: text_column, text_pair_column, image_column.

    Raises:
        Problems: not found, not readable, columns not clear, several splits.
    """
    table = only_table(dataset)
    given = {role: columns.get(f"{role}_column") for role in task.inputs}
    if len(table.columns) == 1:  # a list or a txt file: there is nothing to choose from
        given = {task.inputs[0]: table.columns[0]}
    return standard(table, find_columns(task, table, given, labelled=False))


def only_table(dataset: Any) -> Table:
    """The one table of a source, or that of its test split.

    Raises:
        Problems: not found, not readable, several splits without a test.
    """
    source = find_source(dataset)
    tables = source.tables
    if len(tables) > 1 and "test" not in tables:
        what = f"has several splits: {', '.join(tables)}"
        raise Problems(Problem(source.name, what, "give the file, or the split, to predict on"))
    return tables["test"] if len(tables) > 1 else next(iter(tables.values()))
