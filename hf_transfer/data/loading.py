"""From a name, path or object to rows that are ready for a task: found, checked, split, recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.data.audit import check, input_keys, summary
from hf_transfer.data.columns import Roles, find_columns
from hf_transfer.data.labels import PROBLEM_TYPES, Labels, find_labels
from hf_transfer.data.sources import Source, choose_splits, find_source
from hf_transfer.data.splits import cut, planned, sample, strata
from hf_transfer.data.standard import label_feature, standard
from hf_transfer.data.tables import Table, column_of, pick
from hf_transfer.problems import Problem, Problems, nearest

if TYPE_CHECKING:
    from datasets import Dataset


EMPTY = "every row has an empty input or no label"


@dataclass(frozen=True)
class Data:
    """Rows ready for a task.

    Attributes:
        splits: `train`, `validation` and perhaps `test`; columns are the task's inputs that exist, `label` (id, list of
            ids, or float) and `row` (position in the split they came from, before anything was dropped or cut).
        labels: names in id order; () for regression.
        problem_type: single_label_classification, multi_label_classification or regression.
        columns: role -> column in the source.
        source: JSON: name, hub_id, license, files, rows per split, how each came to be, fingerprint of the content.
        audit: JSON: rows and labels per split, warnings, ignored files, text lengths in characters.
    """

    splits: dict[str, Dataset]
    labels: tuple[str, ...]
    problem_type: str
    columns: dict[str, str]
    source: dict[str, Any]
    audit: dict[str, Any]

    @property
    def id2label(self) -> dict[int, str]:
        """Id -> name."""
        return dict(enumerate(self.labels))

    @property
    def label2id(self) -> dict[str, int]:
        """Name -> id."""
        return {name: i for i, name in enumerate(self.labels)}


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
    tables = choose_splits(source, wanted)
    given = {"text": text_column, "text_pair": text_pair_column, "image": image_column, "label": label_column}
    columns = find_columns(task, tables["train"], given)
    tables = _same_columns(tables, columns, task, source.warnings)
    labels = find_labels(tables, columns[task.target], problem_type)
    tables = _labelled(tables, labels)
    shares = planned(list(tables), validation_size, test_size)
    inputs = {role: name for role, name in columns.items() if role != task.target}
    feature = label_feature(labels)
    rows = {split: standard(table, inputs, labels.values[split], feature) for split, table in tables.items()}
    keys, problems = _keys(rows)
    fingerprint = _fingerprint(rows, keys, labels)
    rows, keys, warnings = _usable(rows, keys)
    problems += [
        Problem(split, EMPTY, "is it the right column?") for split, data in rows.items() if not len(data)
    ]
    if labels.problems or problems:
        raise Problems(*labels.problems, *problems)
    how = {split: f"as given ({table.name})" for split, table in tables.items()}
    if shares:
        rows, keys, how = _cut(rows, keys, how, labels, shares, seed)
    wrong, found = check(rows, keys, labels)
    if wrong:
        raise Problems(*wrong)
    rows = _sampled(rows, how, labels, {"train": max_train_samples}, max_eval_samples, seed)
    return Data(
        splits=rows,
        labels=labels.names,
        problem_type=labels.problem_type,
        columns=columns,
        source=_record(source, rows, how, fingerprint),
        audit=_audit(rows, labels, source, [*source.warnings, *labels.warnings, *warnings, *found]),
    )


def read_rows(task: Roles, dataset: Any, **columns: str | None) -> Dataset:
    """Rows to predict on: the task's inputs and `row`; every row is kept, labels are not needed.

    Args:
        dataset: as in `load`, with one split (or a `test` split, which is taken); also a list of texts.
        columns: text_column, text_pair_column, image_column.

    Raises:
        Problems: not found, not readable, columns not clear, several splits.
    """
    source = find_source(dataset)
    tables = source.tables
    if len(tables) > 1 and "test" not in tables:
        what = f"has several splits: {', '.join(tables)}"
        raise Problems(Problem(source.name, what, "give the file, or the split, to predict on"))
    table = tables["test"] if len(tables) > 1 else next(iter(tables.values()))
    given = {role: columns.get(f"{role}_column") for role in task.inputs}
    if len(table.columns) == 1:  # a list or a txt file: there is nothing to choose from
        given = {task.inputs[0]: table.columns[0]}
    return standard(table, find_columns(task, table, given, labelled=False))


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


def _keys(rows: Mapping[str, Dataset]) -> tuple[dict[str, np.ndarray], list[Problem]]:
    found = {split: input_keys(data, split) for split, data in rows.items()}
    return {split: keys for split, (keys, _) in found.items()}, [
        p for _, wrong in found.values() for p in wrong
    ]


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


def _usable(
    rows: Mapping[str, Dataset], keys: Mapping[str, np.ndarray]
) -> tuple[dict[str, Dataset], dict[str, np.ndarray], list[Problem]]:
    """Without rows whose input is empty or whose label is missing; how many were dropped is said."""
    kept, kept_keys, warnings = {}, {}, []
    for split, data in rows.items():
        empty = keys[split] == b""
        unlabelled = column_of(data, "label").is_null().to_numpy() & ~empty
        for odd, why in ((empty, "an empty or missing input"), (unlabelled, "no label")):
            if odd.any():
                first = ", ".join(str(i) for i in np.flatnonzero(odd)[:5]) + (
                    ", ..." if odd.sum() > 5 else ""
                )
                what = f"dropped {odd.sum():,} of {len(odd):,} rows that have {why} (rows {first})"
                warnings.append(Problem(split, what, "fill or remove them"))
        good = np.flatnonzero(~(empty | unlabelled))
        kept[split] = data if len(good) == len(data) else pick(data, good)
        kept_keys[split] = keys[split][good]
    return kept, kept_keys, warnings


def _cut(
    rows: dict[str, Dataset],
    keys: dict[str, np.ndarray],
    how: dict[str, str],
    labels: Labels,
    shares: Mapping[str, float],
    seed: int,
) -> tuple[dict[str, Dataset], dict[str, np.ndarray], dict[str, str]]:
    whole = rows["train"]
    parts = cut(
        strata(column_of(whole, "label").to_pylist(), labels.problem_type), keys["train"], shares, seed
    )
    cut_rows = {split: pick(whole, part) for split, part in parts.items()}
    cut_keys = {split: keys["train"][part] for split, part in parts.items()}
    origin = how["train"].removeprefix("as given (").removesuffix(")")
    ways = {
        split: f"{share:.3g} of {len(whole):,} rows cut off {origin}, stratified, equal inputs together, seed {seed}"
        for split, share in shares.items()
    }
    ways["train"] = f"the {len(parts['train']):,} of {len(whole):,} rows of {origin} that were not cut off"
    order = [split for split in ("train", "validation", "test") if split in rows or split in parts]
    return (
        {split: cut_rows.get(split, rows.get(split)) for split in order},
        {split: cut_keys[split] if split in cut_keys else keys[split] for split in order},
        {split: ways.get(split) or how[split] for split in order},
    )


def _sampled(
    rows: Mapping[str, Dataset],
    how: dict[str, str],
    labels: Labels,
    sizes: Mapping[str, int | None],
    max_eval: int | None,
    seed: int,
) -> dict[str, Dataset]:
    found = {}
    for split, data in rows.items():
        size = sizes.get(split) if split == "train" else max_eval
        if size is not None and size < len(data):
            stratum = strata(column_of(data, "label").to_pylist(), labels.problem_type)
            how[split] += f"; a stratified sample of {size:,} of its {len(data):,} rows, seed {seed}"
            data = pick(data, sample(stratum, size, seed, every_stratum=split == "train"))
        found[split] = data
    return found


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
