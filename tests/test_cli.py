"""`hft`: what it prints and writes, and how it ends."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny
from example_runs import write_run

import hf_transfer
from hf_transfer import clash, shipped
from hf_transfer.cli import main
from hf_transfer.problems import Problems

ROOT = Path(__file__).resolve().parent.parent
LABELS = {"single": ["negative", "positive"], "multi": ["funny", "rude", "sad"], "regression": ["LABEL_0"]}


def ending(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    code = main([str(word) for word in words])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out, said.err


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


# Starting.


@pytest.mark.parametrize("words", [["--help"], ["predict", "--help"], ["recipes", "--help"], ["--version"]])
def test_help_is_quick_and_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from hf_transfer.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as done: assert not done.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'numpy', 'pyarrow', 'matplotlib', 'rich'}\n"
        "sys.exit(str(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "hft" in done.stdout or "hf-transfer-learning" in done.stdout
    assert time.perf_counter() - started < 2  # 0.1 s on a quiet machine


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pred", "x"], "'pred' (did you mean predict?)"),
        (["predict", "x", "--outpt", "y"], "--outpt: hft predict has no such flag (did you mean --output?)"),
        (["predict", "x", "y", "--batch_size", "0"], "--batch_size: '0', expected a whole number from 1 on"),
        (["predict"], "required: RUN_DIR"),
        (["merge", "a"], "required: OUT"),
        (["report", "a", "b"], "'b' is one word too many"),
        (["recipes", "show", "sentimnt"], "no recipe 'sentimnt' (did you mean sentiment?)"),
        (["recipes", "copy"], "copy needs the name of a recipe"),
        (["recipes", "lisst"], "invalid choice"),
    ],
)
def test_wrong_arguments(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ending(capsys, *words)
    assert code == 2 and said in err and out == ""


# predict.


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


# report.


def test_report_writes_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    code, out, _ = ending(capsys, "report", run)
    assert code == 0 and str(run / "report.html") in out
    assert "<html" in (run / "report.html").read_text() and (run / "README.md").read_text().startswith("---")
    assert (run / "plots" / "confusion.png").stat().st_size > 1000
    (run / "report.html").write_text("old")
    assert ending(capsys, "report", run)[0] == 0 and (run / "report.html").read_text() != "old"


def test_report_needs_a_run_whose_record_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(capsys, "report", tmp_path)[0] == 2
    (tmp_path / "run.json").write_text('{"format": 1, "ta')
    code, _, err = ending(capsys, "report", tmp_path)
    assert code == 2 and "run.json" in err and "JSON" in err


# merge.


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with LoRA, trained until its adapter matters."""
    from peft import LoraConfig

    from hf_transfer import finetune

    folder = tmp_path_factory.mktemp("lora")
    args = {"max_steps": 3, "learning_rate": 0.1, "output_dir": str(folder / "run"), "report_to": "none"}
    args |= {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "use_cpu": True}
    rows = [row | {"label": f"{row['label']} {i % 3}"} for i, row in enumerate(tiny.rows(120))]
    base, lora = tiny.tiny_bert(folder), LoraConfig(r=2, lora_alpha=8)
    finetune(
        "text-classification", base, rows, args=args, peft_config=lora, skip_reload_check=True, cpu_threads=1
    )
    return folder / "run"


def scored(folder: Path) -> list[list[float]]:
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(folder), truncation=True, device="cpu")
    found = classify([row["text"] for row in tiny.rows(4)], top_k=None)
    return [[item["score"] for item in row] for row in found]


