"""Beside every result: what the checkpoint knew before; and a warning where training made it worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny

from hf_transfer import finetune
from hf_transfer.assess import PREFIX
from hf_transfer.data import load
from hf_transfer.probing import beside_results, transfer_warnings
from hf_transfer.tasks import find
from hf_transfer.tasks.classification import label_array

QUIET = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "num_train_epochs": 1}
TEXT = find("text-classification")


def run_of(folder: Path, **options: Any) -> Any:
    return finetune(
        TEXT, tiny.tiny_bert(folder), tiny.rows(120), args=QUIET | {"output_dir": str(folder / "run")},
        skip_reload_check=True, seed=3, **options,
    )  # fmt: skip


def test_the_probe_stands_beside_the_result_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    run, without = run_of(tmp_path / "a"), run_of(tmp_path / "b", probe=False)
    assert 0 <= run.metrics["test_probe_accuracy"] <= 1 and "eval_probe_f1_macro" in run.metrics
    assert not any("probe" in name for name in without.metrics)
    same = {name for name in without.metrics if not name.startswith("train_")}
    assert {name: run.metrics[name] for name in same} == {name: without.metrics[name] for name in same}
    card = (Path(run.output_dir) / "README.md").read_text()
    assert "| Probe |" in card and "what it knew already" in card
    assert "what it knew already" in (Path(run.output_dir) / "report.html").read_text()


def test_feature_extraction_is_its_own_probe(tmp_path: Path) -> None:
    run = run_of(tmp_path, strategy="feature-extraction", pooling="mean")
    assert run.metrics["test_probe_accuracy"] == run.metrics["test_accuracy"]


@pytest.mark.parametrize(("wrong", "said"), [(4, True), (1, False)])
def test_negative_transfer_is_said_beyond_two_standard_errors(wrong: int, said: bool) -> None:
    """16 rows, the probe right on all: 4 wrong differ by 0.25 with error 0.108, 1 by 0.0625 with error 0.061."""
    rows = [{"text": f"text {i}", "label": ("a", "b")[i % 2]} for i in range(48)]
    data = load(TEXT, pd.DataFrame(rows), test_size=1 / 3)
    labels = np.asarray(data.splits["test"]["label"])
    truths = np.array([data.labels.index(value) if isinstance(value, str) else value for value in labels])
    probed = np.eye(2)[truths]
    trained = probed.copy()
    trained[:wrong] = trained[:wrong, ::-1]
    found = transfer_warnings(data, {"test": trained}, {"test": probed})
    assert len(found) == said
    assert not said or "negative transfer" in found[0]["what"]
    # Where nothing but the head has learnt, or neighbours vote, nothing was transferred that could be lost.
    other = transfer_warnings(data, {"test": trained}, {"test": probed}, learned=False)
    assert not said or "negative transfer" not in other[0]["what"]


def test_several_labels_are_compared_as_the_table_has_them(tmp_path: Path) -> None:
    """At thresholds tuned on validation, and not on the test rows."""
    data = load(TEXT, pd.DataFrame(tiny.rows(120, "multi")))
    drawn, logits = np.random.default_rng(0), []
    truths = {split: label_array(data.splits[split], data) for split in ("validation", "test")}
    for noise in (0.5, 4.0):
        scores = {s: 4 * y - 3 + noise * drawn.normal(size=y.shape) for s, y in truths.items()}
        logits.append(scores)
    found = [one["what"] for one in transfer_warnings(data, logits[1], logits[0]) if one["where"] == "test"]
    table = [beside_results(data, "probe", one, PREFIX)["test_probe_f1_micro"] for one in logits]
    assert f"f1_micro {table[1]:.4f} is below" in found[0] and f"{table[0]:.4f}" in found[0]


def test_a_run_that_ruins_the_checkpoint_says_so(tmp_path: Path) -> None:
    """A model that knows the task, trained on at a rate that leaves nothing but noise of it."""
    rows, args = (
        tiny.rows(240),
        QUIET | {"learning_rate": 3e-3, "num_train_epochs": 6, "output_dir": str(tmp_path / "good")},
    )
    good = finetune(
        TEXT, tiny.tiny_bert(tmp_path), rows, args=args, skip_reload_check=True, probe=False, seed=3
    )
    args |= {"output_dir": str(tmp_path / "run"), "learning_rate": 3.0, "load_best_model_at_end": False}
    run = finetune(
        TEXT, good.output_dir, rows, args=args | {"num_train_epochs": 1}, skip_reload_check=True, seed=3
    )
    if run.metrics["test_probe_accuracy"] - run.metrics["test_accuracy"] < 0.3:
        pytest.fail(f"the probe is no better: {run.metrics}")
    assert "negative transfer" in (Path(run.output_dir) / "README.md").read_text()
