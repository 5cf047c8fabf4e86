"""Refusals leave nothing behind, and what others wrote stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tiny
from conftest import ROOT
from finetune_runs import ARGS, FAST

from hf_transfer import Problems, Run, command, finetune


def refused(flags: list[str], recipe: ModuleType, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said on stderr; the code must be 2, without a traceback."""
    capsys.readouterr()
    try:
        code = command(lambda: recipe.main(flags))
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    said = capsys.readouterr().err
    assert code == 2, said
    assert "Traceback" not in said
    return said


WRONG: dict[str, tuple[list[str], str]] = {
    "flag": (["--learning_rat", "1"], "learning_rate"),
    "value": (["--learning_rate", "fast"], "learning_rate"),
    "strategy": (["--strategy", "ful"], "full"),
    "blocks": (["--strategy", "partial:9"], "2 blocks"),
    "file": (["--dataset_name", "nowhere.csv"], "nowhere.csv"),
    "column": (["--text_column", "txt"], "text"),
    "model": (["--model_name_or_path", "nowhere/model"], "nowhere/model"),
    "lora target": (["--peft", "lora", "--lora_target_modules", "q_proj"], "query"),
    "lora with a head alone": (["--peft", "lora", "--strategy", "feature-extraction"], "only the head"),
    "length": (["--max_length", "9999"], "64"),
    "output is a file": (["--output_dir", "FILE"], "file"),
    "token": (["--hub_token", "hf_x"], "HF_TOKEN"),
    "resume nothing": (["--resume_from_checkpoint", "true", "--output_dir", "empty"], "empty"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_and_nothing_is_left(
    name: str,
    recipe: ModuleType,
    base: Path,
    table: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given, said = WRONG[name]
    (tmp_path / "a_file").write_text("x")
    given = [str(tmp_path / "a_file") if word == "FILE" else word for word in given]
    more = [] if "--model_name_or_path" in given else ["--model_name_or_path", str(base)]
    more += [] if "--dataset_name" in given else ["--dataset_name", str(table)]
    assert said in refused([*more, *given, "--max_steps", "1", "--cpu_threads", "1"], recipe, capsys)
    assert [path.name for path in tmp_path.rglob("*")] == ["a_file"]


@pytest.mark.parametrize(
    "flag", [["--strategy", "ful"], ["--model_name_or_path", "./nowhere"], ["--seed", "x"]]
)
def test_flag_strategy_model_files_and_columns_come_in_one_list(
    flag: list[str],
    recipe: ModuleType,
    base: Path,
    table: Path,
    empty_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whichever of them is found first: nobody mends one to be told of the next."""
    model = [] if "--model_name_or_path" in flag else ["--model_name_or_path", "./nowhere/else"]
    given = [*flag, *model, "--train_file", str(table), "--text_column", "txt", "--label_column", "lable"]
    said = refused([*given, "--validation_file", "dev.csv"], recipe, capsys)
    assert said.startswith(f"{4 + len(model) // 2} things have to be mended first"), said
    for part in ("nowhere", "has no column 'txt'", "did you mean label?", "dev.csv: no such file", flag[0]):
        assert part in said, (part, said)
    assert not list(empty_folder.iterdir())


def test_the_script_itself_ends_with_two(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "recipes" / "sentiment.py"), "--learning_rat", "1", "--strategy"]
    done = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.startswith("2 things")
    assert not list(tmp_path.iterdir())


def test_one_class_only_is_refused_in_python_with_problems(base: Path, tmp_path: Path) -> None:
    rows = [{"text": row["text"], "label": "positive"} for row in tiny.rows(40)]
    with pytest.raises(Problems):
        finetune("text-classification", base, rows, args={"output_dir": str(tmp_path / "run")}, **FAST)
    assert not (tmp_path / "run").exists()


def test_an_occupied_folder_is_kept_unless_told(by_recipe: Run, base: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(by_recipe.output_dir, folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "plots_of_mine").mkdir()
    args = ARGS | {"output_dir": str(folder), "max_steps": 1, "eval_strategy": "no", "save_strategy": "no"}
    args |= {"load_best_model_at_end": False}
    with pytest.raises(Problems, match="holds a run already") as error:
        finetune("text-classification", base, tiny.rows(40), args=args, **FAST)
    assert "--overwrite_output_dir" in str(error.value) and "--resume_from_checkpoint" in str(error.value)
    assert list(folder.glob("checkpoint-*"))
    run = finetune("text-classification", base, tiny.rows(40), args=args, overwrite_output_dir=True, **FAST)
    assert (folder / "notes.txt").read_text() == "mine" and (folder / "plots_of_mine").is_dir()
    assert not list(folder.glob("checkpoint-*"))  # the first run's
    assert run.record["global_step"] == 1 and run.record["data"]["splits"]["train"] == 32


def test_what_is_written_by_the_user_does_not_become_the_run_s(base: Path, tmp_path: Path) -> None:
    """A file that lay in the folder before the run is not deleted by overwriting it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    args = ARGS | {"output_dir": str(folder), "max_steps": 1, "eval_strategy": "no", "save_strategy": "no"}
    args |= {"load_best_model_at_end": False}
    for again in (False, True):
        finetune("text-classification", base, tiny.rows(40), args=args, overwrite_output_dir=again, **FAST)
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_token_in_the_arguments_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Problems, match="HF_TOKEN"):
        finetune(
            "text-classification",
            base,
            tiny.rows(40),
            args={"output_dir": str(tmp_path / "r"), "hub_token": "x"},
        )
    assert not (tmp_path / "r").exists()
