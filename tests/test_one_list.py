"""What is wrong in different places is said in one list, each thing once: nobody mends one to be told of the next."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_tasks import TEXT, refused, reviews, write_csv
from recipe_arguments import RecipeArguments, wrong

from hf_transfer.arguments import parse
from hf_transfer.data import load
from hf_transfer.exits import command
from hf_transfer.problems import Problem, one_a_place

COLUMN = ("--train_file", "a.csv", "--text_column", "txt")


@pytest.fixture
def data(empty_folder: Path) -> Path:
    return write_csv(empty_folder / "a.csv", reviews())


@pytest.mark.parametrize("length", ["--num_train_epochs", "--max_steps"])
def test_no_training_comes_with_a_wrong_column(length: str, data: Path) -> None:
    said = wrong(*COLUMN, length, "0")
    assert f"{length}: 0 would train nothing" in said and "has no column 'txt'" in said
    parse(RecipeArguments, [length, "0", "--do_train", "false"])
    parse(RecipeArguments, ["--num_train_epochs", "0", "--max_steps", "5"])


def test_a_taken_folder_comes_with_a_wrong_flag_and_a_wrong_column(data: Path) -> None:
    (data.parent / "out").mkdir()
    (data.parent / "out" / "run.json").write_text("{}")
    given = [*COLUMN, "--output_dir", "out"]
    said = wrong(*given, "--lerning_rate", "1")
    assert "out holds a run already" in said and "no column 'txt'" in said and "learning_rate?" in said
    said = refused(parse(RecipeArguments, given).data)
    assert "out holds a run already" in said and "no column 'txt'" in said
    for mended in (["--overwrite_output_dir"], ["--resume_from_checkpoint", "true"]):
        parse(RecipeArguments, ["--train_file", "a.csv", "--output_dir", "out", *mended]).data()


def test_a_flag_with_two_faults_is_one_thing() -> None:
    said = wrong("--lora_r", "-2")
    assert said.count("--lora_r:") == 1 and "expected 1 or more, and has no effect without LoRA" in said
    same = Problem("a", "b", "c")
    assert one_a_place([same, same]) == [same]


def test_nothing_is_gone_on_with_where_nothing_is_trained() -> None:
    said = wrong("--resume_from_checkpoint", "true", "--do_train", "false")
    assert "contradicts --resume_from_checkpoint" in said and "nothing to go on with" in said


def test_labels_that_are_all_hidden_leave_the_test_out(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "a.csv", [(text, i % 2) for i, (text, _) in enumerate(reviews())])
    test = write_csv(tmp_path / "t.csv", [(text, -1) for text, _ in reviews(9)])
    data = load(TEXT, train_file=train, test_file=test)
    assert len(data.splits["test"]) == 4  # cut from the training rows
    assert any("all missing or -1" in warning["what"] for warning in data.audit["warnings"])
    test = write_csv(tmp_path / "t.csv", [(text, -1 if i else 0) for i, (text, _) in enumerate(reviews(9))])
    assert "'-1' (8)" in refused(load, TEXT, train_file=train, test_file=test)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_label_column_without_any_label_is_called_empty(name: str, tmp_path: Path) -> None:
    import pandas as pd

    rows = pd.DataFrame({"text": [text for text, _ in reviews()], "label": [float("nan")] * 40})
    rows.to_csv(tmp_path / name, index=False) if name == "a.csv" else rows.to_parquet(tmp_path / name)
    assert "column 'label' is empty in every training row" in refused(load, TEXT, tmp_path / name)


@pytest.mark.parametrize(
    ("argument", "said"),
    [({"logging_steps": 0}, "--logging_strategy no"), ({"deepspeed": "ds.json"}, "[deepspeed]")],
)
def test_what_transformers_refuses_comes_with_what_to_do(
    argument: dict[str, object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib.util import find_spec

    import transformers

    if "deepspeed" in argument and find_spec("deepspeed"):
        pytest.skip("deepspeed is installed")
    assert command(lambda: transformers.TrainingArguments(str(tmp_path), use_cpu=True, **argument)) == 2
    assert said in capsys.readouterr().err
