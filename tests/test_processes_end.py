"""A process that fails ends the others within seconds; one message, a non-zero exit, and what is safe on disk."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import tiny
import torch
from failing import WHAT
from launching import launch

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="two processes on the CPU")
SCRIPT = Path(__file__).resolve().parent / "failing.py"
LATER = pytest.mark.full


@pytest.mark.parametrize(
    ("stage", "rank"),
    [
        ("step", 1),
        pytest.param("preparation", 1, marks=LATER),
        pytest.param("preparation", 0, marks=LATER),
        pytest.param("step", 0, marks=LATER),
        pytest.param("evaluation", 1, marks=LATER),
        pytest.param("assessment", 1, marks=LATER),
        pytest.param("saving", 0, marks=LATER),
    ],
)
def test_one_that_fails_ends_both_with_one_message(stage: str, rank: int, tmp_path: Path) -> None:
    tiny.save_tiny_bert(tmp_path / "base")
    done = launch("multi_cpu.yaml", "--main_process_port", 0, "--", stage, rank, tmp_path, script=SCRIPT)
    failed = float((tmp_path / "failed_at").read_text())
    ended = [float(path.read_text()) for path in tmp_path.glob("ended_*")]
    assert done.returncode != 0
    assert ended and max(ended) - failed < 25  # seconds; one that the launcher stops does not come so far
    assert time.time() - failed < 90  # the launcher's own end; busy machines take their time
    said = done.stderr
    if stage == "preparation":
        assert said.count("has to be mended first") == 1 and said.count("not there.csv") == 1, said
        assert not (tmp_path / "run").exists()
        return
    assert said.count(f"RuntimeError: {WHAT}") == 2, said  # the end of one traceback, and what is said last
    assert "Another process" not in said and "onnection closed" not in said
    first = stage == "evaluation"  # which comes before the first checkpoint
    assert ("No checkpoint had been saved yet" if first else "Safe on disk: ") in said
