"""What a run leaves in its folder, for every kind of labels and for two phases."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import tiny
from finetune_runs import ARGS, FAST

from hf_transfer import Run, finetune


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
