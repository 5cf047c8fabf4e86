"""The one way from a checkpoint to a run folder: recipe and Python, names and objects, refusals that leave nothing."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file

import hf_transfer
from hf_transfer import Problems, Run, command, default_arguments, finetune
from hf_transfer.data import load

ROOT = Path(__file__).resolve().parent.parent
ARGS: dict[str, Any] = {"max_steps": 4, "eval_steps": 2, "save_steps": 2, "eval_strategy": "steps"}
ARGS |= {"save_strategy": "steps", "report_to": "none", "disable_tqdm": True, "learning_rate": 1e-3}
FAST: dict[str, Any] = {"cpu_threads": 1, "skip_reload_check": True}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_bert(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A csv file of 80 rows."""
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    pd.DataFrame(tiny.rows(80)).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sentiment", ROOT / "recipes" / "sentiment.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sentiment"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def by_recipe(recipe: ModuleType, base: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("recipe") / "run"
    flags = [word for name, value in ARGS.items() for word in (f"--{name}", str(value).lower())]
    where = ["--model_name_or_path", str(base), "--dataset_name", str(table), "--output_dir", str(folder)]
    return recipe.main([*flags, *where, "--cpu_threads", "1", "--skip_reload_check", "true"])


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(Path(run.output_dir) / "model.safetensors")


def same(a: Run, b: Run) -> bool:
    first, second = weights(a), weights(b)
    equal = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    timed = ("runtime", "per_second")
    return equal and {k: v for k, v in a.metrics.items() if not k.endswith(timed)} == {
        k: v for k, v in b.metrics.items() if not k.endswith(timed)
    }


# One way.


def test_the_recipe_and_python_give_the_same(by_recipe: Run, base: Path, table: Path, tmp_path: Path) -> None:
    run = finetune(
        "text-classification", base, table, args=ARGS | {"output_dir": str(tmp_path / "run")}, **FAST
    )
    assert same(run, by_recipe)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == sorted(
        p.name for p in Path(by_recipe.output_dir).iterdir()
    )


def test_objects_give_the_same_as_names(by_recipe: Run, base: Path, tmp_path: Path) -> None:
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments, set_seed

    args = TrainingArguments(
        **(default_arguments() | ARGS | {"output_dir": str(tmp_path / "run")}),
        do_train=True,
        do_eval=True,
        do_predict=True,
    )
    data = load(hf_transfer.TEXT_CLASSIFICATION, Dataset.from_list(tiny.rows(80)))
    set_seed(args.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, id2label=data.id2label, label2id=data.label2id, dtype="float32"
    )
    tokenizer = AutoTokenizer.from_pretrained(base)
    run = finetune(hf_transfer.TEXT_CLASSIFICATION, model, data, processor=tokenizer, args=args, **FAST)
    assert same(run, by_recipe)
    assert run.predict("We found the film lovely.")[0]["label"] in data.labels


@pytest.mark.parametrize(
    "given",
    [
        lambda rows: ([row["text"] for row in rows], [row["label"] for row in rows]),
        pd.DataFrame,
        lambda rows: rows,
    ],
    ids=["texts and labels", "DataFrame", "list of dicts"],
)
def test_python_objects_as_data(given: Callable[[Any], Any], base: Path, tmp_path: Path) -> None:
    args = ARGS | {
        "output_dir": str(tmp_path / "run"),
        "max_steps": 1,
        "eval_strategy": "no",
        "save_strategy": "no",
    }
    run = finetune(
        "text-classification",
        base,
        given(tiny.rows(40)),
        args=args | {"load_best_model_at_end": False},
        **FAST,
    )
    assert run.record["labels"] == ["negative", "positive"]
    assert run.record["data"]["splits"] == {"train": 32, "validation": 4, "test": 4}


def test_another_seed_gives_another_model(by_recipe: Run, base: Path, table: Path, tmp_path: Path) -> None:
    run = finetune(
        "text-classification", base, table, args=ARGS | {"output_dir": str(tmp_path / "run")}, seed=7, **FAST
    )
    assert not same(run, by_recipe) and run.record["seed"] == 7


