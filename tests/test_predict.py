"""`run.predict`, `hft predict` and transformers' own pipeline say the same of the same rows."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny

from hf_transfer import Problems, Run, finetune
from hf_transfer.cli import main
from hf_transfer.inputs import read_inputs

SHORT = {
    "max_steps": 3,
    "learning_rate": 3e-3,
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
}
KINDS = ("single", "multi", "regression", "pairs")
NEW = [
    *(row["text"] for row in tiny.rows(6)),
    "We found " + "the garden lovely and " * 40,  # cut at the length trained with
    "Zebra!",
    "a",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run of each problem type, and one on pairs of texts, opened from its folder."""
    folder = tmp_path_factory.mktemp("runs")
    base = tiny.save_tiny_bert(folder / "base", hidden_dropout_prob=0.5)
    for kind in KINDS:
        rows = tiny.rows(100, "single" if kind == "pairs" else kind, pairs=kind == "pairs")
        args = SHORT | {"output_dir": str(folder / kind)}
        finetune("text-classification", base, rows, args=args, cpu_threads=1, skip_reload_check=True)
    return {kind: Run.open(folder / kind) for kind in KINDS}


def given(kind: str) -> list[Any]:
    return [(text, NEW[-i]) for i, text in enumerate(NEW)] if kind == "pairs" else NEW


def pipelined(run: Run, kind: str) -> list[dict[str, float]]:
    """What a user of the saved folder gets without this package."""
    from transformers import pipeline

    classify = pipeline("text-classification", model=run.output_dir, truncation=True, device="cpu")
    rows = [{"text": a, "text_pair": b} for a, b in given(kind)] if kind == "pairs" else NEW
    return [{item["label"]: item["score"] for item in found} for found in classify(rows, top_k=None)]


def from_command(run: Run, kind: str, folder: Path) -> list[dict[str, Any]]:
    source, output = folder / f"{kind}.jsonl", folder / "out.jsonl"
    names = ("text", "text_pair") if kind == "pairs" else ("text",)
    rows = [dict(zip(names, row if kind == "pairs" else (row,), strict=True)) for row in given(kind)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["predict", run.output_dir, str(source), "--output", str(output), "--batch-size", "4"]) == 0
    return [json.loads(line) for line in output.read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_three_ways_agree(runs: dict[str, Run], kind: str, tmp_path: Path) -> None:
    run = runs[kind]
    ours, theirs, written = run.predict(given(kind)), pipelined(run, kind), from_command(run, kind, tmp_path)
    assert len(ours) == len(theirs) == len(written) == len(NEW)
    for row, scores, line in zip(ours, theirs, written, strict=True):
        if kind == "regression":
            (value,) = scores.values()
            assert row["value"] == pytest.approx(value, abs=1e-5) == line["prediction"]
            continue
        assert row["probabilities"] == pytest.approx(scores, abs=1e-5)
        assert {name: line[f"probability_{name}"] for name in scores} == pytest.approx(scores, abs=1e-5)
        if kind == "multi":
            assert line["prediction"] == row["labels"]
        else:
            assert max(scores, key=lambda name: scores[name]) == row["label"] == line["prediction"]
            assert row["score"] == pytest.approx(max(scores.values()), abs=1e-5)


def test_thresholds_go_along_with_the_model(runs: dict[str, Run]) -> None:
    run = runs["multi"]
    config = json.loads((Path(run.output_dir) / "config.json").read_text())
    limits = dict(zip(run.record["labels"], config["thresholds"], strict=True))
    assert config["thresholds"] == run.record["thresholds"] and config["thresholds"] != [0.5] * 3
    scored = pipelined(run, "multi")
    by_hand = [{name for name, score in row.items() if score >= limits[name]} for row in scored]
    assert [set(row["labels"]) for row in run.predict(NEW)] == by_hand
    assert len({frozenset(names) for names in by_hand}) > 1


@pytest.mark.parametrize("kind", ["single", "regression"])
def test_the_run_was_measured_without_dropout(runs: dict[str, Run], kind: str) -> None:
    """Nothing was evaluated in training, so that the model came out of it in train mode."""
    run = runs[kind]
    table = pd.read_parquet(Path(run.output_dir) / "predictions.parquet")
    again = run.predict(list(table["text"]))
    if kind == "regression":
        np.testing.assert_allclose([row["value"] for row in again], table["prediction"], atol=1e-5)
    else:
        chances = [row["probabilities"]["positive"] for row in again]
        np.testing.assert_allclose(chances, table["probability_positive"], atol=1e-5)


def test_padding_does_not_change_a_prediction(runs: dict[str, Run]) -> None:
    alone = [runs["single"].predict(text)[0]["score"] for text in NEW]
    together = [row["score"] for row in runs["single"].predict(NEW, batch_size=len(NEW))]
    assert alone == pytest.approx(together, abs=1e-5)


def test_one_or_many_in_any_form(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["single"]
    one = run.predict("a dull film")
    assert len(one) == 1 and one[0]["label"] in ("negative", "positive")
    frame = pd.DataFrame({"id": [1], "text": ["a dull film"], "label": ["positive"]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    for same in (
        ["a dull film"],
        {"text": "a dull film"},
        [{"text": "a dull film"}],
        frame,
        tmp_path / "a.csv",
    ):
        assert run.predict(same) == one
    assert run.predict([]) == [] == run.predict(frame[:0])
    assert len(run.predict("")) == 1
    pair = runs["pairs"].predict(("a film", "a dull film"))
    assert pair == runs["pairs"].predict([{"text": "a film", "text_pair": "a dull film"}])


def refused(run: Run, inputs: Any, **columns: str) -> str:
    with pytest.raises(Problems) as found:
        read_inputs(run.record, inputs, **columns)
    return str(found.value)


def test_inputs_of_another_kind_are_refused(runs: dict[str, Run]) -> None:
    assert "trained on single texts" in refused(runs["single"], [("a", "b")])
    assert "trained on pairs" in refused(runs["pairs"], ["a", "b"])
    assert "1 texts" in refused(runs["pairs"], "a film")
    assert "trained on text only" in refused(runs["single"], ["a"], image_column="x")
    assert "no such file (did you mean" not in refused(runs["single"], "nothing_here.csv")
    assert "several columns" in refused(
        runs["single"], [{"a": "one film", "b": "a room"}, {"a": "x", "b": "y"}]
    )


def test_a_model_of_single_texts_reads_one_column_of_a_pair(runs: dict[str, Run]) -> None:
    rows = [{"sentence1": "a dull film", "sentence2": "a lovely room"}]
    assert "several columns" in refused(runs["single"], rows)
    assert read_inputs(runs["single"].record, rows, text_column="sentence2").rows["text"][:] == [
        "a lovely room"
    ]
    assert read_inputs(runs["pairs"].record, rows).columns == {"text": "sentence1", "text_pair": "sentence2"}


def test_missing_weights_are_a_problem(runs: dict[str, Run], tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(runs["single"].record))
    with pytest.raises(Problems, match="not its weights"):
        Run.open(tmp_path).predict("a film")


def test_texts_that_are_cut_are_counted(runs: dict[str, Run]) -> None:
    run = runs["single"]
    assert run.processor.model_max_length == 64  # not the length of its short training texts
    with pytest.warns(UserWarning, match="1 of 2 texts reach the 64 tokens"):
        run.predict(["A warm room.", "a warm room " * 40])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.predict(["A warm room."])
