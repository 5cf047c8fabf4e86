"""Tables behind the headline: the confusion matrix and the metrics of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hf_transfer.evaluation.arrays import checked_labels, same_rows

Row = dict[str, str | int | float]


def confusion(labels: npt.ArrayLike, predictions: npt.ArrayLike, n: int) -> np.ndarray:
    """How often class i (row) was called class j (column), int64 (n, n), from ids (rows,) in 0 .. n - 1."""
    truths = checked_labels("single_label_classification", labels, n)
    guesses = checked_labels("single_label_classification", predictions, n)
    same_rows(guesses, truths)
    return np.bincount(truths * n + guesses, minlength=n * n).reshape(n, n)


def per_class(labels: npt.ArrayLike, predictions: npt.ArrayLike, names: Sequence[str]) -> list[Row]:
    """Precision, recall, F1 and support of each label, in the order of `names`.

    Args:
        labels: ids (rows,) or a 0/1 matrix (rows, labels).
        predictions: in the same form.
        names: of the labels, in id order.

    Returns:
        Rows `{"label", "precision", "recall", "f1", "support"}`, plain numbers. A label that was never
        predicted has precision 0.0, one that never occurs has recall 0.0 and support 0.
    """
    if np.ndim(labels) == 2:
        truths = checked_labels("multi_label_classification", labels, len(names))
        guesses = checked_labels("multi_label_classification", predictions, len(names))
        same_rows(guesses, truths)
        hits, support, said = (truths * guesses).sum(axis=0), truths.sum(axis=0), guesses.sum(axis=0)
    else:
        table = confusion(labels, predictions, len(names))
        hits, support, said = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    return [
        {
            "label": name,
            "precision": float(hit / given) if given else 0.0,
            "recall": float(hit / true) if true else 0.0,
            "f1": float(2 * hit / (given + true)) if given + true else 0.0,
            "support": int(true),
        }
        for name, hit, given, true in zip(names, hits, said, support, strict=True)
    ]
