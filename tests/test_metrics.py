"""Metrics against scikit-learn and scipy, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk
from random_scores import MULTI, REGRESSION, SINGLE, multi, single
from scipy.special import expit, softmax

from hf_transfer.evaluation import scores
from hf_transfer.evaluation.classification import compute, headline, predicted, probabilities

pytestmark = pytest.mark.filterwarnings("error:::hf_transfer", "error::RuntimeWarning", "error::UserWarning")


@pytest.mark.parametrize("num_labels", [2, 4, 8])
def test_single_label_metrics_are_scikit_learns(num_labels):
    logits, labels = single(num_labels=num_labels)
    found = compute(SINGLE, logits, labels, num_labels=num_labels)
    guesses, chances = logits.argmax(1), softmax(logits.astype(float), axis=1)
    expected = {
        "accuracy": sk.accuracy_score(labels, guesses),
        "f1_macro": sk.f1_score(labels, guesses, average="macro"),
        "f1_weighted": sk.f1_score(labels, guesses, average="weighted"),
        "matthews_correlation": sk.matthews_corrcoef(labels, guesses),
        "roc_auc": sk.roc_auc_score(labels, chances[:, 1])
        if num_labels == 2
        else sk.roc_auc_score(labels, chances, multi_class="ovr", average="macro"),
    }
    if num_labels > 5:
        expected["top5_accuracy"] = sk.top_k_accuracy_score(labels, logits, k=5)
    assert found == pytest.approx(expected)
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_multi_label_metrics_are_scikit_learns(dtype):
    logits, labels = multi()
    guesses, chances = expit(logits) >= 0.5, expit(logits)
    assert compute(MULTI, logits, labels.astype(dtype), num_labels=6) == pytest.approx(
        {
            "f1_micro": sk.f1_score(labels, guesses, average="micro"),
            "f1_macro": sk.f1_score(labels, guesses, average="macro"),
            "map": sk.average_precision_score(labels, chances, average="macro"),
            "accuracy": sk.accuracy_score(labels, guesses),
        }
    )


def test_map_is_over_the_labels_that_occur_and_f1_macro_over_all():
    logits, labels = multi()
    labels[:, 2] = 0
    found = compute(MULTI, logits, labels, num_labels=6)
    kept = [0, 1, 3, 4, 5]
    assert found["map"] == pytest.approx(sk.average_precision_score(labels[:, kept], logits[:, kept]))
    assert found["f1_macro"] == pytest.approx(sk.f1_score(labels, logits >= 0, average="macro"))
    assert "map" not in compute(MULTI, logits, np.zeros_like(labels), num_labels=6)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_regression_metrics_are_scipys(shape):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 200).astype("float32")  # ties, as graders give them
    values = labels + rng.normal(size=200)
    assert compute(REGRESSION, values.reshape(shape), labels, num_labels=1) == pytest.approx(
        {
            "pearsonr": scipy.stats.pearsonr(values, labels).statistic,
            "spearmanr": scipy.stats.spearmanr(values, labels).statistic,
            "mse": sk.mean_squared_error(labels, values),
        }
    )


@pytest.mark.parametrize("constant", [2.5, 0.0, 0.1])
def test_correlations_of_constants_and_of_one_row_are_zero(constant):
    labels = np.arange(7.0)
    for values, truths in [
        (np.full(7, constant), labels),
        (labels, np.full(7, constant)),
        (np.ones(1), np.ones(1)),
    ]:
        found = compute(REGRESSION, values, truths, num_labels=1)
        assert (found["pearsonr"], found["spearmanr"]) == (0.0, 0.0)


def test_a_class_without_rows_leaves_roc_auc_out():
    logits, labels = single()
    found = compute(SINGLE, logits[labels != 2], labels[labels != 2], num_labels=4)
    assert "roc_auc" not in found and {"accuracy", "f1_macro"} <= set(found)


def test_one_row_and_one_class():
    found = compute(SINGLE, [[0.0, 1.0]], [1], num_labels=2)
    assert found == {"accuracy": 1.0, "f1_macro": 1.0, "f1_weighted": 1.0, "matthews_correlation": 0.0}
    assert compute(MULTI, [[1.0, -1.0]], [[1, 1]], num_labels=2)["f1_micro"] == pytest.approx(2 / 3)


def test_float_ids_are_read_and_top5_breaks_ties_by_the_lower_id():
    logits, labels = single(num_labels=8)
    assert compute(SINGLE, logits, labels.astype(float), num_labels=8) == compute(
        SINGLE, logits, labels, num_labels=8
    )
    assert scores.top5_accuracy(np.zeros((8, 8)), np.arange(8)) == {"top5_accuracy": 5 / 8}


NAN = float("nan")


@pytest.mark.parametrize(
    ("problem_type", "logits", "labels", "num_labels", "said"),
    [
        (SINGLE, [], [], 2, "no rows"),
        (REGRESSION, [], [], 1, "no rows"),
        (MULTI, np.zeros((0, 3)), np.zeros((0, 3)), 3, "no rows"),
        (SINGLE, [[0.0, 1.0], [NAN, 0.0]], [0, 1], 2, "logits: 1 of 2 rows are NaN (the first is row 1)"),
        (SINGLE, [[0.0, float("inf")]], [0], 2, "infinite"),
        (REGRESSION, [0.0, 1.0], [1.0, NAN], 1, "labels: 1 of 2 rows are NaN"),
        (REGRESSION, [[0.0, 1.0]], [1.0], 1, "(rows, 1)"),
        (SINGLE, [[0.0, 1.0]], [2], 2, "ids in 0..1, found 2..2"),
        (SINGLE, [[0.0, 1.0]], [-100], 2, "ids in 0..1"),
        (SINGLE, [[0.0, 1.0]], [0.5], 2, "whole class ids"),
        (SINGLE, [[0.0, 1.0]], [0, 1], 2, "1 rows of logits for 2 labels"),
        (SINGLE, [[0.0, 1.0, 2.0]], [0], 2, "(rows, 2)"),
        (MULTI, [[0.0, 1.0]], [[0, 2]], 2, "0 and 1 only"),
        (MULTI, [[0.0, 1.0]], [[0, 1, 1]], 2, "0/1 matrix (rows, 2)"),
        (MULTI, [[0.0, 1.0], [0.0, 1.0]], [[0], [0, 1]], 2, "equal length"),
        (SINGLE, [[0.0, 1.0]], ["good"], 2, "array of numbers"),
        ("multilabel", [[0.0]], [[0]], 1, "problem_type: expected one of"),
    ],
)
def test_wrong_input_is_named(problem_type, logits, labels, num_labels, said):
    with pytest.raises(ValueError) as raised:
        compute(problem_type, logits, labels, num_labels=num_labels)
    assert said in str(raised.value)


def test_probabilities_and_predictions():
    logits, _ = multi(rows=5)
    assert probabilities(SINGLE, logits) == pytest.approx(softmax(logits, axis=1))
    assert probabilities(SINGLE, [[1e4, -1e4]]).tolist() == [[1.0, 0.0]]
    assert probabilities(MULTI, [[1e4, -1e4, 0.0]]).tolist() == [[1.0, 0.0, 0.5]]
    assert probabilities(REGRESSION, [1.0, 2.0]).tolist() == [[1.0], [2.0]]
    assert predicted(SINGLE, logits).tolist() == logits.argmax(1).tolist()
    assert predicted(MULTI, [[0.0, -0.1], [5.0, 0.1]]).tolist() == [[1, 0], [1, 1]]  # 0.5 is reached
    assert predicted(MULTI, [[0.0, 0.0]], [0.6, 0.4]).tolist() == [[0, 1]]
    assert predicted(REGRESSION, [[1.5]]).tolist() == [1.5]
    with pytest.raises(ValueError, match="expected 2 numbers"):
        predicted(MULTI, [[0.0, 0.0]], [0.5, 0.5, 0.5])
    assert [headline(kind) for kind in (SINGLE, MULTI, REGRESSION)] == ["accuracy", "f1_micro", "pearsonr"]
