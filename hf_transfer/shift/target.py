"""Rows of the target domain: inputs alone, read and made as the model takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.data.columns import find_columns
from hf_transfer.data.keys import input_keys
from hf_transfer.data.sources import find_source
from hf_transfer.data.standard import standard
from hf_transfer.inputs import Trained
from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.shift import Shift, check

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_transfer.data import Data
    from hf_transfer.strategies.regularization import Regularization
    from hf_transfer.tasks.task import Task

FLAG = "--target_file"


@dataclass(frozen=True)
class Target:
    """Rows of the target domain as the model takes them.

    Attributes:
        rows: model inputs, without labels.
        lengths: tokens per row, where rows differ in length.
        fingerprint: of the inputs, in their order.
    """

    rows: Any
    lengths: Sequence[int] | None
    fingerprint: str


def checked_shift(
    chosen: Shift, given: Any, data: Data, args: Any, regularization: Regularization, objective: Any
) -> tuple[Dataset, str, list[str]] | None:
    """The rows of the target domain as `read_target` gives them, once what is to be done with them can be; None without.

    Args:
        given: the target rows as `finetune` takes them.
        regularization, objective: what else changes the loss or the batches.

    Raises:
        Problems: something that would do nothing, or rows that cannot be read.
    """
    taken = regularization.on() | ({"objective": objective} if objective else {})
    check(chosen, target=given is not None, problem_type=data.problem_type, args=args, taken=taken)
    return None if given is None else read_target(given, data)


def read_target(given: Any, data: Data) -> tuple[Dataset, str, list[str]]:
    """The inputs of rows of the target domain; their labels, if there are any, are not read.

    Args:
        given: a file, a folder or a Hub id with one split; or in Python what `load` takes.
        data: the labelled data: which inputs are needed, and what their columns are called.

    Returns:
        Rows with the inputs and `row`, their fingerprint, and sentences for the plan.

    Raises:
        Problems: not found, not readable, several splits, columns not clear, no usable row.
    """
    trained = {role: name for role, name in data.columns.items() if role != "label"}
    source = find_source(given)
    if len(source.tables) > 1:
        what = f"{source.name} has several splits: {', '.join(source.tables)}"
        raise Problems(Problem(FLAG, what, "give one file, or in Python one split"))
    table = next(iter(source.tables.values()))
    roles = Trained(tuple(trained))
    columns = {role: name if name in table.columns else None for role, name in trained.items()}
    if len(table.columns) == len(roles.inputs) == 1:  # there is nothing to choose from
        columns = dict.fromkeys(columns, table.columns[0])
    found = find_columns(roles, table, columns, labelled=False)
    rows = standard(table, found)
    keys, problems = input_keys(rows, FLAG)
    if problems:
        raise Problems(*problems)
    full = np.flatnonzero(keys != b"")
    if len(full) < 2:
        what = f"{source.name} has {len(full)} rows with an input, expected 2 or more"
        raise Problems(Problem(FLAG, what, "is it the right column?"))
    notes = _labels_there(data, table.columns, source.name)
    if len(full) < len(rows):
        notes.append(f"{len(rows) - len(full):,} of {len(rows):,} target rows have an empty input: left out.")
        rows = rows.select(full)
    notes += _shared(data, set(keys[full].tolist()))
    texts = "\x1f".join("\x1f".join(rows[role][:]) for role in found if role != "image")
    return rows, hashlib.sha256(keys[full].tobytes() + texts.encode()).hexdigest(), notes


def _labels_there(data: Data, columns: Sequence[str], name: str) -> list[str]:
    label = data.columns.get("label")
    if label not in columns:
        return []
    return [f"{name} has a column {label!r}: target rows are used without their labels, nothing reads it."]


def _shared(data: Data, keys: set[bytes]) -> list[str]:
    """Target rows that the labelled splits hold too."""
    told = []
    for split, rows in data.splits.items():
        same = len(keys.intersection(input_keys(rows, split)[0].tolist()))
        if same and split == "train":
            told.append(f"{same:,} of the target rows are training rows too.")
        elif same:
            told.append(
                f"{same:,} of the target rows are {split} rows too: the model sees these inputs in training (without their "
                f"labels), and the {split} score is one of a transductive setting."
            )
    return told


def encoded(task: Task, rows: Dataset, fingerprint: str, processor: Any) -> Target:
    """Target rows as model inputs, texts cut at the length that the training rows are cut at."""
    found = task.encode(rows, processor)
    texts = "input_ids" in found.column_names
    return Target(found, [len(ids) for ids in found["input_ids"]] if texts else None, fingerprint)
