"""Thresholds tuned on validation, against trying every cut."""

from __future__ import annotations

import time

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy.special import logit

from hf_transfer.evaluation.classification import compute, predicted
from hf_transfer.evaluation.thresholds import tune

pytestmark = pytest.mark.filterwarnings("error")
MULTI = "multi_label_classification"


def example(rows=80, num_labels=4, seed=0, decimals=9):
    rng = np.random.default_rng(seed)
    labels = (rng.random((rows, num_labels)) < 0.3).astype(int)
    chances = 1 / (1 + np.exp(-rng.normal(size=labels.shape) - 2 * labels + 2))
    return chances.round(decimals), labels


def best_f1(chances, labels):
    cuts = np.unique(chances)
    return max(sk.f1_score(labels, chances >= cut, zero_division=0) for cut in cuts)


@pytest.mark.parametrize("decimals", [1, 9])
@pytest.mark.parametrize("seed", range(5))
def test_each_label_reaches_the_best_f1_there_is(seed, decimals):
    chances, labels = example(seed=seed, decimals=decimals)
    thresholds = tune(chances, labels)
    for column in range(4):
        found = sk.f1_score(labels[:, column], chances[:, column] >= thresholds[column])
        assert found == pytest.approx(best_f1(chances[:, column], labels[:, column]))


def test_rare_labels_share_the_threshold_with_the_best_micro_f1():
    chances, labels = example()
    labels[:, 1] = labels[:, 3] = 0
    labels[7, 1] = labels[[3, 9, 11, 12], 3] = 1
    thresholds = tune(chances, labels)
    assert thresholds[1] == thresholds[3] != thresholds[0]
    micro = sk.f1_score(labels, chances >= thresholds[1], average="micro")
    assert micro == pytest.approx(best_f1(chances.ravel(), labels.ravel()))
    labels[20, 3] = 1  # a fifth positive row: a threshold of its own
    assert tune(chances, labels)[3] != tune(chances, labels)[1]
    assert (tune(chances, labels, min_positives=81) == tune(chances, labels, min_positives=81)[0]).all()


def test_halfway_between_neighbours_and_the_nearest_to_a_half():
    chances = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.1, 0.05])[:, None]
    labels = np.array([1, 1, 1, 1, 1, 0, 0])[:, None]
    assert tune(chances, labels) == pytest.approx([0.3])
    # the first row alone and all four rows have the same F1
    chances, labels = np.array([[0.9], [0.4], [0.3], [0.2]]), np.array([[1], [0], [0], [1]])
    assert sk.f1_score(labels, chances >= 0.65) == sk.f1_score(labels, chances >= 0.1)
    assert tune(chances, labels, min_positives=1) == pytest.approx([0.65])


def test_without_positives_it_is_a_half_and_constant_probabilities_are_given_to_all():
    assert tune(np.full((9, 2), 0.2), np.zeros((9, 2))).tolist() == [0.5, 0.5]
    threshold = tune(np.full((9, 1), 0.2), np.ones((9, 1)))
    assert predicted(MULTI, logit(np.full((9, 1), 0.2)), threshold).all()


def test_neighbouring_floats_are_told_apart():
    labels = np.array([[1]] * 5 + [[0]] * 5)
    for below in (0.3, np.nextafter(0.3, 1.0)):  # halfway is rounded down to one, up to the other
        chances = np.array([[np.nextafter(below, 1.0)]] * 5 + [[below]] * 5)
        assert ((chances >= tune(chances, labels)) == labels).all()


def test_f1_on_validation_is_no_worse_than_at_a_half():
    chances, labels = example(rows=200, num_labels=6)
    plain = compute(MULTI, logit(chances), labels, num_labels=6)
    tuned = compute(MULTI, logit(chances), labels, num_labels=6, thresholds=tune(chances, labels))
    assert tuned["f1_macro"] > plain["f1_macro"]
    assert tuned["map"] == plain["map"]


def test_speed_and_same_answer_again():
    chances, labels = example(rows=5000, num_labels=28)
    start = time.perf_counter()
    thresholds = tune(chances, labels)
    assert time.perf_counter() - start < 1
    assert thresholds.shape == (28,) and (tune(chances, labels) == thresholds).all()


@pytest.mark.parametrize(
    ("chances", "labels", "said"),
    [
        (np.zeros((0, 2)), np.zeros((0, 2)), "no rows"),
        ([[0.1, float("nan")]], [[0, 1]], "NaN"),
        ([[0.1, 1.5]], [[0, 1]], "are these logits"),
        ([[0.1, 0.5]], [[0, 1, 1]], r"\(rows, 2\)"),
        ([[0.1, 0.5]], [[0, 1], [1, 1]], "1 rows of logits for 2 labels"),
    ],
)
def test_wrong_input_is_named(chances, labels, said):
    with pytest.raises(ValueError, match=said):
        tune(chances, labels)


def test_labels_that_are_not_told_apart_yet_do_not_ruin_the_whole():
    """One label is known, twenty rare ones are noise: their own best cuts give them everywhere."""
    rng = np.random.default_rng(0)
    labels = (rng.random((400, 21)) < 0.03).astype(int)
    labels[:, 0] = rng.random(400) < 0.5
    chances = 0.05 + 0.01 * rng.random(labels.shape)
    chances[:, 0] = 0.2 + 0.6 * labels[:, 0]
    found = tune(chances, labels)
    assert len(np.unique(found)) == 1
    assert sk.f1_score(labels, chances >= found, average="micro") > 0.6
    own = [tune(chances[:, [k]], labels[:, [k]])[0] for k in range(21)]
    assert sk.f1_score(labels, chances >= own, average="micro") < 0.5
