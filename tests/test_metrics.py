"""Metrics, baselines and tables against scikit-learn and scipy, and the modules as `evaluate` loads them."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk
from scipy.special import expit, softmax

from hf_transfer.evaluation import scores
from hf_transfer.evaluation.baselines import baseline, best_constant_set
from hf_transfer.evaluation.classification import compute, headline, predicted, probabilities
from hf_transfer.evaluation.metrics import SHIPPED, load_metric
from hf_transfer.evaluation.tables import confusion, per_class
from hf_transfer.problems import Problems

pytestmark = pytest.mark.filterwarnings("error:::hf_transfer", "error::RuntimeWarning", "error::UserWarning")
SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
ROOT = Path(__file__).resolve().parent.parent


def single(rows=300, num_labels=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_labels, rows)
    return (rng.normal(size=(rows, num_labels)) + 1.2 * np.eye(num_labels)[labels]).astype("float32"), labels


def multi(rows=300, num_labels=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((rows, num_labels)) < 0.3).astype("float32")
    return rng.normal(size=(rows, num_labels)) + 2 * labels - 1, labels


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


def run(code: str, tmp_path: Path, **environment: str) -> str:
    """Output of a fresh process, in an empty folder and with an empty cache."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "home")} | environment
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_and_computing_pulls_in_no_torch_and_no_evaluate(tmp_path):
    code = """
import sys
from hf_transfer.evaluation import baselines, classification, intervals, tables, thresholds
print(sorted({"torch", "evaluate", "datasets", "sklearn", "scipy"} & set(sys.modules)))
classification.compute("single_label_classification", [[0, 1.0], [1, 0]], [0, 1], num_labels=2)
intervals.intervals("regression", [0, 1.0, 2], [0, 1.0, 1], ["spearmanr"], num_labels=1)
print(sorted({"torch", "evaluate", "datasets", "transformers"} & set(sys.modules)))
"""
    assert run(code, tmp_path).split("\n")[:2] == ["[]", "[]"]


def test_every_module_loads_by_path_offline_and_says_what_its_score_says(tmp_path):
    folder = ROOT / "hf_transfer" / "evaluation" / "metrics"
    assert sorted(path.name for path in folder.iterdir() if (path / f"{path.name}.py").is_file()) == list(
        SHIPPED
    )
    code = f"""
import evaluate, numpy as np
from hf_transfer.evaluation.metrics import SHIPPED, load_metric
ids, said, values = np.array([0, 1, 2, 1]), np.array([0, 1, 1, 1]), np.array([0.5, 1.0, 4.0, 2.0])
matrix = np.eye(3, dtype=int)[ids]
chances = np.array([[.6, .3, .1], [.2, .5, .3], [.3, .5, .2], [.1, .6, .3]])
given = {{"roc_auc": (chances, matrix), "map": (chances, matrix), "top5_accuracy": (chances, ids)}}
for name in SHIPPED:
    first, second = given.get(name, (said if name not in ("mse", "pearsonr", "spearmanr") else values, ids))
    key = "prediction_scores" if name in given else "predictions"
    config = "multilabel" if name == "roc_auc" else None
    for metric in (evaluate.load({str(folder)!r} + "/" + name, config_name=config, keep_in_memory=True),
                   load_metric(name, config)):
        for _ in range(2):
            print(name, metric.compute(**{{key: first, "references": ids if second is ids else matrix}}))
        try:
            metric.compute(**{{key: [], "references": []}})
        except ValueError as error:
            print(name, error)
print(load_metric("f1", "multilabel").compute(predictions=matrix, references=matrix, average="micro"))
print(load_metric("roc_auc").compute(prediction_scores=[.1, .8, .4], references=[0, 1, 1]))
print(load_metric("roc_auc", "multiclass").compute(prediction_scores=chances, references=ids))
"""
    lines = run(code, tmp_path, HF_EVALUATE_OFFLINE="1", HF_HUB_OFFLINE="1").strip().split("\n")
    for name in SHIPPED:
        said = [line.removeprefix(name + " ") for line in lines if line.startswith(name + " ")]
        assert len(said) == 6 and said[:3] == said[3:] and said[0] == said[1], said
        assert "no rows" in said[2]
        assert set(eval(said[0])) == {name}
    ids, guesses = [0, 1, 2, 1], [0, 1, 1, 1]
    assert f"f1 {scores.f1(guesses, ids)}" in lines
    assert lines[-3:] == [
        "{'f1': 1.0}",
        "{'roc_auc': 1.0}",
        next(line.removeprefix("roc_auc ") for line in lines if line.startswith("roc_auc ")),
    ]


OWN = """
import datasets
import evaluate


class Own(evaluate.Metric):
    def _info(self):
        kind = datasets.Value("int32")
        kind = datasets.Sequence(kind) if self.config_name == "multilabel" else kind
        features = datasets.Features({{"predictions": kind, "references": kind}})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {returns}
"""


def own(folder: Path, name: str, returns: str) -> str:
    (folder / name).mkdir()
    (folder / name / f"{name}.py").write_text(OWN.format(returns=returns))
    return str(folder / name)


@pytest.fixture
def offline(monkeypatch):
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)


@pytest.mark.filterwarnings("default")
def test_further_metrics_by_name_path_and_object(tmp_path, offline):
    logits, labels = single(num_labels=3)
    mine = own(tmp_path, "mine", '{"rows": len(predictions), "accuracy": 0.25, "note": "text"}')
    found = compute(SINGLE, logits, labels, num_labels=3, extra=["roc_auc", mine, load_metric("f1")])
    plain = compute(SINGLE, logits, labels, num_labels=3)
    assert found == pytest.approx(plain | {"rows": 300.0, "accuracy": 0.25, "f1": plain["f1_macro"]})

    logits, labels = single(num_labels=2)
    assert compute(SINGLE, logits, labels, num_labels=2, extra=["roc_auc"]) == compute(
        SINGLE, logits, labels, num_labels=2
    )
    logits, labels = multi()
    found = compute(MULTI, logits, labels, num_labels=6, extra=["f1", "roc_auc", mine])
    assert found["f1"] == pytest.approx(found["f1_macro"]) and found["rows"] == 300
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, logits))
    assert compute(REGRESSION, [1.0, 2.0], [1.0, 2.5], num_labels=1, extra=["mse"])["mse"] == 0.125


@pytest.mark.filterwarnings("default")
def test_a_metric_that_is_missing_fails_or_says_nothing_is_a_problem(tmp_path, offline):
    logits, labels = single()
    broken = own(tmp_path, "broken", "1 / 0")
    silent = own(tmp_path, "silent", '{"table": [1, 2]}')
    for metric, said in [
        ("acuracy", "did you mean accuracy?"),
        ("somebody/their_metric", "cannot be loaded"),
        (str(tmp_path / "none"), "cannot be loaded"),
        (broken, "division by zero"),
        (silent, "returns no number"),
    ]:
        with pytest.raises(Problems, match="metric ") as raised:
            compute(SINGLE, logits, labels, num_labels=4, extra=[metric])
        assert said in str(raised.value)
    without = compute(SINGLE, logits[labels != 2], labels[labels != 2], num_labels=4, extra=["roc_auc"])
    assert "roc_auc" not in without
