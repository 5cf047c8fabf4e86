"""The vote of the nearest rows: DINO's on small arrays, whatever their number, within bounded memory; and how k is chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from hf_transfer.strategies import neighbours
from hf_transfer.strategies.neighbours import as_targets, choose_neighbours, nearest, vote
from hf_transfer.strategies.selection import Rows

SINGLE, SEVERAL, VALUE = "single_label_classification", "multi_label_classification", "regression"


def normalized(values: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(values), dim=1)


def dino(features: np.ndarray, reference: np.ndarray, labels: np.ndarray, k: int, size: int) -> np.ndarray:
    """`knn_classifier` of DINO's eval_knn.py in numpy, without its chunks: shares of the vote (n, size)."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, reference)]
    similar = unit[0] @ unit[1].T
    found = np.zeros((len(features), size))
    for row, places in enumerate(np.argsort(-similar, axis=1)[:, :k]):
        np.add.at(found[row], labels[places], np.exp(similar[row, places] / 0.07))
    return found / found.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("rows", [1, 7, 99, 250])
def test_it_is_dinos_vote_for_few_rows_too(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """DINO's own code cuts into 100 parts and gives nothing for fewer than 100 rows."""
    rng = np.random.default_rng(rows)
    reference, features, labels = (
        rng.normal(size=(300, 8)),
        rng.normal(size=(rows, 8)),
        rng.integers(0, 4, 300),
    )
    wanted = dino(features, reference, labels, 20, 4)
    for at_once in (1, 1_000, 2**24):  # of which the first is less than one row's similarities
        monkeypatch.setattr(neighbours, "AT_ONCE", at_once)
        found = nearest(torch.from_numpy(features), normalized(reference), 20)
        logits = vote(SINGLE, *found, as_targets(SINGLE, labels), 4).numpy()
        shares = softmax(logits, axis=1) * (20 + 4) - 1  # without the row more of every label
        np.testing.assert_allclose(shares / 20, wanted, atol=1e-6)
        assert (logits.argmax(axis=1) == wanted.argmax(axis=1)).all()


def test_no_row_gives_no_vote() -> None:
    found = nearest(torch.zeros(0, 3), torch.eye(3), 2)
    assert vote(SINGLE, *found, torch.arange(3), 3).shape == (0, 3)


def test_nearer_rows_count_for_more() -> None:
    """Two of three neighbours say b, and a, by far the nearest, has the vote; by numbers alone b would."""
    reference = np.array([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]])
    found = nearest(torch.tensor([[1.0, 0.01]], dtype=torch.float64), normalized(reference), 3)
    assert vote(SINGLE, *found, torch.tensor([0, 1, 1]), 2).argmax() == 0


def test_length_of_the_features_says_nothing() -> None:
    rng = np.random.default_rng(0)
    reference, features = rng.normal(size=(50, 4)), rng.normal(size=(9, 4))
    one = nearest(torch.from_numpy(features), normalized(reference), 5)
    two = nearest(torch.from_numpy(features * rng.uniform(0.1, 9, (9, 1))), normalized(reference), 5)
    torch.testing.assert_close(one[0], two[0]), torch.testing.assert_close(one[1], two[1])


def test_several_labels_and_values_are_means_of_the_neighbours() -> None:
    rng = np.random.default_rng(1)
    reference, features = rng.normal(size=(40, 4)), rng.normal(size=(6, 4))
    many, values = (rng.random((40, 3)) < 0.4).astype(float), rng.normal(size=40)
    found = nearest(torch.from_numpy(features), normalized(reference), 5)
    weights = torch.softmax(found[0] / 0.07, dim=1).numpy()
    places = found[1].numpy()
    mean = (weights[..., None] * many[places]).sum(axis=1)
    logits = vote(SEVERAL, *found, as_targets(SEVERAL, many), 3).numpy()
    np.testing.assert_allclose(expit(logits), (5 * mean + 1) / 7, atol=1e-6)
    value = vote(VALUE, *found, as_targets(VALUE, values), 1).numpy()
    np.testing.assert_allclose(value[:, 0], (weights * values[places]).sum(axis=1), atol=1e-6)


def test_k_and_scale_are_chosen_on_rows_that_do_not_vote() -> None:
    """Labels of single rows are noise of which k = 1 believes every bit: on the rows themselves it would be always right."""
    rng = np.random.default_rng(2)
    truths = rng.integers(0, 2, 400)
    features = rng.normal(size=(400, 6)) + 1.5 * truths[:, None]
    labels = np.where(rng.random(400) < 0.3, 1 - truths, truths)
    found = choose_neighbours(SINGLE, 2, Rows(features, labels))
    assert found.k >= 10 and found.chosen_on == "5 folds of the training rows"
    assert found.held is not None and len(found.held[1]) == 400
    assert found.loss < 0.68 < -np.log(0.5)  # 0.611 is what the noise leaves
    many = Rows(features[:150], labels[:150])
    assert choose_neighbours(SINGLE, 2, Rows(features, labels), many).chosen_on == "validation"


def test_names_without_a_row_and_a_row_without_another_change_no_choice() -> None:
    rng = np.random.default_rng(4)
    labels = np.arange(200) % 2
    features = rng.normal(size=(200, 6)) + 3 * labels[:, None]
    few, many = (choose_neighbours(SINGLE, size, Rows(features, labels)) for size in (2, 50))
    assert many.scale > few.scale and many.k == few.k
    more = Rows(np.concatenate([features, [[50.0] * 6]]), np.append(labels, 2))
    assert choose_neighbours(SINGLE, 3, more).chosen_on == "5 folds of the training rows"


def test_where_labels_are_sharp_few_neighbours_vote() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(200) % 40  # five rows a label: of twenty neighbours fifteen must be wrong
    features = 1 + np.eye(40)[labels] + rng.normal(scale=0.02, size=(200, 40))  # all of them rather alike
    found = choose_neighbours(SINGLE, 40, Rows(features, labels))
    assert found.k <= 5 and found.scale > 1 and found.loss < 0.3


@pytest.mark.parametrize("spread", [0.3, 1.5])
@pytest.mark.parametrize("problem", [SINGLE, SEVERAL, VALUE])
def test_of_numbers_that_are_as_good_the_largest_is_taken(problem: str, spread: float) -> None:
    """48 rows that any number of neighbours tells apart: by the least loss alone it is often one, and all scores are the same."""
    rng = np.random.default_rng(1)
    truths = np.arange(48) % 2
    features = np.outer(2 * truths - 1, np.ones(8)) + rng.normal(scale=spread, size=(48, 8))
    values = truths + rng.normal(scale=0.3, size=48)
    labels = {SINGLE: truths, SEVERAL: np.eye(2)[truths], VALUE: values}[problem]
    found = choose_neighbours(problem, 1 if problem == VALUE else 2, Rows(features, labels))
    assert found.k >= 10 and found.held is not None
    assert spread < 1 or len(np.unique(found.held[0].round(4))) > 20


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_too_few_rows_to_choose_on(rows: int) -> None:
    found = choose_neighbours(SINGLE, 5, Rows(np.eye(5)[:rows], np.arange(rows)))
    assert found.k == rows and found.scale == 1.0 and found.held is None
