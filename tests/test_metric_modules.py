"""The metrics as `evaluate` loads them, and further ones by name, path and object."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn.metrics as sk
from conftest import ROOT
from random_scores import MULTI, REGRESSION, SINGLE, multi, single

from hf_transfer.evaluation import scores
from hf_transfer.evaluation.classification import compute
from hf_transfer.evaluation.metrics import SHIPPED, load_metric
from hf_transfer.problems import Problems

pytestmark = pytest.mark.filterwarnings("error:::hf_transfer", "error::RuntimeWarning", "error::UserWarning")


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
