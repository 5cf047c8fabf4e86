"""The strategy that `auto` takes, and that it says why."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
from architectures import make
from small_training import make_setup

from hf_transfer import finetune
from hf_transfer.choosing import chosen_strategy
from hf_transfer.strategies.choice import Facts, choose
from hf_transfer.strategies.regularization import Regularization

QUIET = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "num_train_epochs": 1}


@pytest.mark.parametrize(
    ("facts", "taken"),
    [
        (Facts(8, 22_000_000, 6, 0.95, False), "feature-extraction"),
        (Facts(200, 22_000_000, 6, 0.95, False), "feature-extraction"),
        (Facts(8, 400_000_000, 24, 0.95, False), "feature-extraction"),
        (Facts(8, 22_000_000, 6, 0.1, False), "contrastive"),
        (Facts(64, 22_000_000, 6, 0.8, False), "contrastive"),
        (Facts(8, 22_000_000, 6, 0.1, False, pairs=False), "full"),
        (Facts(8, 22_000_000, 6, 0.8, False, pairs=False), "lp-ft"),
        (Facts(8, 22_000_000, 6, 0.95, False, by_row=True), "lp-ft"),
        (Facts(8, 22_000_000, 6, 0.1, False, by_row=True), "full"),
        (Facts(200, 22_000_000, 6, 0.8, False), "lp-ft"),
        (Facts(200, 22_000_000, 6, None, False), "full"),
        (Facts(20_000, 22_000_000, 6, 0.9, False), "full"),
        (Facts(200, 400_000_000, 24, 0.8, False), "partial:2"),
        (Facts(200, 400_000_000, 24, 0.8, True), "lp-ft"),
        (Facts(8, 22_000_000, 6, 0.8, False, is_peft=True), "full"),
    ],
)
def test_the_choice_follows_rows_probe_size_and_machine(facts: Facts, taken: str) -> None:
    name, reason = choose(facts)
    assert name == taken
    assert reason.count(".") - reason.count("0.") >= 2 and f"{facts.rows:,} training rows" in reason


def test_nothing_is_said_of_features_that_were_not_measured() -> None:
    why = choose(Facts(200, 22_000_000, 6, None, False))[1]
    assert "could not be measured" in why and "do not tell" not in why


def test_a_run_says_what_it_took_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finetune(
        "text-classification", tiny.tiny_bert(tmp_path), tiny.rows(80), strategy="auto", skip_reload_check=True,
        args=QUIET | {"output_dir": str(tmp_path / "run")},
    )  # fmt: skip
    record = json.loads((Path(run.output_dir) / "run.json").read_text())
    (note,) = [note for note in record["plan_notes"] if note.startswith("--strategy auto takes")]
    assert "32 training rows a label" in note
    assert f"takes {record['strategy'].replace('pairs + head', 'contrastive')}." in note
    assert "auto takes" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    "more",
    [
        {"regularization": Regularization(r_drop=1.0)},
        {"args": {"label_smoothing_factor": 0.1}},
        {"target_file": [row["text"] for row in tiny.rows(40)], "align": "dann"},
    ],
)
def test_what_acts_on_single_rows_is_not_refused_for_a_strategy_that_nobody_named(
    more: dict[str, Any], tmp_path: Path
) -> None:
    args = QUIET | {"output_dir": str(tmp_path / "run")} | more.pop("args", {})
    run = finetune(
        "text-classification", tiny.tiny_bert(tmp_path), tiny.rows(80), strategy="auto", args=args, probe=False,
        skip_reload_check=True, **more,
    )  # fmt: skip
    assert run.record["strategy"] in ("full", "probe + full")


def test_few_validation_rows_are_not_what_the_checkpoint_is_asked_on(tmp_path: Path) -> None:
    """Six rows whose labels are swapped would say that it knows nothing; folds of the training rows say otherwise."""
    data = tiny.rows(126)
    swapped = [
        row | {"label": {"positive": "negative", "negative": "positive"}[row["label"]]} for row in data[:6]
    ]
    run = finetune(
        "text-classification", tiny.tiny_bert(tmp_path), {"train": data[6:], "validation": swapped}, strategy="auto",
        probe=False, skip_reload_check=True, args=QUIET | {"output_dir": str(tmp_path / "run")},
    )  # fmt: skip
    (note,) = [note for note in run.record["plan_notes"] if note.startswith("--strategy auto takes")]
    (share,) = re.findall(r"goes (\d+)% of the way", note)
    assert int(share) >= 50


@pytest.mark.parametrize(("hooked", "taken"), [(False, "contrastive"), (True, "full")])
def test_pairs_are_taken_only_where_scores_are_read_off_features(
    hooked: bool, taken: str, tmp_path: Path
) -> None:
    model = make("bert")
    model.config.problem_type = "single_label_classification"
    if hooked:
        model.classifier.register_forward_hook(lambda module, args, output: output**2)
    setup = make_setup(model, "bert", tmp_path)
    rows = setup.prepared.splits["train"].rename_column("labels", "label")
    data: Any = SimpleNamespace(
        problem_type="single_label_classification", labels=("a", "b", "c"), splits={"train": rows}
    )
    name, note = chosen_strategy(setup, data)
    assert name == taken and note.startswith(f"--strategy auto takes {taken}.")
