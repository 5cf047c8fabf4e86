"""How often each label stands in the training rows, and what is made of it against imbalance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hf_transfer.problems import Problem, Problems, nearest


def counts(labels: np.ndarray, size: int) -> np.ndarray:
    """Rows that have each of `size` labels: of ids (n,) or of a 0/1 matrix (n, size)."""
    found = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=size)
    return np.asarray(found, dtype=np.float64)


def class_weights(rows: np.ndarray, given: Mapping[str, float] | None, names: Sequence[str]) -> np.ndarray:
    """The weight of each label (labels,), 1 on average over the training rows.

    So dividing by the number of rows, as the Trainer does over the global batch, is exact. (torch's own mean divides by
    the weights of the micro-batch at hand, and so depends on how a batch is split.)

    Args:
        rows: training rows of each label.
        given: by label name; labels that are not named weigh 1. None: balanced, `n / (labels * rows)`, as scikit-learn's.
    """
    if given is None:
        check_all_there(rows, names, "--class_weights", "its balanced weight would be infinite")
        return np.asarray(rows.sum() / (len(rows) * rows))
    plain = np.array([given.get(name, 1.0) for name in names])
    return np.asarray(plain * rows.sum() / (plain * rows).sum())


def label_weights(
    rows: np.ndarray, total: int, given: Mapping[str, float] | None, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """With several labels a row: the weights of yes and of no, each (labels,), for each label 1 on average.

    Args:
        rows: training rows that have each label; total: all training rows.
        given: how much more a yes of a label weighs than a no (torch's `pos_weight`). None: `no / yes`, so that both
            count the same in sum.
    """
    if given is None:
        check_all_there(rows, names, "--class_weights", "its balanced weight would be infinite")
        check_all_there(total - rows, names, "--class_weights", "a no of it would weigh nothing", "without")
        more = (total - rows) / rows
    else:
        more = np.array([given.get(name, 1.0) for name in names])
    no = total / (rows * more + (total - rows))
    return no * more, no


def log_priors(rows: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Logarithm of each label's share of the training rows (labels,)."""
    check_all_there(rows, names, "--logit_adjustment", "its prior would be 0")
    return np.asarray(np.log(rows / rows.sum()))


def row_weights(labels: np.ndarray, size: int) -> np.ndarray:
    """How often each row (n,) is drawn so that all labels that occur come equally often; sums to 1."""
    rows = counts(labels, size)
    each = 1 / rows[labels]
    return np.asarray(each / each.sum())


def check_all_there(rows: np.ndarray, names: Sequence[str], where: str, why: str, how: str = "with") -> None:
    """Stop where a label has no training row.

    Raises:
        Problems: one that names them.
    """
    absent = [name for name, count in zip(names, rows, strict=True) if not count]
    if absent:
        what = f"there is no training row {how} {', '.join(absent[:5])}: {why}"
        raise Problems(Problem(where, what, "leave the flag out, or merge or remove the label"))


def check_names(given: Mapping[str, float], names: Sequence[str]) -> list[Problem]:
    """What is wrong with weights given by label name."""
    where = "--class_weights"
    mend = f"the labels are {', '.join(names[:12])}"
    unknown = [name for name in given if name not in names]
    found = [
        Problem(where, f"there is no label {name!r}{nearest(name, list(names))}", mend) for name in unknown
    ]
    poor = [name for name, value in given.items() if not 0 <= value < float("inf")]
    found += [Problem(where, f"{name} has the weight {given[name]:g}", "give 0 or more") for name in poor]
    if not found and not any(given.get(name, 1.0) for name in names):
        found.append(Problem(where, "all labels weigh 0", "give some of them more"))
    return found
