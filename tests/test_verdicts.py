"""What is wrong with a result is said in sentences that agree, with one advice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny

from hf_transfer import finetune
from hf_transfer.probing import TRAIN_OTHERWISE
from hf_transfer.verdicts import agreed, no_better

POOR = {
    "test_accuracy": 0.5,
    "test_baseline_accuracy": 0.5,
    "eval_accuracy": 0.4,
    "eval_baseline_accuracy": 0.6,
}
BELOW = (
    "accuracy 0.5000 is below that of a solved head on the untouched checkpoint, 0.9000: negative transfer"
)
LESS = f"use --strategy feature-extraction or lp-ft; {TRAIN_OTHERWISE}"


def advice(warnings: list[dict[str, Any]]) -> list[str]:
    return [warning["mend"] for warning in warnings if warning["mend"]]


def test_below_constant_and_probe_there_is_one_advice() -> None:
    """Each alone says the contrary of the other: train longer and faster, or shorter and slower."""
    constant, probed = no_better(POOR, "accuracy"), [{"where": "test", "what": BELOW, "mend": LESS}]
    assert "train longer" in constant[0]["mend"] and "faster or longer" in probed[0]["mend"]
    found = agreed(constant, probed)
    assert [warning["where"] for warning in found] == ["test", "validation"]
    assert "best constant answer" in found[0]["what"] and "negative transfer" in found[0]["what"]
    (said,) = advice(found)
    assert "feature-extraction or lp-ft" in said and "longer" not in said and "fewer" not in said


def test_alone_each_keeps_its_advice_and_says_it_once() -> None:
    (said,) = advice(agreed(no_better(POOR, "accuracy"), []))
    assert "train longer" in said
    both = [{"where": split, "what": BELOW, "mend": LESS} for split in ("test", "validation")]
    assert advice(agreed([], both)) == [LESS]
    scratch = [{"where": "test", "what": "below scratch", "mend": "let more learn (--strategy full)"}]
    assert advice(agreed([], [], scratch)) == ["let more learn (--strategy full)"]
    assert advice(agreed([], both, scratch)) == [LESS]
    assert agreed([], []) == []


def test_a_solved_head_is_not_told_to_train_longer() -> None:
    (said,) = advice(agreed(no_better(POOR, "accuracy", learned=False), []))
    assert "longer" not in said and "learning_rate" not in said and "--model_name_or_path" in said


def test_values_that_are_far_off_are_warned_of_whatever_their_order() -> None:
    """pearsonr does not see where the values lie."""
    found = {"test_pearsonr": 0.3, "test_baseline_pearsonr": 0.0, "test_mse": 9e6, "test_baseline_mse": 1e6}
    (one,) = no_better(found, "pearsonr")
    assert "far off" in one["what"] and "9e+06" in one["what"] and "lp-ft or ridge" in one["mend"]
    assert no_better(found | {"test_mse": 9e5}, "pearsonr") == []


def test_values_far_from_0_are_warned_of_before_a_new_head_is_trained(tmp_path: Path) -> None:
    folder = tiny.tiny_bert(tmp_path)
    rows = [row | {"label": 100 * row["label"] + 500} for row in tiny.rows(60, "regression")]

    def told(name: str, strategy: str, rows: Any) -> str:
        args = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "max_steps": 1}
        args |= {"output_dir": str(tmp_path / name)}
        run = finetune(
            "text-classification",
            folder,
            rows,
            args=args,
            strategy=strategy,
            probe=False,
            skip_reload_check=True,
        )
        return str(run.record["data"]["audit"]["warnings"])

    assert "values lie around" in told("far", "full", rows) and "values lie" not in told(
        "solved", "lp-ft", rows
    )
    assert "values lie" not in told("near", "full", tiny.rows(60, "regression"))
