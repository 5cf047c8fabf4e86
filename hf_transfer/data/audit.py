"""The audit before training: what would spoil a run stops it, what may spoil a result is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.data.labels import MULTI, REGRESSION, Labels
from hf_transfer.data.tables import column_of
from hf_transfer.problems import Problem, nearest

if TYPE_CHECKING:
    from datasets import Dataset

RARE = 5  # a class with fewer training rows is named
IMBALANCE = 10  # largest class over smallest from which it is said
SMALL = 30  # rows below which a split is called rough
SHOWN = 10


def check(
    splits: Mapping[str, Dataset], keys: Mapping[str, np.ndarray], labels: Labels
) -> tuple[list[Problem], list[Problem]]:
    """Problems and warnings about the splits as they will be used (before `max_*_samples`)."""
    problems = [
        Problem(split, "has no usable rows", "every row lacks a label or its text")
        for split, rows in splits.items()
        if not len(rows)
    ]
    values = {split: column_of(rows, "label").to_pylist() for split, rows in splits.items()}
    warnings: list[Problem] = []
    for split, rows in splits.items():
        places = column_of(rows, "row").to_pylist()
        warnings += _repeats(split, keys[split], places)
        warnings += _contradictions(split, keys[split], values[split], places, labels)
    warnings += _leaks(keys)
    if labels.problem_type != REGRESSION and not problems:
        warnings += _classes(values, labels)
    return problems, warnings


def check_texts(keys: Mapping[str, np.ndarray], places: Mapping[str, Sequence[int]]) -> list[Problem]:
    """Warnings about texts without labels: those that repeat, and those of two splits."""
    repeated = [problem for split in keys for problem in _repeats(split, keys[split], places[split])]
    return [*repeated, *_leaks(keys)]


NUMBER = r"^\s*[+-]?[.,]?\d+([.,:/-]?\d+)*([eE][+-]?\d+)?\s*%?\s*$"  # in RE2: a date of digits counts too


def bare_numbers(rows: Dataset, columns: Mapping[str, str]) -> list[Problem]:
    """A warning for each column of texts that holds nothing but numbers: a column of ids or counts taken for texts."""
    import pyarrow.compute as pc

    found = []
    for role in ("text", "text_pair"):
        if (
            role in rows.column_names
            and pc.all(pc.match_substring_regex(column_of(rows, role), NUMBER)).as_py()
        ):
            what = f"the texts in column {columns[role]!r} are nothing but numbers: is this the right column?"
            found.append(Problem("train", what, f"name another with --{role}_column"))
    return found


def small(rows: Mapping[str, Any]) -> list[Problem]:
    """A warning for each split on which a figure would say little."""
    return [
        Problem(
            split,
            f"only {len(data)} rows: a figure measured on them is rough",
            "set more rows aside, or give a file",
        )
        for split, data in rows.items()
        if split != "train" and len(data) < SMALL
    ]


def _repeats(split: str, keys: np.ndarray, places: Sequence[int]) -> list[Problem]:
    """Inputs that occur more than once in a split; `places` are the rows' positions where they came from."""
    _, first = np.unique(keys, return_index=True)
    extra = np.setdiff1d(np.arange(len(keys)), first)
    if not len(extra):
        return []
    what = f"{len(extra):,} of {len(keys):,} rows repeat an earlier input (rows {_rows(extra, places)}; the first is 0)"
    return [Problem(split, what, "remove them if that is a mistake")]


def _contradictions(
    split: str, keys: np.ndarray, values: Sequence[Any], places: Sequence[int], labels: Labels
) -> list[Problem]:
    """Equal inputs with different labels."""
    if labels.problem_type == REGRESSION:
        return []
    _, group, counts = np.unique(keys, return_inverse=True, return_counts=True)
    told: dict[int, set[str]] = {}
    for at in np.flatnonzero(counts[group] > 1).tolist():
        told.setdefault(int(group[at]), set()).add(str(values[at]))
    odd = [number for number, different in told.items() if len(different) > 1]
    if not odd:
        return []
    what = f"inputs with different labels: {len(odd):,} (rows {_rows(np.flatnonzero(np.isin(group, odd)), places)})"
    return [Problem(split, what, "no model can get both right: decide which label holds")]


