"""The audit: what it stops, what it says, and that the record is JSON and tells the content."""

from __future__ import annotations

import json

import pytest
from data_tasks import IMAGE, TEXT, refused, reviews, write_csv

from hf_transfer.data import examples, load


def warnings(data, where=None) -> str:
    return "\n".join(w["what"] for w in data.audit["warnings"] if where in (None, w["where"]))


def test_duplicates_conflicts_and_leaks_are_counted():
    train = [*reviews(40), ("Review  number 0 was dull", "good"), ("review number 1 was fine", "good")]
    splits = {"train": (list(zip(*train, strict=True))[0], list(zip(*train, strict=True))[1])}
    splits["validation"] = (["REVIEW NUMBER 3 WAS FINE", "new"], ["good", "bad"])
    data = load(TEXT, {name: tuple(map(list, pair)) for name, pair in splits.items()})
    assert "2 of 42 rows repeat an earlier input (rows 40, 41; the first is 0)" in warnings(data, "train")
    assert "inputs with different labels: 1 (rows 0, 40)" in warnings(data, "train")
    assert "1 of 2 rows have an input that is in train too" in warnings(data, "validation")


def test_empty_texts_are_dropped_and_rows_keep_their_number(tmp_path):
    rows = [("  ", "good"), *reviews(40), ("", "bad")]
    data = load(TEXT, write_csv(tmp_path / "a.csv", rows))
    assert (
        "dropped 2 of 42 rows that have an empty or missing input (rows 0, 41; the first is 0)"
        in warnings(data, "train")
    )
    assert sorted(row for part in data.splits.values() for row in part["row"][:]) == list(range(1, 41))


def test_errors_come_as_one_list(tmp_path):
    write_csv(tmp_path / "train.csv", [("", "good"), (" ", "good")])
    write_csv(tmp_path / "validation.csv", [("", "bad")])
    said = refused(load, TEXT, tmp_path)
    assert "train: every row has an empty input" in said
    assert "validation: every row has an empty input" in said
    assert "one class only" in said or "labels that the training rows lack" in said


def test_imbalance_and_rare_classes():
    rows = [{"text": f"t {i}", "label": "rare" if i < 3 else "common"} for i in range(100)]
    said = warnings(load(TEXT, {"train": rows, "validation": rows}))
    assert "imbalanced: common has 97 rows, rare 3" in said
    assert "labels with fewer than 5 rows: rare (3)" in said


@pytest.mark.parametrize(
    ("number", "warned"), [("{}", True), ("{},50 %", True), ("-1.{}e3", True), ("no. {}", False)]
)
def test_texts_that_are_nothing_but_numbers(number, warned, tmp_path):
    rows = [(number.format(i), label) for i, (_, label) in enumerate(reviews(40))]
    found = load(TEXT, write_csv(tmp_path / "a.csv", rows))
    assert ("the texts in column 'text' are nothing but numbers" in warnings(found, "train")) == warned
    assert ("--text_column" in str(found.audit["warnings"])) == warned


def test_the_same_image_twice(tmp_path):
    from PIL import Image

    for i in range(12):
        folder = tmp_path / ("a" if i % 2 else "b")
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (max(0, i - 1) * 20, 0, 0)).save(folder / f"{i}.png")
    found = load(IMAGE, tmp_path)
    assert "inputs with different labels: 1" in warnings(found) or "1 of" in warnings(found)


def test_the_record_is_json_and_the_fingerprint_tells_the_content():
    rows = [{"text": text, "label": label} for text, label in reviews(40)]
    data = load(TEXT, rows)
    assert json.loads(json.dumps(data.source)) == data.source
    assert json.loads(json.dumps(data.audit)) == data.audit
    assert set(data.audit["characters"]["train"]) == {"p50", "p95", "p99", "max"}
    same, swapped = load(TEXT, list(rows)), load(TEXT, [rows[1], rows[0], *rows[2:]])
    other = load(TEXT, [{**rows[0], "text": rows[0]["text"].upper()}, *rows[1:]])
    assert same.source["fingerprint"] == data.source["fingerprint"]
    assert len({d.source["fingerprint"] for d in (data, swapped, other)}) == 3


def test_the_embedded_set():
    data = load(TEXT, default=examples("everyday_sentiment"))
    assert data.labels == ("negative", "positive")
    assert list(data.splits) == ["train", "validation", "test"]
    assert "everyday_sentiment" in refused(examples, "everyday_sentimant")


REAL = {
    "sst2": ({}, ("negative", "positive"), 67_349),
    "trec": ({"label_column": "coarse_label"}, ("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"), 4_952),
    "stsb": ({}, (), 5_749),
    "scicite": ({}, ("background", "method", "result"), 7_320),
    "tweet_eval_emotion": ({}, ("anger", "joy", "optimism", "sadness"), 3_257),
    "imdb": ({}, ("neg", "pos"), 3_000),
    "go_emotions": ({"max_train_samples": 10_000}, None, 10_000),
}


@pytest.mark.parametrize("name", list(REAL))
def test_real_sets(name, shared_data):
    options, labels, rows = REAL[name]
    data = load(TEXT, shared_data / name, **options)
    assert len(data.splits["train"]) == rows
    assert labels is None or data.labels == labels
    assert data.splits["train"].column_names[-2:] == ["label", "row"]


def test_real_images(shared_data):
    assert load(IMAGE, shared_data / "hymenoptera").source["splits"] == {"train": 244, "validation": 153}
    data = load(IMAGE, shared_data / "cifar10", max_train_samples=100, max_eval_samples=50)
    assert data.audit["rows"]["train"]["labels"] == dict.fromkeys(data.labels, 10)
    assert data.splits["validation"][0]["image"].size == (32, 32)
