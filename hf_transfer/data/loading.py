"""From a name, path or object to rows that are ready for a task: found, checked, split, recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.data.audit import check, sampled_away, small, summary
from hf_transfer.data.columns import Roles, find_columns
from hf_transfer.data.data import Data
from hf_transfer.data.keys import input_keys, usable
from hf_transfer.data.label_names import PROBLEM_TYPES
from hf_transfer.data.labels import Labels, find_labels
from hf_transfer.data.partition import cut_rows, sample_rows
from hf_transfer.data.sources import Source, find_source
from hf_transfer.data.split_names import choose_splits
from hf_transfer.data.splits import planned
from hf_transfer.data.standard import label_feature, standard
from hf_transfer.data.tables import Table, column_of
from hf_transfer.problems import Problem, Problems, nearest

if TYPE_CHECKING:
    from datasets import Dataset


EMPTY = "every row has an empty input or no label"


def load(
    task: Roles,
    dataset: Any = None,
    *,
    dataset_config_name: str | None = None,
    train_file: str | Path | None = None,
    validation_file: str | Path | None = None,
    test_file: str | Path | None = None,
    train_split: str | None = None,
    validation_split: str | None = None,
    test_split: str | None = None,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    validation_size: float = 0.1,
    test_size: float = 0.1,
    max_train_samples: int | None = None,
    max_eval_samples: int | None = None,
    seed: int = 42,
    problem_type: str | None = None,
    default: Any = None,
) -> Data:
    """Loads, audits and splits labelled data.

    Args:
        dataset: Hub id, file, folder, Dataset, DatasetDict, dict of those, IterableDataset, DataFrame, list of dicts,
            or a pair (inputs, labels); `default` is taken if neither this nor `train_file` is given.
        train_split: name of a split in the source, or a slice of one (`train[:80%]`); the others alike.
        text_column: needed only where the column is not clear; the others alike.
        validation_size: share cut off train where the source has no validation; `test_size` if it has neither.
        max_train_samples: a stratified sample after splitting; `max_eval_samples` for validation and test each.
        problem_type: overrules what the label column suggests.

    Raises:
        Problems: everything found wrong, together.
    """
    _check_arguments(problem_type, max_train_samples, max_eval_samples)
    files = {"train": train_file, "validation": validation_file, "test": test_file}
    source = find_source(dataset, config=dataset_config_name, files=files, default=default)
    wanted = {"train": train_split, "validation": validation_split, "test": test_split}
    tables, left_out = choose_splits(source.name, source.tables, wanted)
    empty_tables = [split for split, table in tables.items() if not len(table.rows)]
    if empty_tables:
        raise Problems(*(Problem(split, f"{tables[split].name} has no rows") for split in empty_tables))
    source.ignored += left_out
    source.warnings += [
        Problem(name, "this split is left out", "choose it with --train_split") for name in left_out
    ]
    given = {"text": text_column, "text_pair": text_pair_column, "image": image_column, "label": label_column}
    columns = find_columns(task, tables["train"], given)
    tables = _same_columns(tables, columns, task, source.warnings)
    labels = find_labels(tables, columns[task.target], problem_type)
    tables = _labelled(tables, labels)
    shares = planned(list(tables), validation_size, test_size)
    inputs = {role: name for role, name in columns.items() if role != task.target}
    feature = label_feature(labels)
    rows = {split: standard(table, inputs, labels.values[split], feature) for split, table in tables.items()}
    checked = {split: input_keys(data, split) for split, data in rows.items()}
    keys = {split: found for split, (found, _) in checked.items()}
    problems = [problem for _, wrong in checked.values() for problem in wrong]
    nothing = {split: bool((found == b"").all()) for split, found in keys.items()}
    fingerprint = _fingerprint(rows, keys, labels)
    rows, keys, warnings = usable(rows, keys)
    # what is wrong with the labels is told already, and may be why no row is left
    empty = [split for split in rows if not len(rows[split]) and (not labels.problems or nothing[split])]
    problems += [Problem(split, EMPTY, "is it the right column?") for split in empty]
    if labels.problems or problems:
        raise Problems(*labels.problems, *problems)
    how = {split: f"as given ({table.name})" for split, table in tables.items()}
    if shares:
        rows, keys, how = cut_rows(rows, keys, how, labels, shares, seed)
    wrong, found = check(rows, keys, labels)
    found += small(rows)
    if wrong:
        raise Problems(*wrong)
    whole, rows = rows, sample_rows(rows, how, labels, max_train_samples, max_eval_samples, seed)
    found += sampled_away(whole["train"], rows["train"], labels)
    return Data(
        splits=rows,
        labels=labels.names,
        problem_type=labels.problem_type,
        columns=columns,
        source=_record(source, rows, how, fingerprint),
        audit=_audit(rows, labels, source, [*source.warnings, *labels.warnings, *warnings, *found]),
    )


def _check_arguments(problem_type: str | None, max_train: int | None, max_eval: int | None) -> None:
    problems = []
    if problem_type is not None and problem_type not in PROBLEM_TYPES:
        what = f"{problem_type!r} is not one of them{nearest(problem_type, PROBLEM_TYPES)}"
        problems.append(Problem("problem_type", what, f"choose {', '.join(PROBLEM_TYPES)}"))
    for name, size in (("--max_train_samples", max_train), ("--max_eval_samples", max_eval)):
        if size is not None and size < 1:
            problems.append(Problem(name, f"{size} rows, expected at least 1"))
    if problems:
        raise Problems(*problems)


def _same_columns(
    tables: Mapping[str, Table], columns: Mapping[str, str], task: Roles, warnings: list[Problem]
) -> dict[str, Table]:
    """The tables, all of which have the columns; a test split without labels is left out and named."""
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


def _labelled(tables: Mapping[str, Table], labels: Labels) -> dict[str, Table]:
    """Without a test split whose labels are all hidden, as those of many benchmarks are."""
    hidden = "test" in tables and all(value is None for value in labels.values["test"])
    if hidden and not any(problem.where.startswith("test ") for problem in labels.problems):
        labels.warnings.append(
            Problem("test", f"left out: {tables['test'].name} has no labels (all missing or -1)")
        )
        return {split: table for split, table in tables.items() if split != "test"}
    return dict(tables)


def _fingerprint(rows: Mapping[str, Dataset], keys: Mapping[str, np.ndarray], labels: Labels) -> str:
    """sha256 over the splits' inputs (texts; digests of images) and labels, in order, before anything is dropped."""
    digest = hashlib.sha256()
    for split, data in rows.items():
        digest.update(f"{split} {len(data)}\n".encode())
        for role in ("text", "text_pair"):
            if role in data.column_names:
                digest.update("\x1f".join(column_of(data, role).to_pylist()).encode())
        digest.update(keys[split].tobytes())
        digest.update(repr((labels.names, labels.values[split])).encode())
    return digest.hexdigest()


def _record(
    source: Source, rows: Mapping[str, Dataset], how: dict[str, str], fingerprint: str
) -> dict[str, Any]:
    return {
        "name": source.name,
        "hub_id": source.hub_id,
        "license": source.license,
        "files": source.files,
        "splits": {split: len(data) for split, data in rows.items()},
        "how": {split: how[split] for split in rows},
        "fingerprint": fingerprint,
    }


def _audit(
    rows: Mapping[str, Dataset], labels: Labels, source: Source, warnings: Sequence[Problem]
) -> dict[str, Any]:
    told = [{"where": w.where, "what": w.what, "mend": w.mend} for w in warnings]
    return {**summary(rows, labels), "warnings": told, "ignored": source.ignored}
