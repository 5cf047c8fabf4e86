"""What is said to be chosen on validation was, and what was is said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
from example_runs import write_run

from hf_transfer import finetune
from hf_transfer.assess import Assessment
from hf_transfer.plan import print_results
from hf_transfer.report.card import card_text
from hf_transfer.report.figures import measured_words
from hf_transfer.report.read import Record, read_record
from hf_transfer.strategies.regularization import Regularization
from hf_transfer.validated import chosen_on_validation

STEPS, HEAD = {"best": {"step": 2}, "stopped_early": True}, {"solved": {"chosen_on": "validation"}}


@pytest.mark.parametrize(
    ("ledger", "args", "others", "chosen"),
    [
        ([STEPS], {}, {}, []),
        ([STEPS], {"load_best_model_at_end": True}, {}, ["weights"]),
        ([STEPS], {}, {"soup": 3}, ["weights"]),
        ([STEPS], {}, {"patience": 2}, ["length"]),
        ([HEAD], {"load_best_model_at_end": True}, {}, ["head"]),
        (
            [{"solved": {"chosen_on": "5 folds of the training rows"}}],
            {"load_best_model_at_end": True},
            {},
            [],
        ),
        (
            [HEAD, STEPS],
            {"load_best_model_at_end": True},
            {"before": ["strategy"]},
            ["strategy", "weights", "head"],
        ),
        ([STEPS], {}, {"thresholds": [0.4]}, ["thresholds"]),
        ([STEPS], {"load_best_model_at_end": True}, {"splits": ("train",)}, []),
    ],
)
def test_only_what_was_chosen_is_named(ledger: list[Any], args: Any, others: Any, chosen: list[str]) -> None:
    setup: Any = SimpleNamespace(
        args=SimpleNamespace(**{"load_best_model_at_end": False} | args),
        prepared=SimpleNamespace(splits=dict.fromkeys(others.get("splits", ("train", "validation")), ())),
        regularization=Regularization(soup=others.get("soup")),
        early_stopping_patience=others.get("patience"),
        chosen=others.get("before", []),
    )
    assert chosen_on_validation(setup, Assessment(thresholds=others.get("thresholds")), ledger) == chosen


def test_tables_say_it_only_then(capsys: pytest.CaptureFixture[str]) -> None:
    results = {"eval_accuracy": 0.5, "train_loss": 0.1}
    for chosen in ((), ("weights", "thresholds")):
        print_results(results, "accuracy", "run", {}, chosen=chosen)
    one, two = capsys.readouterr().out.split("validation")[1:]
    assert "chosen" not in one and two.startswith(" (weights, thresholds chosen here)")


def test_a_run_that_kept_the_last_weights_is_not_called_flattering(base: Path, tmp_path: Path) -> None:
    args = {"output_dir": str(tmp_path / "run"), "use_cpu": True, "report_to": "none", "disable_tqdm": True}
    args |= {"max_steps": 1, "load_best_model_at_end": False}
    run = finetune("text-classification", base, tiny.rows(60), args=args, skip_reload_check=True, probe=False)
    assert run.record["chosen_on_validation"] == []
    record = read_record(write_run(tmp_path / "example"))
    record = Record(
        record.folder,
        record.run | {"chosen_on_validation": []},
        record.phases,
        [],
        {"eval_accuracy": 1.0},
        None,
    )
    assert "took no part" in measured_words(record) and "flattering" not in card_text(record)
    before = Record(
        record.folder, {}, record.phases, [], {"eval_accuracy": 1.0}, None
    )  # of an earlier version
    assert "chosen and reported on validation" in measured_words(before)
