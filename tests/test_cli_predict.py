"""`hft predict`: tables and files of predictions, for texts and images, and what cannot be predicted on."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tiny
from example_runs import write_run
from hft_commands import ending

from hf_transfer.cli import main

LABELS = {"single": ["negative", "positive"], "multi": ["funny", "rude", "sad"], "regression": ["LABEL_0"]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders of three kinds with untrained models: what is in the files decides what the command writes."""
    from transformers import AutoModelForSequenceClassification

    folder = tmp_path_factory.mktemp("runs")
    base = tiny.tiny_bert(folder)
    for kind, labels in LABELS.items():
        named = () if kind == "regression" else tuple(labels)
        run = write_run(folder / kind, kind, named)
        record = json.loads((run / "run.json").read_text())
        names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
        model = AutoModelForSequenceClassification.from_pretrained(
            base, problem_type=record["problem_type"], **names
        )
        model.save_pretrained(run)
        tiny.tiny_tokenizer().save_pretrained(run)
    return folder


def write_csv(path: Path, header: str, *lines: str) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_predictions_of_texts_are_a_table(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ending(capsys, "predict", runs / "single", "a lovely film", "an [bold]odd[/bold] name")
    lines = out.splitlines()
    assert code == 0 and lines[0].split() == ["text", "prediction", "score"]
    assert lines[1].startswith("a lovely film") and "[bold]odd[/bold]" in lines[2]
    assert all(
        line.split()[-2] in LABELS["single"] and 0.5 <= float(line.split()[-1]) <= 1 for line in lines[1:]
    )


def test_the_input_is_kept_in_its_order(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ['7,"We found the film lovely, ""so""",NA', "3,,x", "5,dull,None"]
    source, output = write_csv(tmp_path / "new.csv", "id,text,prediction", *lines), tmp_path / "out.csv"
    code, out, err = ending(capsys, "predict", "--output", output, runs / "single", source)
    assert code == 0 and "3 rows" in out and "no text in 1 of 3 rows (1)" in err
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["7", "3", "5"]
    assert [row["text"] for row in rows] == ['We found the film lovely, "so"', "", "dull"]
    assert [row["prediction"] for row in rows] == ["NA", "x", "None"]  # theirs; ours found another name
    assert all(row["prediction_2"] in LABELS["single"] for row in rows)
    for row in rows:
        assert sum(float(row[f"probability_{name}"]) for name in LABELS["single"]) == pytest.approx(1)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_every_kind_in_every_format(runs: Path, tmp_path: Path, kind: str, suffix: str) -> None:
    source, output = tmp_path / "new.txt", tmp_path / f"out.{suffix}"
    source.write_text("a film\nthe room\n")
    assert main(["predict", str(runs / kind), str(source), "--output", str(output)]) == 0
    rows = {
        "csv": lambda: list(csv.DictReader(output.open(newline=""))),
        "jsonl": lambda: [json.loads(line) for line in output.read_text().splitlines()],
        "parquet": lambda: pq.read_table(output).to_pylist(),
    }[suffix]()
    extra = [] if kind == "regression" else [f"probability_{label}" for label in LABELS[kind]]
    assert [list(row) for row in rows] == [["text", "prediction", *extra]] * 2
    for row in rows:
        found = row["prediction"]
        if kind == "regression":
            assert -5 < float(found) < 5
        elif kind == "multi":
            names = json.loads(found) if suffix == "csv" else found
            assert set(names) == {name for name in LABELS[kind] if float(row[f"probability_{name}"]) >= 0.4}
        else:
            assert found in LABELS[kind]
    assert os.listdir(tmp_path).count(output.name) == 1 and len(os.listdir(tmp_path)) == 2


def test_no_label_at_all_is_a_list_in_parquet(runs: Path, tmp_path: Path) -> None:
    strict = shutil.copytree(runs / "multi", tmp_path / "strict")
    record = json.loads((strict / "run.json").read_text()) | {"thresholds": [1.0, 1.0, 1.0]}
    (strict / "run.json").write_text(json.dumps(record))
    assert main(["predict", str(strict), "a film", "--output", str(tmp_path / "out.parquet")]) == 0
    assert str(pq.read_schema(tmp_path / "out.parquet").field("prediction").type).startswith(
        "list<element: string"
    )
    assert pq.read_table(tmp_path / "out.parquet").column("prediction").to_pylist() == [[]]


def test_columns_are_found_named_or_asked_for(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_csv(
        tmp_path / "new.csv", "first,second", "a film,the room was cold", "a song,we found it dull"
    )
    code, _, err = ending(capsys, "predict", runs / "single", source)
    assert code == 2 and "several columns of new.csv could be the text: first, second" in err
    code, _, err = ending(capsys, "predict", runs / "single", source, "--text_column", "secnd")
    assert code == 2 and "no column 'secnd' (did you mean second?)" in err
    code, out, _ = ending(capsys, "predict", runs / "single", source, "--text-column=second")
    assert code == 0 and "the room was cold" in out and "a film" not in out


def test_what_cannot_be_predicted_on(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, empty, header = runs / "single", tmp_path / "empty.csv", write_csv(tmp_path / "header.csv", "text")
    empty.write_text("")
    unfinished = tmp_path / "unfinished"
    (unfinished / "checkpoint-3").mkdir(parents=True)
    (tmp_path / "reviews.csv").write_text("text\na film\n")
    for words, said in (
        ([tmp_path, "a film"], "holds no run"),
        ([unfinished, "a film"], "has not finished"),
        ([runs / "singel", "a film"], "there is no such folder (did you mean single?)"),
        ([run, tmp_path / "revews.csv"], "no such file (did you mean reviews.csv?)"),
        ([run], "nothing to predict on"),
        ([run, empty], "the file is empty"),
        ([run, header], "has no rows"),
        ([run, "a film", "--output", tmp_path / "out.xlsx"], "expected .csv, .jsonl, .parquet"),
        ([run, "a film", "--output", tmp_path / "no" / "out.csv"], "there is no folder"),
        ([run, tmp_path / "reviews.csv", "--output", tmp_path / "reviews.csv"], "is also the input"),
    ):
        code, out, err = ending(capsys, "predict", *words)
        assert code == 2 and said in err and out == "", words
    assert (tmp_path / "reviews.csv").read_text() == "text\na film\n"


@pytest.fixture(scope="module")
def image_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an untrained vision transformer for 16 x 16 pixels."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    columns = {"columns": {"image": "image", "label": "label"}}
    run = write_run(tmp_path_factory.mktemp("images") / "run", task="image-classification", data=columns)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    names = {"id2label": dict(enumerate(LABELS["single"])), "label2id": {"negative": 0, "positive": 1}}
    ViTForImageClassification(ViTConfig(image_size=16, patch_size=8, **small, **names)).save_pretrained(run)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(run)
    return run


def test_images(image_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    names = [f"{i}.png" for i in range(3)]
    for i, name in enumerate(names):
        Image.new("RGB", (20 + i, 30), (80 * i, 0, 200)).save(photos / name)
    code, out, _ = ending(capsys, "predict", image_run, photos)
    assert code == 0 and [line.split()[0] for line in out.splitlines()[1:]] == [
        f"photos/{name}" for name in names
    ]
    backwards = [photos / name for name in names[::-1]]
    code, out, _ = ending(capsys, "predict", image_run, *backwards, "--output", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["image"]).name for row in rows] == names[::-1]
    assert {row["prediction"] for row in rows} <= set(LABELS["single"])
    (photos / "3.png").write_text("not an image")
    code, _, err = ending(capsys, "predict", image_run, photos)
    assert code == 2 and "1 of 4 images cannot be read: row 3: 3.png" in err
    code, _, err = ending(capsys, "predict", image_run, "a text")
    assert code == 2 and "a text: no such file" in err