def test_default_arguments_are_what_the_recipe_sets(
    recipe: ModuleType, base: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read where the recipe hands them over, for each way to learn and for small and large data."""
    from hf_transfer.hardware import on_cpu

    monkeypatch.chdir(tmp_path)
    large = tmp_path / "large.csv"
    pd.DataFrame(
        [{"text": f"{row['text']} {i}", "label": row["label"]} for i in range(4) for row in tiny.rows(700)]
    ).to_csv(large, index=False)
    for flags, ours in (
        ([], default_arguments("full", False, 64)),
        (["--peft", "lora"], default_arguments("full", True, 64)),
        (["--strategy", "feature_extraction"], default_arguments("feature-extraction", False, 64)),
        (["--strategy", "partial:1"], default_arguments("partial:1", False, 64)),
        (["--dataset_name", str(large)], default_arguments("full", False, 2240)),
    ):
        data = [] if "--dataset_name" in flags else ["--dataset_name", str(table)]
        got = dict[str, Any]()
        with monkeypatch.context() as patch:
            patch.setattr(recipe, "finetune", lambda *a, got=got, **k: got.update(k))
            recipe.main(["--model_name_or_path", str(base), *data, *flags])
        set_by_recipe = {name: getattr(got["args"], name) for name in ours if name not in on_cpu()}
        wanted = {name: value for name, value in ours.items() if name not in on_cpu()}
        assert {n: getattr(v, "value", v) for n, v in set_by_recipe.items()} == wanted, flags
        assert got["args"].use_cpu == ours.get("use_cpu", False)


def test_python_takes_the_size_of_the_data_into_account(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that finetune has to load itself get as many epochs as the recipe gives them."""
    import hf_transfer.training

    seen = []

    def stop(setup: Any, *rest: Any) -> None:
        seen.append(setup.args.num_train_epochs)
        raise KeyboardInterrupt

    monkeypatch.setattr(hf_transfer.training, "train", stop)
    rows = [{"text": f"{row['text']} {i}", "label": row["label"]} for i in range(4) for row in tiny.rows(700)]
    for given in (rows, rows[:800]):
        with pytest.raises(KeyboardInterrupt):
            finetune(
                "text-classification",
                base,
                given,
                args={"output_dir": str(tmp_path / f"{len(given)}")},
                **FAST,
            )
    assert seen == [default_arguments(rows=n)["num_train_epochs"] for n in (2240, 640)]
    assert seen[0] < seen[1]


# What is left behind.


def test_the_run_folder_is_whole(by_recipe: Run) -> None:
    folder = Path(by_recipe.output_dir)
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
    } <= names
    assert {"run.json", "phases.json", "history.jsonl", "all_results.json", "predictions.parquet"} <= names
    assert {"report.html", "plots"} <= names and "run.started.json" not in names
    assert (
        not list(folder.glob("*.bin"))
        and not list(folder.glob("*.pt"))
        and not list(folder.glob("*.partial"))
    )
    record, results = by_recipe.record, json.loads((folder / "all_results.json").read_text())
    assert results == by_recipe.metrics == Run.open(folder).metrics
    expected = [
        f"{s}_{key}"
        for s in ("eval", "test")
        for key in ("accuracy", "f1_macro", "loss", "accuracy_ci95_low")
    ]
    expected += ["eval_baseline_accuracy", "train_loss", "train_runtime", "train_samples_per_second"]
    assert set(expected) <= results.keys()
    assert results["eval_accuracy_ci95_low"] <= results["eval_accuracy"] <= results["eval_accuracy_ci95_high"]
    assert record["global_step"] == 4 and record["world_size"] == 1 and record["global_batch_size"] == 32
    assert (
        record["evaluated_on"] == {"eval": "validation", "test": "test"} and record["recipe"] == "sentiment"
    )
    assert record["base_model"]["new"] == ["classifier.weight", "classifier.bias"]
    assert record["arguments"]["max_steps"] == 4 and "output_dir" not in record["arguments"]
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["problem_type"] == "single_label_classification" and "_name_or_path" not in config
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert list(predictions.columns[:4]) == ["row", "split", "label", "prediction"] and set(
        predictions["split"]
    ) == {"test"}
    assert (predictions["label"] == predictions["prediction"]).mean() == results["test_accuracy"]
    assert (
        json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == 64
    )  # all that it takes


def test_nothing_of_this_machine_is_in_what_is_pushed(by_recipe: Run, base: Path) -> None:
    folder = Path(by_recipe.output_dir)
    for path in (
        folder / "config.json",
        folder / "README.md",
        folder / "tokenizer_config.json",
        folder / "run.json",
    ):
        assert str(base.parent) not in path.read_text() and str(folder.parent) not in path.read_text(), (
            path.name
        )


@pytest.mark.parametrize(
    ("kind", "key", "problem_type"),
    [("multi", "f1_micro", "multi_label_classification"), ("regression", "pearsonr", "regression")],
)
def test_other_problem_types(kind: str, key: str, problem_type: str, base: Path, tmp_path: Path) -> None:
    args = ARGS | {"output_dir": str(tmp_path / "run")}
    run = finetune(
        "text-classification", base, tiny.rows(100, kind, pairs=kind == "regression"), args=args, **FAST
    )
    record = run.record
    assert record["problem_type"] == run.model.config.problem_type == problem_type
    assert {f"eval_{key}", f"test_{key}", f"test_{key}_ci95_low"} <= run.metrics.keys()
    assert record["arguments"]["metric_for_best_model"] == f"eval_{key}"
    assert (record["thresholds"] is not None) == (kind == "multi")
    assert run.model.config.num_labels == (3 if kind == "multi" else 1)
    if kind == "multi":
        assert run.model.config.thresholds == record["thresholds"] and len(record["thresholds"]) == 3


def test_two_phases_with_report(base: Path, tmp_path: Path) -> None:
    args = ARGS | {"output_dir": str(tmp_path / "run"), "max_steps": 6, "save_steps": 1, "eval_steps": 1}
    run = finetune("text-classification", base, tiny.rows(60), args=args, strategy="two-phase", **FAST)
    phases = json.loads((tmp_path / "run" / "phases.json").read_text())
    assert [(p["name"], p["steps"], p["learning_rate"]) for p in phases] == [
        ("head", 2, 1e-3),
        ("full", 4, 1e-3),
    ]
    assert run.record["global_step"] == 6 and run.record["strategy"] == "head + full"
    assert "full" in (tmp_path / "run" / "report.html").read_text()


# Refusals.


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