def test_merging_a_run(adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ending(capsys, "merge", adapted, tmp_path / "merged")
    assert code == 0 and "tiny_bert" in out
    merged = {path.name for path in (tmp_path / "merged").iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    } <= merged and "adapter_config.json" not in merged
    old, new = (json.loads((path / "config.json").read_text()) for path in (adapted, tmp_path / "merged"))
    assert new["id2label"] == old["id2label"] and new["problem_type"] == old["problem_type"]
    assert len(new["id2label"]) == 6
    for again, before in zip(scored(tmp_path / "merged"), scored(adapted), strict=True):
        assert again == pytest.approx(before, abs=1e-4)
    assert ending(capsys, "merge", adapted, tmp_path / "merged")[0] == 2  # not empty now


def test_merging_an_adapter_alone(adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = shutil.copytree(adapted / "adapter", tmp_path / "adapter")
    base = shutil.copytree(adapted.parent / "tiny_bert", tmp_path / "moved")
    code, _, err = ending(capsys, "merge", alone, tmp_path / "merged", "--base", base)
    assert code == 0 and "keeps no label names" in err
    assert len(json.loads((tmp_path / "merged" / "config.json").read_text())["id2label"]) == 6
    for again, before in zip(scored(tmp_path / "merged"), scored(adapted), strict=True):
        assert again == pytest.approx(before, abs=1e-4)


def test_what_cannot_be_merged(adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tiny.save_tiny_bert(tmp_path / "other", hidden_size=16)
    plain = write_run(tmp_path / "plain")
    for words, said in (
        ([plain, tmp_path / "out"], "trained without PEFT"),
        ([tmp_path, tmp_path / "out"], "no adapter here"),
        ([tmp_path / "nowhere", tmp_path / "out"], "there is no such folder"),
        ([adapted, plain], "is not empty"),
        ([adapted, tmp_path / "out", "--base", tmp_path / "nowhere"], "--base"),
        ([adapted, tmp_path / "out", "--base", other], "does not fit"),
    ):
        code, out, err = ending(capsys, "merge", *words)
        assert code == 2 and said in err, (words, err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "plain"]


# recipes.


def test_recipes_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ending(capsys, "recipes", "list")
    names = [line.split()[0] for line in out.splitlines()]
    assert code == 0 and names == sorted(path.stem for path in (ROOT / "recipes").glob("*.py"))
    assert all(len(line.split()) > 4 for line in out.splitlines())
    assert ending(capsys, "recipes", "show", "sentiment.py")[1] == (ROOT / "recipes/sentiment.py").read_text()


def test_a_recipe_is_copied_and_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    original = (ROOT / "recipes" / "sentiment.py").read_bytes()
    code, out, _ = ending(capsys, "recipes", "copy", "sentiment")
    assert code == 0 and (tmp_path / "sentiment.py").read_bytes() == original
    assert "accelerate launch sentiment.py" in out and "accelerate_configs" in out and "multi_gpu" in out
    (tmp_path / "sentiment.py").write_text("mine")
    code, _, err = ending(capsys, "recipes", "copy", "sentiment")
    assert code == 2 and "--force" in err and (tmp_path / "sentiment.py").read_text() == "mine"
    assert ending(capsys, "recipes", "copy", "sentiment", "--force")[0] == 0
    assert ending(capsys, "recipes", "copy", "image-classification", "new/")[0] == 0
    assert ending(capsys, "recipes", "copy", "sentiment", "deep/er/mine.py")[0] == 0
    assert (tmp_path / "sentiment.py").read_bytes() == original == (tmp_path / "deep/er/mine.py").read_bytes()
    assert (tmp_path / "new" / "image_classification.py").is_file()


def test_the_recipe_itself_is_safe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / "recipes")
    code, _, err = ending(capsys, "recipes", "copy", "sentiment", "--force")
    assert code == 2 and "the recipe itself" in err


def test_an_installed_package_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.py").write_text('"""Mine."""\n')
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path)
    assert list(shipped.recipes()) == ["mine"]
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "recipes" / "nowhere")
    with pytest.raises(Problems, match="reinstall"):
        shipped.shipped("accelerate_configs")


# PyPI's other package of this name.


def install_other(site: Path) -> None:
    (site / "hf_transfer-0.1.9.dist-info").mkdir(parents=True)
    record = "Metadata-Version: 2.1\nName: hf_transfer\nVersion: 0.1.9\n"
    (site / "hf_transfer-0.1.9.dist-info" / "METADATA").write_text(record)


def test_no_clash_here() -> None:
    assert clash.clash() is None


def test_the_other_package_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_transfer import Arguments, parse

    install_other(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for start in (lambda: main(["--version"]), lambda: parse(Arguments, [])):
        start()
        said = capsys.readouterr().err
        assert said.startswith("warning: hf-transfer 0.1.9:") and "pip uninstall -y hf-transfer" in said
    monkeypatch.setenv("RANK", "1")
    main(["--version"])
    assert capsys.readouterr().err == ""


def test_being_overwritten_by_it_ends_with_what_to_do(tmp_path: Path) -> None:
    """Their `__init__` lies where ours was, as pip leaves it when theirs is installed last."""
    package = Path(hf_transfer.__file__).parent
    shutil.copytree(package, tmp_path / "hf_transfer", ignore=shutil.ignore_patterns("__pycache__", "*.csv"))
    (tmp_path / "hf_transfer" / "__init__.py").write_text("from .hf_transfer import *\n")
    (tmp_path / "hf_transfer" / "hf_transfer.py").write_text("def download(): ...\n")
    install_other(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "hf_transfer.cli", "recipes", "list"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert (
        "has overwritten" in done.stderr
        and "--force-reinstall" in done.stderr
        and "Traceback" not in done.stderr
    )


def test_clash_without_our_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    install_other(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    theirs = types.ModuleType("hf_transfer")
    theirs.__file__ = "site-packages/hf_transfer/__init__.py"
    with pytest.raises(Problems, match="has overwritten site-packages"):
        clash.clash(theirs)
