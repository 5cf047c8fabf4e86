"""Texts without labels: read by the same loaders, and never those that the task is tested on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import tiny
from data_tasks import TEXT, refused

from hf_transfer import load
from hf_transfer.adaptation.adapt import domain_texts
from hf_transfer.data.keys import normalised
from hf_transfer.data.texts import own_texts
from hf_transfer.tasks.language_modeling import MASKED_LM

LINES = [f"Line {i} of the book, about {tiny.THINGS[i % 12]}." for i in range(40)]


def write(kind: str, folder: Path) -> Path:
    path, table = folder / f"texts.{kind}", pd.DataFrame({"body": LINES, "stars": list(range(40))})
    if kind == "txt":
        path.write_text("\n\n".join(LINES) + "\n")
    elif kind == "csv":
        table.to_csv(path, index=False)
    elif kind == "jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl", "parquet"])
def test_the_same_loaders_read_them(kind: str, tmp_path: Path) -> None:
    data = load(MASKED_LM, write(kind, tmp_path), test_size=0.0)
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 36, "validation": 4}
    assert sorted(text for rows in data.splits.values() for text in rows["text"]) == sorted(LINES)
    assert data.labels == () and data.splits["train"].column_names == ["text", "row"]
    if kind == "txt":  # blank lines part texts: no mistake, and no warning
        assert "without 39 empty ones" in data.source["how"]["train"] or "39" in str(data.source["how"])
        assert not any("empty" in warning["what"] for warning in data.audit["warnings"])


def test_lists_and_splits_and_what_repeats() -> None:
    data = load(MASKED_LM, {"train": [*LINES, LINES[0]], "validation": [LINES[3], "Another line."]})
    assert set(data.splits) == {"train", "validation"}
    told = " ".join(warning["what"] for warning in data.audit["warnings"])
    assert "repeat an earlier input" in told and "in train too" in told
    assert load(MASKED_LM, LINES, max_train_samples=5).source["splits"]["train"] == 5


def test_a_table_without_a_clear_text_is_asked_about() -> None:
    table = pd.DataFrame({"one": LINES, "two": [line + "!" for line in LINES]})
    assert "--text_column" in refused(load, MASKED_LM, table)
    assert "empty" in refused(load, MASKED_LM, ["", " ", "\n"])


def test_the_tasks_own_texts_are_those_of_training() -> None:
    rows = tiny.rows(120, pairs=True)
    rows[1]["text_pair"] = rows[0]["text"]  # held out by chance, and learned from as the other text of a pair
    data = load(TEXT, rows)
    texts = own_texts(data)
    held = {
        normalised(text)
        for split in ("validation", "test")
        for role in ("text", "text_pair")
        for text in data.splits[split][role]
    }
    assert set(texts.splits) == {"train", "validation"} and "label" not in texts.splits["train"].column_names
    learned = {normalised(text) for text in texts.splits["train"]["text"]}
    assert learned and not learned & held
    own = {normalised(text) for role in ("text", "text_pair") for text in data.splits["train"][role]}
    assert learned == own - held
    assert "dropped that are validation or test texts" in texts.source["how"]["train"]


def test_what_the_task_is_tested_on_is_taken_out_of_the_domains_texts(tmp_path: Path) -> None:
    """A domain's file often holds the very texts that the labelled ones were drawn from."""
    data = load(TEXT, tiny.rows(100))
    everything = [
        text.upper() for rows in data.splits.values() for text in rows["text"]
    ]  # case makes no difference
    path = tmp_path / "domain.txt"
    path.write_text("\n".join([*everything, *LINES]))
    texts = domain_texts(MASKED_LM, data, path)
    held = {normalised(text) for split in ("validation", "test") for text in data.splits[split]["text"]}
    assert not held & {normalised(text) for text in texts.splits["train"]["text"]}
    assert texts.source["splits"]["train"] == len(texts.splits["train"])
    path.write_text("\n".join(data.splits["test"]["text"]))
    assert "every text" in refused(domain_texts, MASKED_LM, data, path)
