"""Solved heads against scikit-learn's own answers, and where they must not fail."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from hf_transfer.problems import Problems
from hf_transfer.strategies.selection import Rows, loss
from hf_transfer.strategies.solvers import NEVER, solve_head

SINGLE, SEVERAL, VALUES = "single_label_classification", "multi_label_classification", "regression"


def blobs(n: int, classes: int, width: int = 8, seed: int = 0, noise: float = 1.0) -> Rows:
    """Rows around one centre a class, far from the origin and on a scale of their own."""
    centres = np.random.default_rng(0).normal(size=(classes, width))
    drawn = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return Rows(50 + 7 * (centres[labels] + noise * drawn.normal(size=(n, width))), labels)


def right(head: object, rows: Rows) -> float:
    return float((head(rows.features).argmax(axis=1) == rows.labels).mean())  # type: ignore[operator]


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_is_scikit_learns_at_the_strength_it_chose(classes: int) -> None:
    train, held = blobs(200, classes, noise=2.0), blobs(120, classes, seed=1, noise=2.0)
    found = solve_head("logistic", SINGLE, classes, train, held)
    spread = np.std(train.features - train.features.mean(axis=0))
    middle = train.features.mean(axis=0)
    own = LogisticRegression(C=found.facts["strength"], max_iter=500).fit(
        (train.features - middle) / spread, train.labels
    )
    theirs = own.predict_log_proba((held.features - middle) / spread) * found.facts["scale"]
    scores = found.head(held.features)
    np.testing.assert_allclose(scores - scores[:, :1], theirs - theirs[:, :1], rtol=1e-6, atol=1e-6)
    assert found.facts["chosen_on"] == "validation"
    others = [solve_head("logistic", SINGLE, classes, train, held).loss]
    assert found.loss == min(others) == pytest.approx(loss(SINGLE, scores, held.labels))


def test_a_label_with_one_row_does_not_keep_the_others_from_being_chosen_on() -> None:
    """Its row is never held out; with it alone, or one row a label, there is nothing to choose on."""
    many = blobs(60, 2, noise=3.0)
    with_one = Rows(np.concatenate([many.features, [[50.0] * 8]]), np.append(many.labels, 2))
    found, plain = (solve_head("ridge", SINGLE, 3, rows) for rows in (with_one, many))
    assert found.facts["chosen_on"] == plain.facts["chosen_on"] == "5 folds of the training rows"
    assert found.loss == pytest.approx(plain.loss, abs=0.1) and found.loss < np.log(2)
    assert found.held is not None and len(found.held[1]) == 60
    for labels in ([0, 1, 2, 3], [0, 0, 0, 1]):
        few = solve_head("ridge", SINGLE, 4, Rows(many.features[:4], np.array(labels)))
        assert few.facts["chosen_on"].startswith("nothing") and few.facts["loss"] is None


@pytest.mark.parametrize("solver", ["logistic", "ridge", "prototypes"])
def test_labels_without_a_training_row_make_no_head_unsure(solver: str) -> None:
    """Two names in use and 48 declared for nothing; a validation row of one of these says nothing of a head."""
    train, held = blobs(120, 2, noise=1.0), blobs(120, 2, seed=1, noise=1.0)
    odd = Rows(np.concatenate([held.features, train.features[:1]]), np.append(held.labels, 40))
    few, many = solve_head(solver, SINGLE, 2, train, held), solve_head(solver, SINGLE, 50, train, odd)
    assert many.facts["strength"] == few.facts["strength"]
    assert many.facts["scale"] == pytest.approx(few.facts["scale"], rel=1e-3)
    several = [np.eye(size)[train.labels] for size in (2, 12)]
    if solver != "prototypes":
        few, many = (solve_head(solver, SEVERAL, y.shape[1], Rows(train.features, y)) for y in several)
        assert many.facts["scale"] == pytest.approx(few.facts["scale"], rel=1e-3)


def test_weights_of_rows_are_scikit_learns() -> None:
    """90 rows of one class and 30 of the other, with scikit-learn's balanced weights."""
    train, held = blobs(120, 4, noise=3.0), blobs(200, 4, seed=1, noise=3.0)
    labels, held_labels = (train.labels == 0).astype(int), (held.labels == 0).astype(int)
    weights = np.array([2 / 3, 2.0])  # n / (classes * rows of the class)
    rows = Rows(train.features, labels, weights=weights[labels])
    middle = train.features.mean(axis=0)
    spread = np.std(train.features - middle)
    found = solve_head(
        "logistic", SINGLE, 2, rows, Rows(held.features, held_labels, weights=weights[held_labels])
    )
    own = LogisticRegression(C=found.facts["strength"], max_iter=500, class_weight="balanced")
    theirs = own.fit((train.features - middle) / spread, labels).decision_function(
        (held.features - middle) / spread
    )
    theirs *= found.facts["scale"]
    scores = found.head(held.features)
    np.testing.assert_allclose(scores[:, 1] - scores[:, 0], theirs, rtol=1e-5, atol=1e-5)
    assert found.loss == pytest.approx(loss(SINGLE, scores, held_labels, weights[held_labels]))
    plain = solve_head("logistic", SINGLE, 2, Rows(train.features, labels), Rows(held.features, held_labels))
    assert (plain.head(held.features).argmax(axis=1) == 1).sum() < (scores.argmax(axis=1) == 1).sum()


