"""Domain adaptation: the recipe in its folder, gone on with after an interruption, and the gain it tells."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
from data_tasks import refused

from hf_transfer import Run
from hf_transfer.adaptation.adapt import LANGUAGE_MODEL, UNADAPTED, stages
from hf_transfer.adaptation.results import gain
from hf_transfer.problems import Problems
from hf_transfer.run_folder import MARKER, RUN

ROOT = Path(__file__).resolve().parent.parent
STEPS = [
    "--max_steps",
    "2",
    "--adapt_max_steps",
    "3",
    "--disable_tqdm",
    "true",
    "--probe",
    "false",
    "--report_to",
    "none",
]
FAST = [*STEPS, "--skip_reload_check", "true", "--cpu_threads", "1", "--per_device_train_batch_size", "8"]


def flags(base: Path, table: Path, folder: Path) -> list[str]:
    named = {"model_name_or_path": base, "train_file": table, "output_dir": folder}
    return [*(word for name, value in named.items() for word in (f"--{name}", str(value))), *FAST]


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    path = ROOT / "recipes" / "domain_adaptation.py"
    spec = importlib.util.spec_from_file_location("domain_adaptation", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["domain_adaptation"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def whole(recipe: ModuleType, base: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All three runs, from a tiny encoder without a language-modelling head."""
    folder = tmp_path_factory.mktemp("adapted") / "run"
    words = ["--model_name_or_path", str(base), "--train_file", str(table), "--output_dir", str(folder)]
    return recipe.main([*words, *FAST, "--compare", "true"])


def test_the_recipe_adapts_then_learns_the_task_from_there(whole: Any, base: Path) -> None:
    root = Path(whole.run.output_dir)
    assert (
        (root / RUN).is_file()
        and (root / LANGUAGE_MODEL / RUN).is_file()
        and (root / UNADAPTED / RUN).is_file()
    )
    first, task, other = whole.language_model.record, whole.run.record, whole.unadapted.record
    assert first["task"] == "fill-mask" and first["strategy"] == "head + full"  # its head is new
    assert (
        task["base_model"]["name"] == first["base_model"]["name"] == other["base_model"]["name"] == base.name
    )
    assert (
        "64 texts of reviews.csv" in task["base_model"]["adapted_on"]
        and "adapted_on" not in other["base_model"]
    )
    assert "adapted before on" in (root / "README.md").read_text()
    assert task["base_model"]["new"] == other["base_model"]["new"] == ["classifier.weight", "classifier.bias"]
    assert task["data"]["fingerprint"] == other["data"]["fingerprint"] != first["data"]["fingerprint"]
    assert (
        first["arguments"]["learning_rate"] == 1e-4 and first["global_step"] == 3 and task["global_step"] == 2
    )
    assert "Nothing is learned from" in first["plan_notes"][0]
    assert not list(root.glob("*/adapter"))


