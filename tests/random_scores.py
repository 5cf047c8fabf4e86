"""Scores and labels of random rows, for metrics."""

from __future__ import annotations

import numpy as np

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


def single(rows=300, num_labels=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_labels, rows)
    return (rng.normal(size=(rows, num_labels)) + 1.2 * np.eye(num_labels)[labels]).astype("float32"), labels


def multi(rows=300, num_labels=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((rows, num_labels)) < 0.3).astype("float32")
    return rng.normal(size=(rows, num_labels)) + 2 * labels - 1, labels
