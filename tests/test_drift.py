"""Distances between features, weights and answers: known values, what they do not see, and where they are not defined."""

from __future__ import annotations

import numpy as np
import pytest

from hf_transfer.evaluation.drift import head_agreement, linear_cka, relative_distance, weight_distance

RNG = np.random.default_rng(0)
SINGLE, SEVERAL = "single_label_classification", "multi_label_classification"


def features(n: int, wide: int) -> np.ndarray:
    return RNG.normal(size=(n, wide)) + 3.0  # not centred


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_cka_is_one_for_equal_turned_and_scaled_features(shape: tuple[int, int]) -> None:
    a = features(*shape)
    turn = np.linalg.qr(RNG.normal(size=(shape[1], shape[1])))[0]
    assert linear_cka(a, a.copy()) == 1.0
    assert linear_cka(a, 4 * a @ turn + 7) == pytest.approx(1, abs=1e-12)
    assert linear_cka(a, a @ np.diag(np.arange(1.0, shape[1] + 1))) < 0.99  # but not for any linear map


def test_cka_is_the_formula_of_the_paper_in_both_ways_of_computing() -> None:
    a, b = features(30, 5), features(30, 40)
    centre = np.eye(30) - 1 / 30

    def hsic(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.trace(x @ x.T @ centre @ y @ y.T @ centre))

    for x, y in ((a, b), (b, a), (a, features(30, 7))):
        assert linear_cka(x, y) == pytest.approx(hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y)))


def test_cka_of_unrelated_features_is_low_and_of_constant_ones_unknown() -> None:
    low = linear_cka(features(2000, 4), features(2000, 4))
    assert low is not None and low < 0.02
    assert linear_cka(np.full((9, 3), 0.1, dtype=np.float32), features(9, 3)) is None
    assert linear_cka(features(1, 3), features(1, 3)) is None
    with pytest.raises(ValueError, match="as many rows"):
        linear_cka(features(3, 3), features(4, 3))


def test_relative_distance_sees_what_cka_does_not() -> None:
    a = features(20, 6)
    assert relative_distance(a, a) == 0.0
    assert relative_distance(a, 1.5 * a) == pytest.approx(0.5) == relative_distance(100 * a, 150 * a)
    assert relative_distance(0 * a, a) is None
    with pytest.raises(ValueError, match="one shape"):
        relative_distance(a, a[:, :5])


def test_weights_of_a_group_are_taken_together() -> None:
    big, small = np.full(4, 5.0, dtype=np.float32), np.zeros(3)
    assert weight_distance([(big, big), (small + 1, small)]) == pytest.approx(np.sqrt(3) / 10)
    assert weight_distance([(big.copy(), big)]) == 0.0
    assert weight_distance([]) is None and weight_distance([(big, 0 * big)]) is None


def test_answers_agree_by_what_is_said_and_how_surely() -> None:
    before = np.log(np.array([[0.5, 0.5], [0.8, 0.2], [0.9, 0.1]]))
    after = np.log(np.array([[0.75, 0.25], [0.4, 0.6], [0.9, 0.1]]))
    found = head_agreement(SINGLE, before, after)
    divergences = [0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25), 0.8 * np.log(2) + 0.2 * np.log(1 / 3)]
    assert found == {"agreement": pytest.approx(2 / 3), "kl": pytest.approx(sum(divergences) / 3)}
    assert head_agreement(SINGLE, before, before + 5) == {"agreement": 1.0, "kl": pytest.approx(0, abs=1e-15)}
    sure = head_agreement(SINGLE, np.array([[900.0, 0]]), np.array([[0, 900.0]]))
    assert sure["agreement"] == 0 and np.isfinite(sure["kl"])


def test_several_labels_count_decisions_and_values_differences() -> None:
    before, after = np.array([[4.0, -4.0], [4.0, 4.0]]), np.array([[4.0, 4.0], [4.0, 4.0]])
    found = head_agreement(SEVERAL, before, after)
    p, q = 1 / (1 + np.exp(4.0)), 1 / (1 + np.exp(-4.0))
    kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert found == {"agreement": 0.75, "kl": pytest.approx(kl / 2)}
    assert head_agreement("regression", np.array([[1.0], [2.0]]), np.array([[1.5], [1.0]])) == {
        "mean_difference": 0.75
    }