@pytest.mark.parametrize("solver", ["logistic", "ridge"])
def test_every_label_has_weights_of_its_own(solver: str) -> None:
    """Of several labels the one whose yes weighs more is given more often; the other one stays."""
    drawn = np.random.default_rng(0)
    features = drawn.normal(size=(300, 6))
    labels = (features[:, :2] + 2 * drawn.normal(size=(300, 2)) > 1.5).astype(int)
    plain = solve_head(solver, SEVERAL, 2, Rows(features, labels)).head(features)
    weights = np.where(labels == 1, [4.0, 1.0], 1.0)
    found = solve_head(solver, SEVERAL, 2, Rows(features, labels, weights=weights)).head(features)
    assert (found[:, 0] > 0).sum() > (plain[:, 0] > 0).sum() + 30
    assert abs((found[:, 1] > 0).sum() - (plain[:, 1] > 0).sum()) < 15


@pytest.mark.parametrize("solver", ["logistic", "ridge", "prototypes"])
def test_a_scale_or_shift_of_the_features_changes_no_answer(solver: str) -> None:
    train, held = blobs(90, 3), blobs(300, 3, seed=1)
    other = solve_head(solver, SINGLE, 3, Rows(train.features * 0.01 - 3, train.labels))
    found = solve_head(solver, SINGLE, 3, train)
    np.testing.assert_allclose(
        other.head(held.features * 0.01 - 3), found.head(held.features), rtol=1e-3, atol=1e-3
    )
    assert right(found.head, held) > 0.8


def test_prototypes_are_the_nearest_class_means_by_cosine() -> None:
    train, held = blobs(24, 3), blobs(200, 3, seed=1)
    found = solve_head("prototypes", SINGLE, 3, train)
    middle = train.features.mean(axis=0)

    def unit(values: np.ndarray) -> np.ndarray:
        return values / np.linalg.norm(values, axis=-1, keepdims=True)

    means = unit(np.stack([unit(train.features - middle)[train.labels == c].mean(axis=0) for c in range(3)]))
    nearest = (unit(held.features - middle) @ means.T).argmax(axis=1)
    assert (found.head(held.features).argmax(axis=1) == nearest).all()
    assert loss(SINGLE, found.head(held.features), held.labels) < np.log(3)  # the scores mean something


