"""Bootstrap intervals: the fast metrics against scikit-learn, the ends against scipy, coverage and speed."""

from __future__ import annotations

import time

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk

from hf_transfer.evaluation import weighted
from hf_transfer.evaluation.classification import compute
from hf_transfer.evaluation.intervals import intervals, resampled, settled

pytestmark = pytest.mark.filterwarnings("error")
SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


def single(rows=120, num_labels=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_labels, rows)
    return rng.normal(size=(rows, num_labels)) + 1.2 * np.eye(num_labels)[labels], labels


def multi(rows=120, num_labels=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((rows, num_labels)) < 0.3).astype(int)
    return rng.normal(size=(rows, num_labels)) + 2 * labels - 1, labels


@pytest.mark.parametrize("ties", [False, True])
def test_weighted_metrics_are_scikit_learns_with_sample_weights(ties):
    logits, labels = single()
    scores = logits[:, 1].round(0 if ties else 9)
    guesses, eye = logits.argmax(1), np.eye(3)
    true, said = eye[labels], weighted.indicator(guesses, 3).toarray()
    assert (said == eye[guesses]).all()
    counts = next(resampled(np.ones(120, dtype=int), 20, seed=1))
    assert counts.shape == (20, 120) and (counts.sum(1) == 120).all()
    for row, many in enumerate(counts):
        one = many[None]
        given = {"sample_weight": many}
        for average, rule in [("present", "macro"), ("weighted", "weighted"), ("micro", "micro")]:
            expected = sk.f1_score(labels, guesses, average=rule, **given)
            assert weighted.f1(counts, true, said, average)[row] == pytest.approx(expected)
        assert weighted.matthews_correlation(one, true, said)[0] == pytest.approx(
            sk.matthews_corrcoef(labels, guesses, **given)
        )
        assert weighted.roc_auc(one, true[:, 1], scores)[0] == pytest.approx(
            sk.roc_auc_score(labels == 1, scores, **given)
        )
        assert weighted.average_precision(one, true[:, 1], scores)[0] == pytest.approx(
            sk.average_precision_score(labels == 1, scores, **given)
        )
        drawn = np.repeat(np.arange(120), many.astype(int))
        first, second = scores[drawn], logits[drawn, 2]
        assert weighted.pearsonr(counts, scores, logits[:, 2])[row] == pytest.approx(
            scipy.stats.pearsonr(first, second).statistic
        )
        assert weighted.spearmanr(counts, scores, logits[:, 2])[row] == pytest.approx(
            scipy.stats.spearmanr(first, second).statistic
        )


def test_every_row_once_gives_the_metric_itself(monkeypatch):
    """Each key's interval is about the very number that `compute` returns."""
    import hf_transfer.evaluation.intervals as module

    monkeypatch.setattr(module, "resampled", lambda sizes, resamples, seed: iter([sizes[None].astype(float)]))
    spare, ids = single()
    regression = np.random.default_rng(0).normal(size=(2, 50))
    for problem_type, num_labels, (logits, labels) in [
        (SINGLE, 2, single(num_labels=2)),
        (SINGLE, 7, single(num_labels=7)),
        (SINGLE, 5, (np.pad(spare, ((0, 0), (0, 2)), constant_values=-99), ids)),  # two classes unused
        (MULTI, 5, multi()),
        (REGRESSION, 1, (regression[0], regression[0] + regression[1])),
    ]:
        point = compute(problem_type, logits, labels, num_labels=num_labels)
        found = intervals(problem_type, logits, labels, list(point), num_labels=num_labels)
        for key, value in point.items():
            assert found[key] == pytest.approx((value, value)), key


def test_ends_are_those_of_scipys_bootstrap():
    rng = np.random.default_rng(0)
    logits, labels = single(rows=400)
    hits = (logits.argmax(1) == labels).astype(float)
    theirs = scipy.stats.bootstrap((hits,), np.mean, n_resamples=4000, method="percentile", rng=rng)
    ours = intervals(SINGLE, logits, labels, ["accuracy"], num_labels=3, resamples=4000)["accuracy"]
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.006)

    values = rng.normal(size=200)
    truths = values + rng.normal(size=200)
    theirs = scipy.stats.bootstrap(
        (values, truths),
        lambda x, y: scipy.stats.spearmanr(x, y).statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=rng,
    )
    ours = intervals(REGRESSION, values, truths, ["spearmanr"], num_labels=1, resamples=2000)["spearmanr"]
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.015)


