"""Baselines and tables against scikit-learn."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import sklearn.metrics as sk
from random_scores import MULTI, REGRESSION, SINGLE, multi, single

from hf_transfer.evaluation.baselines import baseline, best_constant_set
from hf_transfer.evaluation.tables import confusion, per_class

pytestmark = pytest.mark.filterwarnings("error:::hf_transfer", "error::RuntimeWarning", "error::UserWarning")


def test_single_label_baseline_is_the_majority_class():
    train, labels = np.array([2, 2, 2, 1, 1, 0]), np.array([0, 1, 2, 2, 1, 1])
    guesses = np.full(6, 2)
    assert baseline(SINGLE, train, labels, num_labels=3) == pytest.approx(
        {
            "accuracy": 2 / 6,
            "f1_macro": sk.f1_score(labels, guesses, average="macro", zero_division=0),
            "f1_weighted": sk.f1_score(labels, guesses, average="weighted", zero_division=0),
            "matthews_correlation": 0.0,
            "roc_auc": 0.5,
        }
    )


def test_multi_label_baseline_is_the_best_constant_set():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = (rng.random((40, 4)) < rng.random(4)).astype(int)
        best = max(
            sk.f1_score(labels, np.tile(subset, (40, 1)), average="micro", zero_division=0)
            for subset in product((0, 1), repeat=4)
        )
        found = baseline(MULTI, labels, labels, num_labels=4)
        assert found["f1_micro"] == pytest.approx(best)
        assert found["map"] == pytest.approx(labels.mean(0)[labels.any(0)].mean())
    assert best_constant_set(np.zeros((3, 4), dtype=int)).sum() == 1


def test_regression_baseline_is_the_mean_of_train():
    found = baseline(REGRESSION, [1.0, 3.0], [2.0, 4.0, 6.0], num_labels=1)
    assert found == {"pearsonr": 0.0, "spearmanr": 0.0, "mse": pytest.approx((0 + 4 + 16) / 3)}


def test_tables_are_scikit_learns():
    logits, labels = single()
    guesses = np.minimum(logits.argmax(1), 2)  # class 3 is never predicted
    assert (confusion(labels, guesses, 5) == sk.confusion_matrix(labels, guesses, labels=range(5))).all()
    for truths, said in [(labels, guesses), (multi()[1], (multi()[0] > 0).astype(int))]:
        names = [f"n{i}" for i in range(5 if truths.ndim == 1 else 6)]
        rows = per_class(truths, said, names)
        expected = sk.precision_recall_fscore_support(truths, said, labels=range(len(names)), zero_division=0)
        assert [row["label"] for row in rows] == names
        for key, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
            assert [row[key] for row in rows] == pytest.approx(list(column))
        assert type(rows[0]["support"]) is int and type(rows[0]["f1"]) is float
