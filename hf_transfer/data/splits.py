"""Cutting and sampling: stratified, seeded, and equal inputs never on two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hf_transfer.data.labels import MULTI, REGRESSION
from hf_transfer.problems import Problem, Problems

BINS = 10  # strata of a regression: tenths of the rows by value


def strata(labels: Sequence[Any], problem_type: str) -> np.ndarray:
    """The stratum of each row (n,): its class, its rarest label, or its tenth of the values."""
    if problem_type == REGRESSION:
        ranks = np.argsort(np.argsort(np.asarray(labels, dtype=float), kind="stable"), kind="stable")
        return ranks * BINS // max(1, len(ranks))
    if problem_type == MULTI:
        counts = np.bincount([i for row in labels for i in row] or [0])
        return np.asarray(
            [min(row, key=lambda i: (counts[i], i)) if row else -1 for row in labels], dtype=int
        )
    return np.asarray(labels, dtype=int)


def planned(present: Sequence[str], validation_size: float, test_size: float) -> dict[str, float]:
    """Split -> share of the training rows to cut off, from the splits that are there.

    Only train: test and validation are cut. Train and test: validation is cut. Train and validation: nothing is.

    Raises:
        Problems: a size is not a share, or the two leave no rows to train on.
    """
    shares: dict[str, float] = {}
    if "validation" not in present:
        shares = {"validation": validation_size}
        if "test" not in present:
            shares = {"test": test_size, **shares}
    problems = [
        Problem(f"--{split}_size", f"{share} is not a share of the rows, expected 0 to below 1", "e.g. 0.1")
        for split, share in shares.items()
        if not 0 <= share < 1
    ]
    if shares.get("validation") == 0:
        mend = "give a share such as 0.1, or --validation_file"
        problems.append(Problem("--validation_size", "0 leaves nothing to validate on", mend))
    if not problems and sum(shares.values()) >= 1:
        what = (
            f"{shares['validation']:g} and --test_size {shares['test']:g} together leave no rows to train on"
        )
        problems.append(Problem("--validation_size", what, "make them smaller"))
    if problems:
        raise Problems(*problems)
    return {split: share for split, share in shares.items() if share}


def cut(
    stratum: np.ndarray, keys: np.ndarray, shares: Mapping[str, float], seed: int
) -> dict[str, np.ndarray]:
    """Row numbers, ascending, of `train` and of each split cut off it.

    Rows of equal `keys` stay together. Groups of them are put in random order within their stratum, and of the strata
    one after the other every k-th group is taken (systematic sampling): each stratum gives its share and the sizes
    come out. The first group of each stratum stays in train, so that no class is missing there.

    Args:
        stratum: (n,) ints. keys: (n,) anything comparable, equal for equal inputs.
        shares: split -> share of all rows.

    Raises:
        Problems: there are too few rows for it.
    """
    total = len(stratum)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    sizes = np.bincount(group)
    order = np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(stratum[first][order], kind="stable")]
    heads = np.r_[True, np.diff(stratum[first][order]) != 0]
    order = order[~heads]
    side = np.zeros(len(first), dtype=int)
    for number, share in enumerate(shares.values(), start=1):
        wanted = max(1, round(total * share))
        taken = _every_kth(sizes[order], wanted)
        side[order[taken]] = number
        order = order[~taken]
    found = {"train": np.flatnonzero(side[group] == 0)}
    found |= {split: np.flatnonzero(side[group] == n) for n, split in enumerate(shares, start=1)}
    if any(not len(rows) for rows in found.values()):
        what = f"too few rows to split: {total} rows, {len(first)} of them different, for {', '.join(found)}"
        raise Problems(Problem("train", what, "give more rows, or --validation_file"))
    return found


def _every_kth(sizes: np.ndarray, wanted: int) -> np.ndarray:
    """Which groups hold every k-th row, for k that gives `wanted` rows; groups larger than k rows never."""
    taken = np.zeros(len(sizes), dtype=bool)
    fitting = np.flatnonzero(sizes <= max(1, sizes.sum() / max(1, wanted)))
    rows = sizes[fitting]
    if not len(rows):
        return taken
    # marks stand on groups, not on rows: a larger group is not taken more often
    marks = np.floor((np.arange(1, len(rows) + 1)) * min(1.0, wanted / rows.sum()) + 0.5)
    taken[fitting[np.diff(np.r_[0, marks]) > 0]] = True
    return taken


def sample(stratum: np.ndarray, size: int, seed: int, *, every_stratum: bool = False) -> np.ndarray:
    """Row numbers, ascending, of a stratified sample of `size` rows (all rows if there are no more).

    Args:
        every_stratum: first take one row of each stratum, as far as `size` reaches.
    """
    total = len(stratum)
    if size >= total:
        return np.arange(total)
    order = np.random.default_rng(seed).permutation(total)
    order = order[np.argsort(stratum[order], kind="stable")]
    heads = np.r_[True, np.diff(stratum[order]) != 0]
    if not every_stratum or heads.sum() > size:
        heads[:] = False
    rest = order[~heads]
    left = size - int(heads.sum())
    places = (
        (np.arange(left) * 2 + 1) * len(rest) // (2 * max(1, left))
    )  # the middle of each of `left` equal parts
    return np.sort(np.r_[order[heads], rest[places]])