def test_ridge_of_values_is_scikit_learns() -> None:
    drawn = np.random.default_rng(0)
    features = drawn.normal(size=(150, 5)) + 3
    train = Rows(features, features @ np.arange(5) + 10 + 0.1 * drawn.normal(size=150))
    found = solve_head("logistic", VALUES, 1, train)  # logistic of values is ridge
    middle, spread = features.mean(axis=0), np.std(features - features.mean(axis=0))
    own = Ridge(alpha=5 / found.facts["strength"]).fit((features - middle) / spread, train.labels)
    np.testing.assert_allclose(
        found.head(features)[:, 0], own.predict((features - middle) / spread), rtol=1e-8
    )
    assert found.loss < 0.02


@pytest.mark.parametrize("solver", ["logistic", "ridge", "prototypes"])
def test_a_label_without_rows_is_never_given(solver: str) -> None:
    train = blobs(60, 2)
    found = solve_head(solver, SINGLE, 4, Rows(train.features, 2 * train.labels + 1))  # 1 and 3 of 0..3
    assert set(found.head(train.features).argmax(axis=1)) == {1, 3}
    assert (found.head.bias[[0, 2]] == NEVER).all()


def test_one_row_a_class_and_one_class_are_solved_too() -> None:
    two = blobs(2, 2)
    for solver in ("logistic", "ridge", "prototypes"):
        assert right(solve_head(solver, SINGLE, 2, two).head, two) == 1.0
    one = Rows(blobs(6, 2).features, np.zeros(6, dtype=int))
    assert right(solve_head("logistic", SINGLE, 2, one).head, one) == 1.0


@pytest.mark.parametrize("solver", ["logistic", "ridge"])
def test_several_labels_a_row(solver: str) -> None:
    drawn = np.random.default_rng(0)
    features = drawn.normal(size=(300, 6))
    labels = (features[:, :3] + 0.3 * drawn.normal(size=(300, 3)) > 0).astype(int)
    labels = np.concatenate([labels, np.zeros((300, 1), int), np.ones((300, 1), int)], axis=1)
    found = solve_head(
        solver, SEVERAL, 5, Rows(features[:200], labels[:200]), Rows(features[200:], labels[200:])
    )
    guesses = found.head(features[200:]) > 0
    assert (guesses[:, :3] == labels[200:, :3]).mean() > 0.85
    assert not guesses[:, 3].any() and guesses[:, 4].all()


def test_few_rows_do_not_make_a_head_too_sure() -> None:
    """Of classes that hardly differ: a penalty chosen on few rows alone gives scores worse than equal shares."""
    losses = []
    for seed in range(5):
        train, held = blobs(16, 2, 384, seed, noise=12.0), blobs(400, 2, 384, seed + 50, noise=12.0)
        found = solve_head("logistic", SINGLE, 2, train)
        losses.append(loss(SINGLE, found.head(held.features), held.labels))
    assert max(losses) < 0.7  # ln 2 is 0.693


def test_a_layer_without_bias_gets_none() -> None:
    train = blobs(60, 2)
    centred = Rows(train.features - train.features.mean(axis=0), train.labels)
    found = solve_head("logistic", SINGLE, 2, centred, has_bias=False)
    assert (found.head.bias == 0).all() and right(found.head, centred) > 0.8


def test_prototypes_need_one_label_a_row() -> None:
    with pytest.raises(Problems, match="one label a row"):
        solve_head("prototypes", VALUES, 1, Rows(np.ones((4, 2)), np.arange(4.0)))


def test_scores_are_scaled_no_further_than_rounding_allows() -> None:
    """Features that hardly differ, but do so by label: sure logits would be mostly rounding once the model is loaded again."""
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 2
    features = 1.0 + 1e-6 * generator.normal(size=(60, 4)) + 1e-5 * labels[:, None]
    for solver in ("logistic", "prototypes", "ridge"):
        head = solve_head(solver, SINGLE, 2, Rows(features, labels, 1e-6)).head
        again = features + 1e-6 * generator.normal(size=features.shape)
        assert np.abs(head(again) - head(features)).max() < 1e-3