def test_about_95_of_100_intervals_hold_the_truth():
    """Accuracy 0.8 (drawn as such), and a correlation of 0.6, with 200 rows each."""
    rng = np.random.default_rng(0)
    held = {"accuracy": 0, "pearsonr": 0}
    for trial in range(400):
        labels = rng.integers(0, 2, 200)
        guesses = np.where(rng.random(200) < 0.8, labels, 1 - labels)
        low, high = intervals(
            SINGLE, np.eye(2)[guesses], labels, ["accuracy"], num_labels=2, resamples=400, seed=trial
        )["accuracy"]
        held["accuracy"] += low <= 0.8 <= high
        values = rng.normal(size=200)
        truths = 0.6 * values + 0.8 * rng.normal(size=200)
        low, high = intervals(
            REGRESSION, values, truths, ["pearsonr"], num_labels=1, resamples=400, seed=trial
        )["pearsonr"]
        held["pearsonr"] += low <= 0.6 <= high
    assert all(0.91 <= count / 400 <= 0.98 for count in held.values()), held


def test_speed():
    logits, labels = single(rows=2000, num_labels=6)
    start = time.perf_counter()
    intervals(SINGLE, logits, labels, ["accuracy", "f1_macro", "matthews_correlation"], num_labels=6)
    assert time.perf_counter() - start < 3


def test_same_seed_same_interval_whatever_else_is_asked():
    logits, labels = single(num_labels=6)
    alone = intervals(SINGLE, logits, labels, ["roc_auc"], num_labels=6, seed=3)
    keys = ["top5_accuracy", "accuracy", "roc_auc"]
    many = intervals(SINGLE, logits, labels, keys, num_labels=6, seed=3)
    assert list(many) == keys and many["roc_auc"] == alone["roc_auc"]
    assert intervals(SINGLE, logits, labels, keys, num_labels=6, seed=4) != many


def test_blocks_do_not_change_the_draws_of_rows(monkeypatch):
    logits, labels = multi()
    whole = intervals(MULTI, logits, labels, ["map", "f1_micro"], num_labels=5, resamples=50)
    monkeypatch.setattr("hf_transfer.evaluation.intervals.BLOCK", 120 * 7)
    assert intervals(MULTI, logits, labels, ["map", "f1_micro"], num_labels=5, resamples=50) == whole


def test_thresholds_count():
    logits, labels = multi()
    assert intervals(MULTI, logits, labels, ["f1_micro"], num_labels=5) != intervals(
        MULTI, logits, labels, ["f1_micro"], num_labels=5, thresholds=[0.9] * 5
    )


def test_rows_that_are_all_right_are_no_proof():
    """Two rows, both right: Wilson's interval, not 1 to 1; a metric without such a formula has none."""
    spans = intervals(SINGLE, np.eye(2), [0, 1], ["accuracy", "f1_macro"], num_labels=2)
    assert spans["accuracy"] == (1.0, 1.0)
    found = settled(spans | {"f1_macro": (1.0, 1.0)}, 2)
    assert found == {"accuracy": pytest.approx((0.342, 1.0), abs=1e-3)}
    assert settled({"accuracy": (0.2, 0.9)}, 9) == {"accuracy": (0.2, 0.9)}


def test_edges():
    assert intervals(SINGLE, [[0.0, 1.0]], [1], ["accuracy", "roc_auc"], num_labels=2) == {
        "accuracy": (1.0, 1.0)
    }
    assert intervals(REGRESSION, [2.0, 2.0, 2.0], [1.0, 2.0, 3.0], ["pearsonr"], num_labels=1) == {
        "pearsonr": (0.0, 0.0)
    }
    # one row of a class: the resamples without it have no area, the others do
    low, high = intervals(SINGLE, np.eye(2)[[0, 0, 1, 1]], [0, 0, 0, 1], ["roc_auc"], num_labels=2)["roc_auc"]
    assert 0.5 <= low <= high <= 1
    with pytest.raises(ValueError, match="no interval for bleu; there are accuracy"):
        intervals(SINGLE, [[0.0, 1.0]], [1], ["bleu"], num_labels=2)
    with pytest.raises(ValueError, match="NaN"):
        intervals(REGRESSION, [float("nan")], [1.0], ["mse"], num_labels=1)
