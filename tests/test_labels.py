"""Label maps: order, kinds of problem, and labels that do not fit."""

from __future__ import annotations

import pytest
from data_tasks import TEXT, refused, reviews, write_csv

from hf_transfer.data import load

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


def rows(labels, count=40):
    return [{"text": f"text number {i}", "label": labels[i % len(labels)]} for i in range(count)]


KINDS = {
    "text is sorted": (["pear", "apple", "Fig"], SINGLE, ("Fig", "apple", "pear")),
    "integers sort as numbers": ([10, 9, 2], SINGLE, ("2", "9", "10")),
    "negative integers are classes": ([-1, 0, 1], SINGLE, ("-1", "0", "1")),
    "booleans": ([True, False], SINGLE, ("False", "True")),
    "floats": ([0.5, 1.0, 2.5], REGRESSION, ()),
    "lists of text": ([["b", "a"], [], ["c"]], MULTI, ("a", "b", "c")),
    "lists of ids": ([[10], [2, 3]], MULTI, ("2", "3", "10")),
    "a 0/1 matrix": ([[0, 1, 0], [1, 1, 0], [0, 0, 1]], MULTI, ("0", "1", "2")),
    "text of digits keeps its zeros": (["01", "1"], SINGLE, ("01", "1")),
}


@pytest.mark.parametrize("case", list(KINDS))
def test_kinds(case):
    labels, problem_type, names = KINDS[case]
    data = load(TEXT, rows(labels))
    assert (data.problem_type, set(data.labels)) == (problem_type, set(names))
    if problem_type != REGRESSION:
        assert data.labels == names
        assert data.id2label == dict(enumerate(names))


def test_values_of_each_kind():
    assert load(TEXT, rows([0.5, 2.25])).splits["train"].features["label"].dtype == "float64"
    data = load(TEXT, rows([["b", "a"], [], ["c"]]))
    assert {tuple(ids) for ids in data.splits["train"]["label"][:]} == {(0, 1), (), (2,)}
    assert {tuple(i) for i in load(TEXT, rows([[0, 1, 0], [1, 1, 0]])).splits["train"]["label"][:]} == {
        (1,),
        (0, 1),
    }
    assert {type(i) for i in load(TEXT, rows(["x", "y"])).splits["train"]["label"][:]} == {int}


def test_a_csv_has_numbers_too(tmp_path):
    def csv(labels):
        return write_csv(tmp_path / "a.csv", [(f"text {i}", labels[i % len(labels)]) for i in range(40)])

    assert load(TEXT, csv(["10", "9", " 2"])).labels == ("2", "9", "10")
    assert load(TEXT, csv(["1.5", "2", "-3e-1"])).problem_type == REGRESSION
    assert load(TEXT, csv(["1", "x"])).labels == ("1", "x")
    whole = load(TEXT, csv(["1.0", "5.0"]))
    assert whole.problem_type == REGRESSION
    assert any("whole numbers" in warning["what"] for warning in whole.audit["warnings"])
    assert load(TEXT, tmp_path / "a.csv", problem_type=SINGLE).labels == ("1.0", "5.0")
    assert load(TEXT, csv(["1", "5"]), problem_type=REGRESSION).labels == ()
    assert load(TEXT, csv(["a|b", "b", ""]), problem_type=MULTI).labels == ("a", "b")
    assert "'x' in row 1" in refused(load, TEXT, csv(["1.5", "x"]), problem_type=REGRESSION)


def test_class_label_keeps_its_order_and_hidden_labels_are_no_class():
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["pos", "neg", "never"])})
    train = Dataset.from_dict(
        {"text": [f"t {i}" for i in range(20)], "label": [0, 1] * 10}, features=features
    )
    hidden = Dataset.from_dict({"text": ["a", "b"], "label": [-1, -1]}, features=features)
    data = load(TEXT, DatasetDict(train=train, validation=train.select(range(4)), test=hidden))
    assert data.labels == ("pos", "neg", "never")
    assert list(data.splits) == ["train", "validation"]
    said = " ".join(warning["what"] for warning in data.audit["warnings"])
    assert "has no labels" in said
    assert "never" in said


def test_a_label_that_train_lacks_stops_the_run(tmp_path):
    write_csv(tmp_path / "train.csv", reviews())
    write_csv(tmp_path / "validation.csv", [("so so", "so-so"), ("quite", "good")])
    said = refused(load, TEXT, tmp_path)
    assert "validation.csv" in said
    assert "'so-so' (1)" in said
    assert "bad, good" in said


def test_one_class_only_and_far_too_many():
    assert "one class only: column 'label' holds only 'a'" in refused(load, TEXT, rows(["a"]))
    assert "not classes" in refused(load, TEXT, rows([f"label {i}" for i in range(40)]))
    assert "same value" in refused(load, TEXT, rows([1.5]))
    assert "inf" in refused(load, TEXT, rows([1.5, float("inf")]))
    assert "expected a number up to 1e+15" in refused(load, TEXT, rows([1.5, -1e39]))


def test_names_that_differ_in_case_are_asked_about():
    data = load(TEXT, rows(["Good", "good", "bad"]))
    assert any("'Good' and 'good'" in warning["what"] for warning in data.audit["warnings"])


def test_names_that_look_like_several_labels_are_asked_about():
    joined = ["good|early", "good", "early", "late|good", "late", "good|early"]
    told = [
        warning for warning in load(TEXT, rows(joined)).audit["warnings"] if "hold '|'" in warning["what"]
    ]
    assert len(told) == 1 and "('good|early')" in told[0]["what"] and "multi_label" in told[0]["mend"]
    parts = load(TEXT, rows(["a|b", "c|d", "e", "f"])).audit["warnings"]  # names with a sign in them
    assert not any("hold '|'" in warning["what"] for warning in parts)


def test_missing_labels_are_dropped_and_said():
    import pandas as pd

    frame = pd.DataFrame(rows([0, 1]))
    frame.loc[3, "label"] = None  # pandas makes the column float
    data = load(TEXT, frame)
    assert data.labels == ("0", "1")
    assert sum(data.source["splits"].values()) == 39
    assert any("no label (rows 3; the first is 0)" in warning["what"] for warning in data.audit["warnings"])
