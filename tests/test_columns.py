"""Columns are found when unambiguous; otherwise the message lists what there is."""

from __future__ import annotations

import pytest
from data_tasks import TEXT, refused, reviews, write_csv

from hf_transfer.data import load

FOUND = {
    "by convention": (("Review", "Sentiment"), {"text": "Review", "label": "Sentiment"}),
    "by type": (("foo", "bar"), {"text": "foo", "label": "bar"}),
    "label by ending": (("utterance", "intent_class"), {"text": "utterance", "label": "intent_class"}),
}


@pytest.mark.parametrize("case", list(FOUND))
def test_found(case, tmp_path):
    header, columns = FOUND[case]
    assert load(TEXT, write_csv(tmp_path / "a.csv", reviews(), header)).columns == columns


def test_a_plain_name_wins_over_other_conventional_ones(tmp_path):
    rows = [(i, "a title", text, label, 3.0, "books") for i, (text, label) in enumerate(reviews())]
    header = ("id", "title", "text", "label", "rating", "domain")
    assert load(TEXT, write_csv(tmp_path / "a.csv", rows, header)).columns == {
        "text": "text",
        "label": "label",
    }


@pytest.mark.parametrize(
    "pair", [("sentence1", "sentence2"), ("premise", "hypothesis"), ("question", "sentence")]
)
def test_pairs(pair, tmp_path):
    rows = [(text, text[::-1], label) for text, label in reviews()]
    data = load(TEXT, write_csv(tmp_path / "a.csv", rows, (*pair, "label")))
    assert data.columns == {"text": pair[0], "text_pair": pair[1], "label": "label"}
    assert data.splits["train"].column_names == ["text", "text_pair", "label", "row"]
    only = load(TEXT, tmp_path / "a.csv", text_column=pair[0])
    assert "text_pair" not in only.columns


def test_several_candidates_are_listed(tmp_path):
    rows = [(text, text + "!", label, label.upper()) for text, label in reviews()]
    said = refused(load, TEXT, write_csv(tmp_path / "a.csv", rows, ("body", "review", "category", "target")))
    assert "several columns of a.csv could be the text: review, body" in said
    assert "could be the label: target, category" in said
    assert load(TEXT, tmp_path / "a.csv", text_column="body", label_column="target").labels == ("BAD", "GOOD")


def test_wrong_columns_are_all_named_with_the_nearest(tmp_path):
    path = write_csv(tmp_path / "a.csv", reviews(), ("sentence", "label"))
    said = refused(load, TEXT, path, text_column="sentense", label_column="lable")
    assert "no column 'sentense' (did you mean sentence?); its columns are sentence, label" in said
    assert "did you mean label?" in said
    assert "both are 'label'" in refused(load, TEXT, path, text_column="label", label_column="label")
    said = refused(load, TEXT, write_csv(tmp_path / "b.csv", [("x",), ("y",)], ("text",)))
    assert "no column beside text, and so no label" in said


def test_the_text_column_must_hold_text():
    rows = [{"text": i, "label": "a" if i % 2 else "b"} for i in range(20)]
    assert "holds int64, expected text" in refused(load, TEXT, rows)


def test_splits_must_have_the_same_columns(tmp_path):
    write_csv(tmp_path / "train.csv", reviews())
    write_csv(tmp_path / "validation.csv", reviews(), ("text", "labels"))
    assert "validation.csv has no column 'label'" in refused(load, TEXT, tmp_path)
    write_csv(tmp_path / "validation.csv", reviews())
    write_csv(tmp_path / "test.csv", [("unlabelled",)], ("text",))
    data = load(TEXT, tmp_path)
    assert "test" not in data.splits
    assert any(warning["where"] == "test" for warning in data.audit["warnings"])
