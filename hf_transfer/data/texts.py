"""Texts without labels, for language modelling: from a source, or a labelled task's own, without what it is tested on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.data.audit import bare_numbers, check_texts, small, summary
from hf_transfer.data.columns import Roles, find_columns
from hf_transfer.data.data import Data
from hf_transfer.data.keys import input_keys
from hf_transfer.data.partition import cut_rows, sample_rows
from hf_transfer.data.provenance import audit_record, fingerprint, source_record
from hf_transfer.data.source_splits import chosen_tables
from hf_transfer.data.sources import Source
from hf_transfer.data.splits import planned
from hf_transfer.data.standard import standard
from hf_transfer.data.tables import Table, column_of, dataset_of, pick
from hf_transfer.problems import Problem, Problems

if TYPE_CHECKING:
    from datasets import Dataset

LANGUAGE = "language_modeling"  # the problem type of rows without labels
HELD_OUT = ("validation", "test")


def texts_of(
    task: Roles,
    source: Source,
    wanted: Mapping[str, str | None],
    given: Mapping[str, str | None],
    *,
    validation_size: float,
    test_size: float,
    max_train_samples: int | None,
    max_eval_samples: int | None,
    seed: int,
) -> Data:
    """The rows of a source as texts without labels: `load` for a task that has none.

    Args:
        task: takes `text` alone.
        wanted: split -> its name in the source, where one is given.
        given: role -> column, where one is given.

    Raises:
        Problems: no text column, no text at all.
    """
    tables = chosen_tables(source, wanted)
    first = tables["train"]
    if len(first.columns) == 1:  # a list or a txt file: there is nothing to choose from
        given = {**given, "text": given.get("text") or first.columns[0]}
    columns = find_columns(task, first, given, labelled=False)
    rows, how = _rows(tables, columns)
    keys = {split: input_keys(data, split)[0] for split, data in rows.items()}
    mark = fingerprint(rows, keys, None)
    rows, keys = _without_empty(rows, keys, how)
    if shares := planned(list(tables), validation_size, test_size):
        rows, keys, how = cut_rows(rows, keys, how, None, shares, seed)
    places = {split: column_of(data, "row").to_pylist() for split, data in rows.items()}
    warnings = [*bare_numbers(rows["train"], columns), *check_texts(keys, places), *small(rows)]
    rows = sample_rows(rows, how, None, max_train_samples, max_eval_samples, seed)
    return Data(
        splits=rows,
        labels=(),
        problem_type=LANGUAGE,
        columns=columns,
        source=source_record(source, rows, how, mark),
        audit=audit_record(rows, None, source, [*source.warnings, *warnings]),
    )


def _rows(
    tables: Mapping[str, Table], columns: Mapping[str, str]
) -> tuple[dict[str, Dataset], dict[str, str]]:
    lacking = [split for split, table in tables.items() if columns["text"] not in table.columns]
    if lacking:
        what = f"{tables[lacking[0]].name} has no column {columns['text']!r}"
        raise Problems(Problem(lacking[0], what, "give all splits the same columns"))
    rows = {split: standard(table, columns) for split, table in tables.items()}
    return rows, {split: f"as given ({table.name})" for split, table in tables.items()}


def _without_empty(
    rows: Mapping[str, Dataset], keys: Mapping[str, np.ndarray], how: dict[str, str]
) -> tuple[dict[str, Dataset], dict[str, np.ndarray]]:
    """Without empty texts, such as the blank lines of a text file; `how` is told of them."""
    kept, kept_keys = {}, {}
    for split, data in rows.items():
        good = np.flatnonzero(keys[split] != b"")
        if not len(good):
            raise Problems(Problem(split, "every text is empty", "is it the right column?"))
        if len(good) < len(data):
            how[split] += f", without {len(data) - len(good):,} empty ones of {len(data):,} rows"
        kept[split] = data if len(good) == len(data) else pick(data, good)
        kept_keys[split] = keys[split][good]
    return kept, kept_keys


def own_texts(data: Data) -> Data:
    """The texts of a labelled data set, each of a pair by itself, to adapt to before the task (TAPT).

    Training texts train, validation texts measure and choose, test texts are left out. A training text that is held
    out too, in validation or test, is dropped, so that nothing of them is learned.

    Raises:
        Problems: images, or a training split of which nothing is left.
    """
    if "text" not in data.columns:
        raise Problems(Problem("data", "a language model learns from texts, and these are images"))
    rows = {split: _flat(part) for split, part in data.splits.items() if split != "test"}
    how = {split: f"the texts of {split}, without labels" for split in rows}
    found = Data(rows, (), LANGUAGE, {"text": data.columns["text"]}, {**data.source, "how": how}, {})
    return without(found, held_out_keys(data))


def held_out_keys(data: Data) -> np.ndarray:
    """What equals a validation or test text of a labelled data set, each of a pair by itself (n,)."""
    keys = [input_keys(_flat(data.splits[s]), s)[0] for s in HELD_OUT if s in data.splits]
    return np.unique(np.concatenate(keys)) if keys else np.zeros(0, dtype="S16")


def without(texts: Data, keys: np.ndarray) -> Data:
    """Texts to adapt to, with the training texts dropped whose key (`input_keys`) is among `keys`; how many is said.

    Raises:
        Problems: none is left.
    """
    train = texts.splits["train"]
    out = np.isin(input_keys(train, "train")[0], keys)
    kept = pick(train, np.flatnonzero(~out)) if out.any() else train
    if not len(kept):
        raise Problems(Problem("train", "every text to adapt to is a validation or test text of the task"))
    splits = {**texts.splits, "train": kept}
    how = dict(texts.source["how"])
    how["train"] += f"; {out.sum():,} dropped that are validation or test texts of the task"
    digest = hashlib.sha256("\x1e".join("\x1f".join(rows["text"][:]) for rows in splits.values()).encode())
    sizes = {split: len(rows) for split, rows in splits.items()}
    source = {**texts.source, "how": how, "splits": sizes, "fingerprint": digest.hexdigest()}
    audit = {"warnings": [], "ignored": [], **texts.audit, **summary(splits, None)}
    return replace(texts, splits=splits, source=source, audit=audit)


def _flat(rows: Dataset) -> Dataset:
    """Columns `text` and `row`; the second texts of pairs stand below the first ones. Empty ones are left out."""
    import pyarrow as pa
    from datasets import Features, Value

    roles = [role for role in ("text", "text_pair") if role in rows.column_names]
    texts: list[str] = [text for role in roles for text in rows[role][:]]
    places: list[int] = [row for _ in roles for row in rows["row"][:]]
    kept = [(text, row) for text, row in zip(texts, places, strict=True) if text.strip()]
    columns: dict[str, Any] = {
        "text": pa.array([text for text, _ in kept], pa.string()),
        "row": pa.array([row for _, row in kept], pa.int64()),
    }
    return dataset_of(pa.table(columns), Features({"text": Value("string"), "row": Value("int64")}))
