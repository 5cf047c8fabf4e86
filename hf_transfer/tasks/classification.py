"""What text and image classification share: labels in, scores out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.data import pixels
from hf_transfer.evaluation.classification import predicted, probabilities

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

    from hf_transfer.data import Data


def label_array(rows: Dataset, data: Data) -> np.ndarray:
    """Labels as the loss takes them: ids (n,), a 0/1 float matrix (n, C), or floats (n,)."""
    values = rows.with_format(None)["label"][:]
    if data.problem_type == "multi_label_classification":
        matrix = np.zeros((len(values), len(data.labels)), dtype=np.float32)
        for i, ids in enumerate(values):
            matrix[i, ids] = 1.0
        return matrix
    return np.asarray(values, dtype=np.float32 if data.problem_type == "regression" else np.int64)


def add_labels(encoded: Dataset, rows: Dataset, data: Data) -> Dataset:
    """`encoded` with a column `labels`."""
    return encoded.add_column("labels", list(label_array(rows, data)))


def prediction_table(
    rows: Dataset, split: str, logits: np.ndarray, data: Data, thresholds: list[float] | None
) -> pd.DataFrame:
    """`row, split, label, prediction, probability_*` and the text, or the image's file name, in the order of `rows`."""
    import pandas as pd

    truth = label_array(rows, data)
    guess = predicted(data.problem_type, logits, thresholds)
    table: dict[str, Any] = {"row": rows["row"][:], "split": split}
    if data.problem_type == "regression":
        table |= {"label": truth, "prediction": np.asarray(guess, dtype=np.float64).reshape(-1)}
    elif data.problem_type == "multi_label_classification":
        table |= {"label": names_of(truth, data.labels), "prediction": names_of(guess, data.labels)}
    else:
        table |= {
            "label": [data.labels[i] for i in truth],
            "prediction": [data.labels[int(i)] for i in guess],
        }
    if data.problem_type != "regression":
        scores = probabilities(data.problem_type, logits)
        table |= {f"probability_{name}": scores[:, i] for i, name in enumerate(data.labels)}
    for role in ("text", "text_pair"):
        if role in rows.column_names:
            table[role] = [text[:500] for text in rows[role][:]]
    if "image" in rows.column_names:
        paths = [row["image"]["path"] for row in pixels.encoded(rows)]
        table |= {"image": [path and Path(path).name for path in paths]} if any(paths) else {}
    return pd.DataFrame(table)


def names_of(matrix: Any, labels: tuple[str, ...]) -> list[list[str]]:
    """Names of the labels that are on in each row of a 0/1 matrix (n, C)."""
    return [[labels[i] for i in np.flatnonzero(row)] for row in np.asarray(matrix)]
