"""From a name, path or object to rows that are ready for a task: found, checked, split, recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.data.audit import bare_numbers, check, sampled_away, small
from hf_transfer.data.columns import Roles, find_columns
from hf_transfer.data.data import Data
from hf_transfer.data.keys import input_keys, usable
from hf_transfer.data.label_names import PROBLEM_TYPES
from hf_transfer.data.labels import Labels, find_labels
from hf_transfer.data.partition import cut_rows, sample_rows
from hf_transfer.data.provenance import audit_record, fingerprint, source_record
from hf_transfer.data.source_splits import chosen_tables, labelled, same_columns
from hf_transfer.data.sources import find_source
from hf_transfer.data.splits import planned
from hf_transfer.data.standard import label_feature, standard
from hf_transfer.data.tables import Table
from hf_transfer.data.texts import texts_of
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
    """Loads, audits and splits labelled data; for a language-modelling task, texts without labels.

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
    given = {"text": text_column, "text_pair": text_pair_column, "image": image_column, "label": label_column}
    if not task.target:
        sizes: dict[str, Any] = {"validation_size": validation_size, "test_size": test_size, "seed": seed}
        sizes |= {"max_train_samples": max_train_samples, "max_eval_samples": max_eval_samples}
        return texts_of(task, source, wanted, given, **sizes)
    tables = chosen_tables(source, wanted)
    columns = find_columns(task, tables["train"], given)
    tables = same_columns(tables, columns, task, source.warnings)
    labels = find_labels(tables, columns[task.target], problem_type)
    tables = labelled(tables, labels)
    shares = planned(list(tables), validation_size, test_size)
    inputs = {role: name for role, name in columns.items() if role != task.target}
    rows, keys, mark, warnings = _usable_rows(tables, inputs, labels)
    how = {split: f"as given ({table.name})" for split, table in tables.items()}
    if shares:
        rows, keys, how = cut_rows(rows, keys, how, labels, shares, seed)
    warnings += [*bare_numbers(rows["train"], columns), *_audited(rows, keys, labels)]
    whole, rows = rows, sample_rows(rows, how, labels, max_train_samples, max_eval_samples, seed)
    warnings += sampled_away(whole["train"], rows["train"], labels)
    return Data(
        splits=rows,
        labels=labels.names,
        problem_type=labels.problem_type,
        columns=columns,
        source=source_record(source, rows, how, mark),
        audit=audit_record(rows, labels, source, [*source.warnings, *labels.warnings, *warnings]),
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


def _usable_rows(
    tables: Mapping[str, Table], inputs: Mapping[str, str], labels: Labels
) -> tuple[dict[str, Dataset], dict[str, np.ndarray], str, list[Problem]]:
    """The rows that have an input and a label, their keys, the fingerprint of all rows, and what was dropped.

    Raises:
        Problems: wrong labels, inputs that cannot be read, a split of which nothing is left; all of them at once.
    """
    feature = label_feature(labels)
    rows = {split: standard(table, inputs, labels.values[split], feature) for split, table in tables.items()}
    checked = {split: input_keys(data, split) for split, data in rows.items()}
    keys = {split: found for split, (found, _) in checked.items()}
    problems = [problem for _, wrong in checked.values() for problem in wrong]
    nothing = {split: bool((found == b"").all()) for split, found in keys.items()}
    mark = fingerprint(rows, keys, labels)
    rows, keys, warnings = usable(rows, keys)
    # what is wrong with the labels is told already, and may be why no row is left
    empty = [split for split in rows if not len(rows[split]) and (not labels.problems or nothing[split])]
    problems += [Problem(split, EMPTY, "is it the right column?") for split in empty]
    if labels.problems or problems:
        raise Problems(*labels.problems, *problems)
    return rows, keys, mark, warnings


def _audited(rows: Mapping[str, Dataset], keys: Mapping[str, np.ndarray], labels: Labels) -> list[Problem]:
    """What the audit warns of; what it finds wrong stops the run."""
    wrong, found = check(rows, keys, labels)
    found += small(rows)
    if wrong:
        raise Problems(*wrong)
    return found
