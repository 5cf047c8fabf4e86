"""What a run says when a signal ends it, and that the printed command goes on."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny
from conftest import ROOT

from hf_transfer.again import goes_on
from hf_transfer.saved import newest_checkpoint


@pytest.mark.parametrize(
    ("typed", "again"),
    [
        ("python r.py", "python r.py --output_dir 'my run' --resume_from_checkpoint true"),
        (
            "accelerate launch -n 2 r.py a.yaml --resume_from_checkpoint false --text_column 'a b'",
            "accelerate launch -n 2 r.py a.yaml --text_column 'a b' --output_dir 'my run' --resume_from_checkpoint true",
        ),
        (
            "python r.py --overwrite-output-dir --output-dir=o --resume-from-checkpoint=o/checkpoint-1 --bf16",
            "python r.py --output-dir=o --bf16 --resume_from_checkpoint true",
        ),
    ],
)
def test_the_command_that_goes_on(typed: str, again: str) -> None:
    assert goes_on(shlex.split(typed), "my run") == again


FLAGS = ["--per_device_train_batch_size", "4", "--num_train_epochs", "400", "--skip_reload_check", "true"]
FLAGS += ["--cpu_threads", "1", "--save_strategy", "steps", "--save_steps", "1000", "--eval_strategy", "no"]
FLAGS += ["--logging_steps", "1", "--output_dir", "run"]
PYTHON = [sys.executable]
ACCELERATE = [str(Path(sys.executable).parent / "accelerate"), "launch", "--cpu"]
TWO = [str(Path(sys.executable).parent / "torchrun"), "--standalone", "--nproc_per_node", "2"]
LAUNCHED = [
    pytest.param(PYTHON, signal.SIGTERM, 143, id="python"),
    pytest.param(PYTHON, signal.SIGINT, 130, id="python, SIGINT", marks=pytest.mark.full),
    pytest.param(ACCELERATE, signal.SIGINT, None, id="accelerate launch", marks=pytest.mark.full),
    pytest.param(TWO, signal.SIGINT, None, id="two ranks, SIGINT", marks=pytest.mark.full),
    pytest.param(TWO, signal.SIGTERM, None, id="two ranks, SIGTERM", marks=pytest.mark.full),
]


def launched(command: list[str], folder: Path, stderr: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": stderr, "text": True}
    # What a shell starts in the background ignores Ctrl-C, and so would all that it starts.
    streams["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **streams)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(("launcher", "number", "code"), LAUNCHED)
def test_a_signal_saves_and_tells_the_command_that_goes_on(
    launcher: list[str], number: int, code: int | None, tmp_path: Path
) -> None:
    """The command that is printed is run, with fewer steps to go, and finishes."""
    base = tiny.tiny_bert(tmp_path)
    rows = tmp_path / "my rows.json"
    rows.write_text(json.dumps(tiny.rows(40)))
    recipe = str(ROOT / "recipes" / "sentiment.py")
    flags = [recipe, "--model_name_or_path", str(base), "--dataset_name", str(rows), *FLAGS]
    told = tmp_path / "stderr.txt"
    with told.open("w") as stream:
        run = launched([*launcher, *flags], tmp_path, stream)
    until = time.monotonic() + 300
    while "full (1/1)" not in told.read_text() and run.poll() is None and time.monotonic() < until:
        time.sleep(0.2)  # the bar of the training is not there yet
    assert run.poll() is None, told.read_text()[-3000:]
    time.sleep(1)
    os.killpg(run.pid, number)
    run.communicate(timeout=200)
    said = told.read_text()
    assert run.returncode == code if code is not None else run.returncode != 0, said[-3000:]
    assert "Interrupted." in said and "Safe on disk: run/checkpoint-" in said, said[-3000:]
    assert said.count("Stopping after this step") == 1  # said at once, by the first process
    if launcher is PYTHON:
        assert "Traceback" not in said
    (again,) = [line.strip() for line in said.splitlines() if line.endswith("--resume_from_checkpoint true")]
    words = shlex.split(again)
    assert words[-2:] == ["--resume_from_checkpoint", "true"] and words[-2 - len(flags) : -2] == flags
    assert words[0] == Path(launcher[0]).name and words[1 : len(launcher)] == launcher[1:]
    checkpoint = newest_checkpoint(tmp_path / "run")
    assert checkpoint is not None and f"run/{checkpoint.name}" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_preparation_ends_quickly(number: int, tmp_path: Path) -> None:
    script = "import sys, time, hf_transfer\n"
    script += "def main():\n    print('on', flush=True)\n    time.sleep(60)\n"
    script += "sys.exit(hf_transfer.command(main))"
    run = launched([sys.executable, "-c", script], tmp_path)
    assert run.stdout is not None and run.stdout.readline() == "on\n"
    os.kill(run.pid, number)
    _, said = run.communicate(timeout=20)
    assert (run.returncode, said) == (128 + number, "Interrupted.\n") and not list(tmp_path.iterdir())
