"""What was given is told apart from what a recipe sets: in report and card, and where it has no effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
from recipe_arguments import read
from transformers import TrainingArguments

from hf_transfer import finetune, parse
from hf_transfer.adaptation.arguments import AdaptationArguments
from hf_transfer.report.wording import given
from hf_transfer.training_arguments import asked_names

QUIET = {"use_cpu": True, "report_to": "none", "disable_tqdm": True}


def run_of(base: Path, folder: Path, strategy: str, **options: Any) -> Any:
    args = QUIET | {
        "output_dir": str(folder),
        "learning_rate": 2e-3,
        "num_train_epochs": 5,
        "weight_decay": 0.0,
    }
    args |= options.pop("also", {})
    options = {"skip_reload_check": True, "probe": False, "seed": 3} | options
    return finetune("text-classification", base, tiny.rows(60), args=args, strategy=strategy, **options)


def test_what_is_for_steps_has_no_effect_on_a_head_that_is_solved(base: Path, tmp_path: Path) -> None:
    """And report and card name what was given, a transformers default too, and nothing that the run sets by itself."""
    run = run_of(base, tmp_path / "run", "feature-extraction", head_learning_rate=0.1)
    (note,) = [note for note in run.record["plan_notes"] if "no effect" in note]
    assert note == (
        "--num_train_epochs 5, --learning_rate 0.002, --weight_decay 0, --head_learning_rate 0.1 have no effect: "
        "the head is solved, not trained."
    )
    shown = given(run.record)
    assert {name: shown[name] for name in ("learning_rate", "weight_decay")} == {
        "learning_rate": "0.002",
        "weight_decay": "0.0",
    }
    assert not {"metric_for_best_model", "greater_is_better", "eval_strategy", "save_total_limit"} & set(
        shown
    )
    assert "eval_strategy" in run.record["arguments"]
    for file in ("README.md", "report.html"):
        text = (tmp_path / "run" / file).read_text()
        assert "raining arguments given" in text and "save_total_limit" not in text, file


TOP = {"name": "top", "learns": "block.2 .. head"}
BELOW = {"name": "below", "learns": "block.1 .. block.2"}


@pytest.mark.parametrize(
    ("strategy", "options", "notes"),
    [
        (
            [TOP | {"epochs": 1, "learning_rate": 1e-4}, BELOW | {"epochs": 2, "learning_rate": 1e-5}],
            {},
            [
                "--num_train_epochs 5 has no effect: every phase has its own epochs.",
                "--learning_rate 0.002 has no effect: every phase has its own.",
            ],
        ),
        (
            [TOP | {"epochs": 1}, BELOW],
            {},
            ["--num_train_epochs 5 are those of the phases without epochs of their own."],
        ),
        (
            [BELOW],
            {"head_learning_rate": 0.1},
            ["--head_learning_rate 0.1 has no effect: the head is not trained step by step."],
        ),
        (
            "full",
            {"early_stopping_patience": 2, "also": {"eval_strategy": "no", "load_best_model_at_end": False}},
            [
                "--early_stopping_patience 2 has no effect: nothing is evaluated while training (--eval_strategy no)."
            ],
        ),
        (
            "contrastive",
            {"head_learning_rate": 0.1, "early_stopping_patience": 2},
            [
                "--head_learning_rate 0.1 has no effect: the head is not trained step by step.",
                "--early_stopping_patience 2 has no effect: nothing is evaluated while pairs teach.",
            ],
        ),
    ],
)
def test_what_phases_do_otherwise_is_said(
    strategy: Any, options: dict[str, Any], notes: list[str], base: Path, tmp_path: Path
) -> None:
    run = run_of(base, tmp_path / "run", strategy, **options)
    about = ("epochs", "rate", "patience")
    assert [n for n in run.record["plan_notes"] if n.startswith("--") and any(w in n for w in about)] == notes


@pytest.mark.parametrize(("strategy", "asked"), [("lp-ft", None), ("ridge", ())])
def test_nothing_is_said_where_steps_follow_or_nothing_was_given(
    strategy: str, asked: Any, base: Path, tmp_path: Path
) -> None:
    options = {"max_train_samples": 20} if strategy == "lp-ft" else {"asked": asked}
    run = run_of(base, tmp_path / "run", strategy, **options)
    assert not [note for note in run.record["plan_notes"] if "no effect" in note]
    assert bool(given(run.record)) == (asked is None)


def test_the_names_come_from_flags_a_dict_or_an_object(tmp_path: Path) -> None:
    assert read("--learning_rate 1e-3 --strategy ridge").transfer()["asked"] == ("learning_rate", "strategy")
    line = ["--learning_rate", "1e-3", "--adapt_epochs", "2", "--seed", "1"]
    adapting = parse(AdaptationArguments, line).adapting()["asked"]
    assert {"num_train_epochs", "seed"} <= set(adapting) and "learning_rate" not in adapting
    args = TrainingArguments(str(tmp_path), learning_rate=1e-3, use_cpu=True)
    assert set(asked_names(None, args)) == {"use_cpu", "learning_rate"}
    assert asked_names(None, {"max_steps": 3}) == ("max_steps",) and asked_names(None, None) == ()
    assert asked_names(("seed",), args) == ("seed",)


def test_an_older_record_shows_what_differs_from_transformers() -> None:
    assert given({"arguments": {"max_steps": 4}}) == {"max_steps": "4"}
    assert given({"arguments": {"max_steps": 4}, "asked": {}}) == {}