def _rows(numbers: np.ndarray, places: Sequence[int]) -> str:
    return ", ".join(str(places[i]) for i in numbers[: SHOWN // 2]) + (
        ", ..." if len(numbers) > SHOWN // 2 else ""
    )


def _leaks(keys: Mapping[str, np.ndarray]) -> list[Problem]:
    found = []
    names = [split for split in ("train", "validation", "test") if split in keys]
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            shared = int(np.isin(keys[other], keys[one]).sum())
            if shared:
                what = f"{shared:,} of {len(keys[other]):,} rows have an input that is in {one} too"
                found.append(Problem(other, what, f"scores on {other} are too good by as much: remove them"))
    return found


def _classes(values: Mapping[str, Sequence[Any]], labels: Labels) -> list[Problem]:
    counts = {split: _count(rows, labels) for split, rows in values.items()}
    train = counts["train"]
    found = []
    lacking = [name for name in labels.names if not train[name]]
    for split in counts:
        odd = [f"{name} ({counts[split][name]})" for name in lacking if counts[split][name]]
        if split != "train" and odd:
            what = f"labels without a training row: {_some(odd)}"
            found.append(Problem(split, what, "the model cannot learn them"))
    if lacking:
        found.append(Problem("train", f"no row has the label {_some(lacking)}", "the model cannot learn it"))
    common = [name for name in labels.names if train[name] >= RARE]
    few = [name for name in labels.names if 0 < train[name] < RARE]
    if few:
        shown = [f"{name} ({train[name]}){nearest(name, common)}" for name in few[:SHOWN]]
        what = f"labels with fewer than {RARE} rows: {_some([*shown, *few[SHOWN:]])}"
        found.append(Problem("train", what, "add rows for them, or mend the spelling"))
    present = [train[name] for name in labels.names if train[name]]
    if present and max(present) >= IMBALANCE * min(present):
        most, least = (
            max(train, key=train.__getitem__),
            min((n for n in train if train[n]), key=train.__getitem__),
        )
        what = f"imbalanced: {most} has {train[most]:,} rows, {least} {train[least]:,}"
        found.append(Problem("train", what, "look at f1_macro beside accuracy"))
    return found


def sampled_away(before: Dataset, after: Dataset, labels: Labels) -> list[Problem]:
    """A warning about labels that `max_train_samples` left without a training row."""
    if labels.problem_type == REGRESSION or len(before) == len(after):
        return []
    there, left = (_count(column_of(rows, "label").to_pylist(), labels) for rows in (before, after))
    lost = [name for name in labels.names if there[name] and not left[name]]
    what = f"the sample has no row with the label {_some(lost)}"
    return [Problem("--max_train_samples", what, "the model cannot learn it: take more rows")] if lost else []


def _count(values: Sequence[Any], labels: Labels) -> Counter[str]:
    ids = Counter(i for row in values for i in row) if labels.problem_type == MULTI else Counter(values)
    return Counter({name: ids[i] for i, name in enumerate(labels.names)})


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def summary(splits: Mapping[str, Dataset], labels: Labels | None) -> dict[str, Any]:
    """`rows` and, for texts, `characters` per split, as JSON: counts per label or the range of the values."""
    rows: dict[str, Any] = {}
    characters: dict[str, Any] = {}
    for split, data in splits.items():
        values = column_of(data, "label").to_pylist() if labels else []
        if labels is None:
            told: dict[str, Any] = {}
        elif labels.problem_type == REGRESSION:
            told = {"min": min(values), "mean": sum(values) / len(values), "max": max(values)}
        else:
            told = dict(_count(values, labels))
        rows[split] = {"rows": len(data), "labels": told}
        if "text" in data.column_names:
            characters[split] = _lengths(data)
    return {"rows": rows, "characters": characters}


def _lengths(rows: Dataset) -> dict[str, int]:
    """Quantiles of the characters in a row's text (both texts of a pair)."""
    import pyarrow.compute as pc

    lengths = sum(
        pc.utf8_length(column_of(rows, role)).to_numpy().astype(np.int64)
        for role in ("text", "text_pair")
        if role in rows.column_names
    )
    quantiles = np.quantile(lengths, [0.5, 0.95, 0.99, 1.0])
    return dict(zip(("p50", "p95", "p99", "max"), (int(value) for value in quantiles), strict=True))
