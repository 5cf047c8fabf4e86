"""The splits of a data set, cut and sampled, with a sentence on how each came to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hf_transfer.data.labels import Labels
from hf_transfer.data.splits import cut, sample, strata
from hf_transfer.data.tables import column_of, pick

if TYPE_CHECKING:
    from datasets import Dataset


def cut_rows(
    rows: dict[str, Dataset],
    keys: dict[str, np.ndarray],
    how: dict[str, str],
    labels: Labels | None,
    shares: Mapping[str, float],
    seed: int,
) -> tuple[dict[str, Dataset], dict[str, np.ndarray], dict[str, str]]:
    """`rows`, `keys` and `how` with the splits of `shares` cut off train; `labels` is None where rows have none."""
    whole = rows["train"]
    parts = cut(_strata(whole, labels), keys["train"], shares, seed)
    pieces = {split: pick(whole, part) for split, part in parts.items()}
    cut_keys = {split: keys["train"][part] for split, part in parts.items()}
    origin = how["train"].removeprefix("as given (").removesuffix(")")
    evenly = "stratified, equal inputs" if labels else "equal inputs"
    ways = {
        split: f"{share:.3g} of {len(whole):,} rows set aside from {origin}, {evenly} together, seed {seed}"
        for split, share in shares.items()
    }
    ways["train"] = f"the {len(parts['train']):,} of {len(whole):,} rows of {origin} that were not set aside"
    order = [split for split in ("train", "validation", "test") if split in rows or split in parts]
    return (
        {split: pieces.get(split, rows.get(split)) for split in order},
        {split: cut_keys[split] if split in cut_keys else keys[split] for split in order},
        {split: ways.get(split) or how[split] for split in order},
    )


def sample_rows(
    rows: Mapping[str, Dataset],
    how: dict[str, str],
    labels: Labels | None,
    max_train: int | None,
    max_eval: int | None,
    seed: int,
) -> dict[str, Dataset]:
    """Stratified samples of the splits that are larger than asked for; `how` is told of it."""
    found = {}
    kind = "a stratified sample" if labels else "a sample"
    for split, data in rows.items():
        size = max_train if split == "train" else max_eval
        if size is not None and size < len(data):
            how[split] += f"; {kind} of {size:,} of its {len(data):,} rows, seed {seed}"
            data = pick(data, sample(_strata(data, labels), size, seed, every_stratum=split == "train"))
        found[split] = data
    return found


def _strata(rows: Dataset, labels: Labels | None) -> np.ndarray:
    """The stratum of each row (n,); one for all where there are no labels."""
    if labels is None:
        return np.zeros(len(rows), dtype=int)
    return strata(column_of(rows, "label").to_pylist(), labels.problem_type)
