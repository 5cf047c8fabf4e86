"""Every kind of source gives the same rows: files, folders, images, Python objects."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data_tasks import IMAGE, TEXT, refused, reviews, write_csv
from source_files import frame, picture, texts, write

from hf_transfer.data import load, read_rows


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_every_file_format_gives_the_same_rows(kind, tmp_path):
    data = load(TEXT, write(kind, tmp_path))
    assert texts(data) == [text for text, _ in reviews()]
    assert data.labels == ("bad", "good")
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 32,
        "validation": 4,
        "test": 4,
    }
    assert data.source["name"] == f"reviews.{kind}"
    assert str(tmp_path) not in json.dumps([data.source, data.audit])


def objects():
    from datasets import Dataset

    rows = [dict(zip(("text", "label"), row, strict=True)) for row in reviews()]
    table = Dataset.from_list(rows)
    return {
        "list": rows,
        "pair": ([row["text"] for row in rows], [row["label"] for row in rows]),
        "pandas": frame(),
        "dataset": table,
        "shuffled indices": table.select(list(range(40))),
        "columns": {"text": [row["text"] for row in rows], "label": np.array([row["label"] for row in rows])},
        "stream": table.to_iterable_dataset(),
    }


@pytest.mark.parametrize("kind", list(objects()))
def test_every_python_object_gives_the_same_rows(kind):
    given = load(TEXT, objects()["list"])
    data = load(TEXT, objects()[kind])
    assert texts(data) == texts(given)
    assert data.source["fingerprint"] == given.source["fingerprint"]


def test_a_dict_of_splits_and_a_saved_one_are_taken_as_they_are(tmp_path):
    from datasets import Dataset, DatasetDict

    table = Dataset.from_pandas(frame())
    splits = DatasetDict({"train": table.select(range(30)), "dev": table.select(range(30, 40))})
    splits.save_to_disk(tmp_path / "saved")
    for dataset in (splits, dict(splits), {"train": frame()[:30], "val": frame()[30:]}, tmp_path / "saved"):
        data = load(TEXT, dataset)
        assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 30, "validation": 10}
    table.save_to_disk(tmp_path / "whole")
    assert len(load(TEXT, tmp_path / "whole").splits["train"]) == 32


def test_splits_are_seen_in_file_names(tmp_path):
    rows = reviews()
    for name, part in (("reviews_train", rows[:30]), ("reviews-dev", rows[30:36]), ("test", rows[36:])):
        write_csv(tmp_path / f"{name}.csv", part)
    (tmp_path / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    data = load(TEXT, tmp_path)
    assert data.source["splits"] == {"train": 30, "validation": 6, "test": 4}
    assert data.source["license"] == "cc0-1.0"
    assert data.audit["ignored"] == ["README.md"]


def test_one_format_a_split_and_what_is_ignored_is_named(tmp_path):
    write_csv(tmp_path / "train.tsv", reviews())
    frame().to_parquet(tmp_path / "train.parquet")
    write_csv(tmp_path / "valid.csv", reviews(10))
    write_csv(tmp_path / "unsupervised.csv", reviews(10))
    data = load(TEXT, tmp_path)
    assert data.source["files"] == ["train.parquet", "valid.csv"]
    assert sorted(data.audit["ignored"]) == ["train.tsv", "unsupervised.csv"]
    assert {"train.tsv", "unsupervised.csv"} <= {warning["where"] for warning in data.audit["warnings"]}


def test_files_without_a_split_are_one_data_set(tmp_path):
    write_csv(tmp_path / "one.csv", reviews(20))
    write_csv(tmp_path / "two.csv", reviews(40)[20:])
    data = load(TEXT, tmp_path)
    assert sum(data.source["splits"].values()) == 40
    assert "one.csv, two.csv" in data.audit["warnings"][0]["what"]


@pytest.mark.parametrize("nested", [True, False])
def test_class_folders_of_texts(nested, tmp_path):
    for i, (text, label) in enumerate(reviews()):
        folder = tmp_path / ("train" if i < 30 else "val") / label if nested else tmp_path / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.txt").write_text(text)
    (tmp_path / "notes.md").write_text("of no use")
    data = load(TEXT, tmp_path)
    assert data.labels == ("bad", "good")
    assert data.source["splits"] == (
        {"train": 30, "validation": 10} if nested else {"train": 32, "validation": 4, "test": 4}
    )
    assert "notes.md" in data.audit["ignored"]
    assert all(("fine" in row["text"]) == (row["label"] == 1) for row in data.splits["train"])


def test_class_folders_of_images_and_a_corrupt_one_is_named(tmp_path):
    for i in range(20):
        picture(tmp_path / "train" / ("dark" if i % 2 else "light") / f"{i}.jpg", 10 if i % 2 else 200, i)
        picture(
            tmp_path / "valid" / ("dark" if i % 2 else "light") / f"{i}.PNG", 10 if i % 2 else 200, 100 + i
        )
    data = load(IMAGE, tmp_path)
    assert data.labels == ("dark", "light")
    assert data.source["splits"] == {"train": 20, "validation": 20}
    assert data.splits["train"][0]["image"].size == (16, 16)
    cut = tmp_path / "train" / "dark" / "1.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    (tmp_path / "valid" / "light" / "2.PNG").write_bytes(b"no image")
    said = refused(load, IMAGE, tmp_path)
    assert "1.jpg" in said
    assert "2.PNG" in said


def test_images_by_paths_in_a_csv_and_from_python(tmp_path):
    from PIL import Image

    for i in range(20):
        picture(tmp_path / "images" / f"{i}.png", 200, i)
    rows = [(f"images/{i}.png", "odd" if i % 2 else "even") for i in range(20)]
    by_path = load(IMAGE, write_csv(tmp_path / "data.csv", rows, ("picture", "kind")))
    assert by_path.columns == {"image": "picture", "label": "kind"}
    opened = [Image.open(tmp_path / name) for name, _ in rows]
    assert load(IMAGE, (opened, [label for _, label in rows])).labels == ("even", "odd")
    write_csv(tmp_path / "data.csv", [*rows, ("images/gone.png", "odd")], ("picture", "kind"))
    assert "gone.png" in refused(load, IMAGE, tmp_path / "data.csv")
    assert len(read_rows(IMAGE, tmp_path / "images")) == 20
    assert len(read_rows(IMAGE, tmp_path / "images" / "3.png")) == 1


def test_words_that_pandas_takes_for_gaps_are_words(tmp_path):
    words = ["NA", "None", "null", "nan", "N/A", "007", "1.50"]
    rows = [*((word, "yes") for word in words), *reviews()]
    path = write_csv(tmp_path / "train.csv", [*rows, ("no", "NA"), ("nope", "NA"), ("not", "NA")])
    data = load(TEXT, path)
    assert texts(data)[: len(words)] == words
    assert data.labels == ("NA", "bad", "good", "yes")
    assert not any("dropped" in warning["what"] for warning in data.audit["warnings"])


def test_a_quoted_comma_a_newline_and_other_separators(tmp_path):
    rows = [('one, two\nthree "four"', "good"), *reviews()]
    assert texts(load(TEXT, write_csv(tmp_path / "a.csv", rows)))[0] == rows[0][0]
    (tmp_path / "b.csv").write_text("\ufefftext;label\r\n" + "".join(f"{a};{b}\r\n" for a, b in reviews()))
    assert texts(load(TEXT, tmp_path / "b.csv")) == [text for text, _ in reviews()]
    (tmp_path / "c.tsv").write_text(
        'text\tlabel\n"quoted" start\tgood\n' + "".join(f"{a}\t{b}\n" for a, b in reviews())
    )
    assert texts(load(TEXT, tmp_path / "c.tsv"))[0] == '"quoted" start'


def test_rows_to_predict_on_are_all_kept(tmp_path):
    path = tmp_path / "new.txt"
    path.write_text("first\n\nthird\n")
    rows = read_rows(TEXT, path, text_column="sentence")
    assert rows["text"][:] == ["first", "", "third"]
    assert rows["row"][:] == [0, 1, 2]
    assert read_rows(TEXT, ["a", "b"])["text"][:] == ["a", "b"]
    assert read_rows(TEXT, [("a", "b")])["text_pair"][:] == ["b"]
    assert read_rows(TEXT, write_csv(tmp_path / "new.csv", reviews())).column_names == ["text", "row"]
    assert "no column 'x'" in refused(read_rows, TEXT, tmp_path / "new.csv", text_column="x")


def test_slices_and_other_names_of_splits(tmp_path):
    write_csv(tmp_path / "train.csv", reviews())
    data = load(TEXT, tmp_path, train_split="train[:75%]", validation_split="train[75%:]")
    assert data.source["splits"] == {"train": 30, "validation": 10}
    splits = {"first": frame()[:30], "second": frame()[30:]}
    assert "no training split among first, second" in refused(load, TEXT, splits)
    data = load(TEXT, splits, train_split="first", test_split="second")
    assert data.source["splits"] == {"train": 27, "validation": 3, "test": 10}
    assert "did you mean first" in refused(load, TEXT, splits, train_split="frist")


def test_an_image_folder_with_a_list_of_labels(tmp_path):
    for i in range(20):
        picture(tmp_path / "train" / f"{i}.png", 200, i)
    rows = [{"file_name": f"{i}.png", "label": "odd" if i % 2 else "even"} for i in range(20)]
    (tmp_path / "train" / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    data = load(IMAGE, tmp_path)
    assert data.labels == ("even", "odd")
    assert "no column of train/metadata.jsonl looks like the text" in refused(load, TEXT, tmp_path)


def test_a_large_parquet_file_is_mapped(tmp_path, monkeypatch):
    import datasets

    from hf_transfer.data import files

    monkeypatch.setattr(files, "IN_MEMORY", 0)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert texts(load(TEXT, write("parquet", tmp_path))) == [text for text, _ in reviews()]


def test_nothing_heavy_is_imported_before_it_is_needed():
    import subprocess
    import sys

    code = "import sys; from hf_transfer.data import load, read_rows; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "datasets", "pandas", "pyarrow", "transformers", "PIL"} & set(modules)
