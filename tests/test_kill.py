"""Runs killed with SIGKILL at random moments end, once resumed, as if nothing had been: see kills.py."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kill_cases import CASES
from run_differences import differences

HERE = Path(__file__).resolve().parent
SEED = 4  # of four kills: in an epoch but the first of two ranks, in a file of a checkpoint, in evaluation, at the end


def killed(folder: Path, *flags: str) -> list[dict[str, str]]:
    """The log of `kills.py`."""
    log = folder / "kills.csv"
    command = [sys.executable, str(HERE / "kills.py"), "--log", str(log), *flags]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert log.is_file(), done.stderr[-3000:]
    rows = list(csv.DictReader(log.open()))
    assert rows, done.stderr[-3000:]
    return rows


def assert_identical(rows: list[dict[str, str]]) -> None:
    wrong = [row for row in rows if row["outcome"] != "identical"]
    assert not wrong, json.dumps(wrong, indent=1)
    assert all(row["moment"] for row in rows)


def test_four_killed_runs_end_as_the_uninterrupted_ones(tmp_path: Path) -> None:
    """One and two ranks, accumulation and masking, two phases, images: the seed draws the moments."""
    rows = killed(tmp_path, "--kills", "4", "--seed", str(SEED), "--cases", "0", "1", "3", "7")
    assert_identical(rows)
    assert len({row["case"] for row in rows}) == 4


@pytest.mark.full
@pytest.mark.parametrize("seed", range(10, 14))
def test_a_hundred_killed_runs_end_as_the_uninterrupted_ones(seed: int, tmp_path: Path) -> None:
    rows = killed(tmp_path, "--kills", "30", "--seed", str(seed))
    assert_identical(rows)
    assert {row["case"] for row in rows} == {case.name for case in CASES}


def test_what_differs_is_seen(tmp_path: Path) -> None:
    """The comparison itself: of a byte of the weights, a metric, a line of the history, a prediction, a file."""
    import numpy as np
    import pandas as pd
    from safetensors.numpy import save_file

    def run(folder: Path) -> Path:
        folder.mkdir()
        save_file({"weight": np.zeros(3, np.float32)}, str(folder / "model.safetensors"))
        (folder / "all_results.json").write_text('{"eval_loss": 1.0, "train_runtime": 3}')
        (folder / "phases.json").write_text('[{"steps": 2, "seconds": 3}]')
        (folder / "config.json").write_text("{}")
        (folder / "history.jsonl").write_text('{"loss": 1, "eval_runtime": 2}\n')
        pd.DataFrame({"row": [0], "prediction": ["a"]}).to_parquet(folder / "predictions.parquet")
        return folder

    whole, same = run(tmp_path / "whole"), run(tmp_path / "same")
    (same / "all_results.json").write_text('{"eval_loss": 1.0, "train_runtime": 4}')
    assert not differences(whole, same)
    other = run(tmp_path / "other")
    save_file({"weight": np.full(3, 1e-38, np.float32)}, str(other / "model.safetensors"))
    (other / "all_results.json").write_text('{"eval_loss": 1.0000000000000002, "train_runtime": 3}')
    (other / "phases.json").write_text('[{"steps": 3, "seconds": 3}]')
    (other / "history.jsonl").write_text('{"loss": 1, "eval_runtime": 2}\n{"loss": 0}\n')
    pd.DataFrame({"row": [0], "prediction": ["b"]}).to_parquet(other / "predictions.parquet")
    (other / "model.partial").mkdir()
    found = " ".join(differences(whole, other))
    for what in (
        "model.safetensors",
        "eval_loss",
        "phases.json",
        "history.jsonl",
        "predictions",
        "left over",
    ):
        assert what in found, what
