"""Defaults yield to flags; flags that contradict each other are refused."""

from __future__ import annotations

from typing import Any

import pytest
from recipe_arguments import DEFAULTS, read, wrong

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.mark.parametrize(
    ("line", "expected", "note"),
    [
        ("--max_steps 20", {"max_steps": 20, "num_train_epochs": None}, "num_train_epochs is not used"),
        ("--save_strategy steps", {"eval_strategy": "steps", "eval_steps": 500}, "eval_strategy is steps"),
        (
            "--save_steps 50",
            {"save_strategy": "steps", "eval_strategy": "steps", "eval_steps": 50},
            "--save_steps 50",
        ),
        ("--eval_strategy steps", {"save_strategy": "steps", "save_steps": 10}, "save_strategy is steps"),
        (
            "--eval_steps 30",
            {"eval_strategy": "steps", "save_strategy": "steps", "save_steps": 30},
            "--eval_steps 30",
        ),
        (
            "--eval_strategy no",
            {"load_best_model_at_end": False, "save_strategy": "epoch"},
            "early stopping is off",
        ),
        ("--do_eval false", {"load_best_model_at_end": False, "eval_strategy": "no"}, "eval_strategy is no"),
        (
            "--save_strategy no",
            {"load_best_model_at_end": False, "eval_strategy": "epoch"},
            "load_best_model_at_end",
        ),
        ("--eval_strategy epoch --save_strategy steps", {"load_best_model_at_end": False}, "saving by steps"),
        ("--save_strategy best", {"eval_strategy": "epoch", "load_best_model_at_end": True}, ""),
        ("--load_best_model_at_end false", {"eval_strategy": "epoch", "save_strategy": "epoch"}, ""),
        ("--hub_model_id me/x", {"hub_model_id": "me/x"}, "without --push_to_hub"),
    ],
)
def test_defaults_yield_to_flags(line: str, expected: dict[str, Any], note: str) -> None:
    arguments = read(line)
    values = arguments.training(**DEFAULTS)
    assert {name: values.get(name) for name in expected} == expected
    assert note in "\n".join(arguments.notes)


def test_early_stopping_yields_too() -> None:
    assert read("").early_stopping_patience == 3
    assert read("--save_strategy no").early_stopping_patience is None
    assert read("--early_stopping_patience 2").training(logging_steps=5)["eval_strategy"] == "steps"


@pytest.mark.parametrize(
    "line",
    [
        "--do_eval false --eval_strategy epoch",
        "--eval_strategy no --load_best_model_at_end",
        "--save_strategy no --early_stopping_patience 2",
        "--eval_strategy no --save_strategy best",
        "--load_best_model_at_end --eval_strategy epoch --save_strategy steps",
        "--load_best_model_at_end --eval_strategy steps --save_strategy steps --eval_steps 3 --save_steps 5",
        "--fp16 --bf16",
    ],
)
def test_contradictions_are_problems(line: str) -> None:
    assert "contradicts" in wrong(*line.split())


def test_what_has_no_effect_on_a_push_is_said() -> None:
    from hf_transfer.flags.yields import of_the_push

    assert of_the_push({"hub_strategy": "end", "hub_model_id": "me/x"}, True) == []
    (said,) = of_the_push({"hub_strategy": "checkpoint", "hub_always_push": True}, True)
    assert said == "--hub_strategy and --hub_always_push have no effect: there is one upload, at the end"
    (said,) = of_the_push({"hub_private_repo": True}, False)
    assert said == "--hub_private_repo is given, but nothing is pushed without --push_to_hub"
    assert of_the_push({}, False) == []
