"""What a run is called, which commands come next, and whose weights the card says were kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from architectures import make
from example_runs import write_run
from small_training import make_setup

from hf_transfer import TEXT_CLASSIFICATION
from hf_transfer.plan import print_plan
from hf_transfer.record import _best, _counted, _planned_phases, _title, next_commands
from hf_transfer.report.card import card_text
from hf_transfer.report.html import title
from hf_transfer.report.read import read_record


def test_a_run_is_called_after_its_task_and_data(tmp_path: Path) -> None:
    """The recipe for texts is called sentiment, whatever the texts are about."""
    record = read_record(write_run(tmp_path / "run"))
    assert record.run["recipe"] == "sentiment"
    assert title(record) == "Text classification on reviews.csv"
    assert "entiment" not in card_text(record).replace("sentence-transformers", "").replace("outputs/", "")
    data: Any = SimpleNamespace(source={"name": "a [b].csv"})
    assert _title(TEXT_CLASSIFICATION, data) == "text classification on a \\[b].csv"


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("sentiment.py", "sentiment.py"),
        ("my work/sentiment.py", "'my work/sentiment.py'"),
        ("notebook.py", "recipes/sentiment.py"),
    ],
)
def test_next_commands_name_the_recipe_that_was_started(
    typed: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {"data": {"name": "everyday_sentiment", "columns": {}}, "peft": None}
    run: Any = SimpleNamespace(output_dir="outputs/sentiment", record=record)
    monkeypatch.setattr(sys, "argv", [typed, "--max_steps", "1"])
    found = next_commands("sentiment", run, TEXT_CLASSIFICATION)
    assert found["your own data"] == f"accelerate launch {path} --dataset_name reviews.csv"
    assert "LoRA" in found and "LoRA" not in next_commands(
        "sentiment", run, TEXT_CLASSIFICATION, trained=False
    )


@pytest.mark.parametrize(
    ("phases", "best", "said"),
    [
        (1, True, "best Accuracy on validation were kept: step 46 of 69, epoch 2.0;"),
        (2, True, "best Accuracy on validation were kept: step 46 of 69 of the last phase, epoch 2.0;"),
        (1, False, "at the end of training were kept: step 69 of 69, epoch 3.0;"),
    ],
)
def test_the_card_names_the_step_whose_weights_were_kept(
    phases: int, best: bool, said: str, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", phases=phases, test=False)
    record = json.loads((folder / "run.json").read_text())
    record["arguments"]["load_best_model_at_end"] = best
    (folder / "run.json").write_text(json.dumps(record))
    assert said in card_text(read_record(folder))


def test_the_plan_reads_as_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """A phase's title stays on its line, however narrow its table; a head that is solved is no "last one" of several."""
    group = {"name": "head", "parameters": 1, "learning": 1, "learning_rate": None, "learns": True}
    phase = {"name": "feature-extraction", "solve": "logistic", "groups": [group], "weight_decay": 0}
    print_plan({"title": "x", "facts": {}, "phases": [phase], "notes": [], "warnings": []})
    assert "the head is solved (logistic) on features that are read once\n" in capsys.readouterr().out
    args = SimpleNamespace(load_best_model_at_end=True, metric_for_best_model="eval_accuracy")
    for solve, patience, said in (
        ("logistic", None, "the one with the solved head"),
        (None, None, "by eval_accuracy"),
        (None, 1, "by eval_accuracy; stops after 1 evaluation without a better one"),
    ):
        phases = [SimpleNamespace(solve=solve)]
        setup: Any = SimpleNamespace(phases=phases, args=args, early_stopping_patience=patience)
        assert _best(setup) == said
    assert _counted(1, "process") == "1 process" and _counted(2, "process") == "2 processes"
    assert _counted(4, "thread") == "4 threads"


@pytest.mark.parametrize("name", ["bert", "gpt2", "bart", "resnet"])
def test_layers_that_the_scores_do_not_depend_on_are_told(name: str, tmp_path: Path) -> None:
    """A last block that its model passes by, and nothing of a model as it is."""
    setup = make_setup(make(name), name, tmp_path, "full", do_train=True)
    assert _planned_phases(setup)[2] == []
    if name != "bert":
        return
    setup.model.bert.encoder.layer[-1].forward = lambda states, *others, **more: states
    [warning] = _planned_phases(setup)[2]
    assert warning["where"] == "phase full" and warning["what"].startswith("block.3 got no gradient")