def test_the_table_has_perplexity_before_and_after_and_the_gain(
    whole: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from hf_transfer.adaptation.results import print_adaptation

    print_adaptation(whole)
    out, found = capsys.readouterr().out, whole.language_model.metrics
    for value in (found["eval_perplexity"], whole.gain.first, whole.gain.second):
        assert f"{value:.4f}" in out
    # The head was new: what it said before training is no figure to compare with.
    assert f"{found['eval_baseline_perplexity']:.4f}" not in out and "drawn at random" in out
    card = (Path(whole.language_model.output_dir) / "README.md").read_text()
    assert (
        "baseline is left out: the checkpoint brought no head" in card
        and "better than the baseline" not in card
    )
    report = (Path(whole.language_model.output_dir) / "report.html").read_text()
    assert "baseline is left out: the checkpoint brought no head" in report
    assert whole.gain.low <= whole.gain.second - whole.gain.first <= whole.gain.high
    assert "perplexity of masked tokens" in out and "Adapting changed accuracy" in out


def test_it_goes_on_where_it_was_interrupted(
    whole: Any, recipe: ModuleType, base: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two runs: the first is not trained again, and the second comes out as if nothing had been."""
    words = flags(base, table, tmp_path / "run")
    true, calls = recipe.finetune, []

    def stopped(task: Any, *args: Any, **options: Any) -> Run:
        calls.append(task.name)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return true(task, *args, **options)

    monkeypatch.setattr(recipe, "finetune", stopped)
    with pytest.raises(KeyboardInterrupt):
        recipe.main(words)
    monkeypatch.setattr(recipe, "finetune", true)
    assert "holds a run already" in refused(recipe.main, words)
    trained = (tmp_path / "run" / LANGUAGE_MODEL / "phases.json").read_text()
    again = recipe.main([*words, "--resume_from_checkpoint", "true"])
    assert (tmp_path / "run" / LANGUAGE_MODEL / "phases.json").read_text() == trained
    assert [again.run.metrics[key] for key in ("test_loss", "eval_loss")] == [
        whole.run.metrics[key] for key in ("test_loss", "eval_loss")
    ]


def test_what_cannot_be_is_said_before_the_first_run(tmp_path: Path) -> None:
    given = {"output_dir": str(tmp_path / "run")}
    assert "holds no run" in refused(stages, given | {"resume_from_checkpoint": True})
    assert "several runs" in refused(stages, given | {"resume_from_checkpoint": "run/checkpoint-3"})
    assert "nothing to adapt" in refused(stages, given | {"do_train": False})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / MARKER).write_text(
        "{}"
    )  # the task's folder, which would be found out only after adapting
    assert "holds a run already" in refused(stages, given)
    found = stages(given | {"resume_from_checkpoint": True, "push_to_hub": True}, compare=True)
    assert found[""]["resume_from_checkpoint"] and not found[LANGUAGE_MODEL]["resume_from_checkpoint"]
    assert "push_to_hub" not in found[""] and found[UNADAPTED]["push_to_hub"] is False


def test_an_interrupted_run_names_the_folder_of_all_of_them(recipe: ModuleType, tmp_path: Path) -> None:
    from hf_transfer import parse

    arguments = parse(recipe.DomainArguments, ["--model_name_or_path", "x"])
    arguments.typed = True
    arguments.training(output_dir=str(tmp_path / "all"))
    assert list(arguments.adapting()["command"])[-2:] == ["--output_dir", str(tmp_path / "all")]


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_the_gain_is_that_of_the_same_rows(kind: str, tmp_path: Path) -> None:
    generator, rows, labels = np.random.default_rng(0), 200, ["bad", "good"]
    runs = []
    for name, right in (("one", 0.6), ("two", 0.9)):
        (tmp_path / name).mkdir()
        truth = np.arange(rows) % 2
        said = np.where(generator.random(rows) < right, truth, 1 - truth)
        columns: dict[str, Any] = {"row": range(rows), "split": "test"}
        chances = np.stack([0.9 - 0.8 * said, 0.1 + 0.8 * said], axis=1)
        if kind == "regression":
            columns |= {"label": truth.astype(float), "prediction": said + generator.normal(0, 0.1, rows)}
        elif kind == "multi":
            columns |= {"label": [[labels[i]] for i in truth], "prediction": [[labels[i]] for i in said]}
        else:
            columns |= {"label": [labels[i] for i in truth], "prediction": [labels[i] for i in said]}
        if kind != "regression":
            columns |= {f"probability_{label}": chances[:, i] for i, label in enumerate(labels)}
        pd.DataFrame(columns).to_parquet(tmp_path / name / "predictions.parquet")
        problem = {"single": "single_label_classification", "multi": "multi_label_classification"}.get(
            kind, kind
        )
        (tmp_path / name / RUN).write_text(json.dumps({"problem_type": problem, "labels": labels}))
        runs.append(Run.open(tmp_path / name))
    found = gain(*runs)
    assert found.second > found.first and 0 < found.low < found.second - found.first < found.high
    assert gain(runs[1], runs[1]).low == gain(runs[1], runs[1]).high == 0
    table = pd.read_parquet(tmp_path / "one" / "predictions.parquet")
    table.iloc[1:].to_parquet(tmp_path / "one" / "predictions.parquet")
    assert "different rows" in refused(gain, *runs)


@pytest.mark.parametrize("flag", ["--strategy", "--adapt_strategy"])
def test_a_strategy_that_there_is_not_is_said_before_the_language_model_trains(
    flag: str, recipe: ModuleType, base: Path, table: Path, tmp_path: Path
) -> None:
    with pytest.raises(Problems, match=f"{flag}: there is no strategy 'knnn' .did you mean knn"):
        recipe.main([*flags(base, table, tmp_path / "run"), flag, "knnn"])
    assert not (tmp_path / "run").exists()
