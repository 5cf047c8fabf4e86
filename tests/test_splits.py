"""Splits: which are cut, that equal texts stay together, that classes keep their shares."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
from data_tasks import TEXT, refused, reviews, write_csv

from hf_transfer.data import load
from hf_transfer.data.audit import summary
from hf_transfer.data.splits import cut, sample


def test_which_splits_are_cut(tmp_path):
    def sizes(**files):
        paths = {f"{split}_file": write_csv(tmp_path / f"{split}.csv", rows) for split, rows in files.items()}
        return load(TEXT, **paths).source["splits"]

    assert sizes(train=reviews(100)) == {"train": 80, "validation": 10, "test": 10}
    assert sizes(train=reviews(100), test=reviews(30)) == {"train": 90, "validation": 10, "test": 30}
    assert sizes(train=reviews(100), validation=reviews(30)) == {"train": 100, "validation": 30}
    assert sizes(train=reviews(100), validation=reviews(30), test=reviews(20))["train"] == 100


def test_equal_texts_after_normalisation_stay_on_one_side():
    twins = [(text, label) for text, label in reviews(200)]
    twins += [(f"  {text.upper()}\u00a0", label) for text, label in reviews(200)]
    rows = [{"text": text, "label": label} for text, label in twins]
    data = load(TEXT, rows, validation_size=0.2, test_size=0.2)
    side = {row: split for split, part in data.splits.items() for row in part["row"][:]}
    assert len(side) == 400
    assert all(side[i] == side[i + 200] for i in range(200))
    assert abs(data.source["splits"]["validation"] - 80) <= 4
    assert not any("is in train too" in warning["what"] for warning in data.audit["warnings"])


def test_classes_keep_their_shares_and_none_leaves_train():
    stratum = np.array([0] * 1000 + [1] * 100 + [2] * 10 + [3])
    parts = cut(stratum, np.arange(len(stratum)), {"test": 0.1, "validation": 0.1}, seed=0)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(stratum)))
    for name in ("validation", "test"):
        assert len(parts[name]) == 111
        counts = Counter(stratum[parts[name]].tolist())
        assert abs(counts[0] - 100) <= 1
        assert abs(counts[1] - 10) <= 1
        assert counts[3] == 0
    for seed in range(20):
        few = np.array([0, 0, 1, 1, 2, 2, 0, 1, 2, 3])
        parts = cut(few, np.arange(10), {"test": 0.2, "validation": 0.2}, seed)
        assert set(few[parts["train"]]) == {0, 1, 2, 3}


def test_a_text_repeated_very_often_does_not_fill_a_small_split():
    keys = np.array([0] * 500 + list(range(1, 501)))
    parts = cut(np.zeros(1000, dtype=int), keys, {"validation": 0.1}, seed=1)
    assert 0 in parts["train"]
    assert len(parts["validation"]) >= 50


def test_the_seed_decides():
    stratum, keys = np.arange(500) % 3, np.arange(500)
    one, again, other = (
        cut(stratum, keys, {"validation": 0.1}, seed)["validation"].tolist() for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other


def test_samples_are_stratified_exact_and_recorded():
    stratum = np.array([0] * 900 + [1] * 95 + [2] * 5)
    taken = sample(stratum, 100, seed=3)
    assert len(set(taken.tolist())) == 100
    assert abs(Counter(stratum[taken].tolist())[0] - 90) <= 1
    assert set(stratum[sample(stratum, 10, seed=3, every_stratum=True)]) == {0, 1, 2}
    assert len(sample(stratum, 5000, seed=3)) == 1000
    rows = [{"text": text, "label": label} for text, label in reviews(400)]
    data = load(TEXT, rows, max_train_samples=50, max_eval_samples=20)
    assert data.source["splits"] == {"train": 50, "validation": 20, "test": 20}
    assert "a stratified sample of 50 of its 320 rows" in data.source["how"]["train"]
    assert data.audit["rows"]["train"] == {"rows": 50, "labels": {"bad": 25, "good": 25}}


def test_regression_and_several_labels_are_stratified_too():
    rows = [{"text": f"t {i}", "label": i / 7} for i in range(700)]
    found = summary(load(TEXT, rows).splits, load_labels("regression"))["rows"]
    assert found["validation"]["labels"]["mean"] == pytest.approx(50, abs=3)
    rows = [{"text": f"t {i}", "label": ["all", "rare"] if i % 20 == 0 else ["all"]} for i in range(800)]
    data = load(TEXT, rows)
    assert data.audit["rows"]["validation"]["labels"] == {"all": 80, "rare": 4}


def load_labels(problem_type):
    from hf_transfer.data.labels import Labels

    return Labels(problem_type, (), {})


def test_sizes_that_cannot_be():
    rows = [{"text": text, "label": label} for text, label in reviews(40)]
    assert "no rows to train on" in refused(load, TEXT, rows, validation_size=0.5, test_size=0.5)
    assert "not a share" in refused(load, TEXT, rows, validation_size=20)
    assert "nothing to validate" in refused(load, TEXT, rows, validation_size=0)
    assert "--max_train_samples" in refused(load, TEXT, rows, max_train_samples=0)
    assert "too few rows" in refused(load, TEXT, rows[:2])
    assert list(load(TEXT, rows, test_size=0).splits) == ["train", "validation"]


def test_large_sets_are_quick():
    import pyarrow as pa
    from datasets import Dataset

    count = 60_000
    table = pa.table(
        {
            "text": [f"a text of some words, number {i}" for i in range(count)],
            "label": [i % 7 for i in range(count)],
        }
    )
    begun = time.monotonic()
    data = load(TEXT, Dataset(table))
    assert time.monotonic() - begun < 6
    assert data.source["splits"] == {"train": 48_000, "validation": 6_000, "test": 6_000}
