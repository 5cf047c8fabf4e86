"""How a script ends: exit codes and what is said last."""

from __future__ import annotations

import errno
import signal

import pytest

from hf_transfer.exits import command
from hf_transfer.problems import Problem, Problems


def ending(error: BaseException) -> int:
    def main() -> None:
        raise error

    return command(main)


def test_done_is_zero_whatever_main_returns() -> None:
    assert command(lambda: 5) == 0


def test_problems_are_listed_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(Problems(Problem("--a", "is wrong", "mend it"), Problem("--b", "too"))) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[0].startswith("2 things") and "-> mend it" in said and "Traceback" not in said


def test_one_process_of_several_speaks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first: the fault may be that of another process than the first."""
    from torch.distributed import TCPStore

    monkeypatch.setattr(signal, "signal", lambda *given: None)  # this process goes on
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    assert ending(Problems(Problem("--a", "is wrong"))) == 2
    assert "is wrong" in capsys.readouterr().err
    assert ending(Problems(Problem("--a", "is wrong"))) == 2
    assert ending(RuntimeError("Connection closed by peer")) == 1
    assert capsys.readouterr().err == ""


def test_a_process_that_lost_the_others_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:1")
    lost.safe = "Safe on disk: checkpoint-20"  # type: ignore[attr-defined]
    assert ending(lost) == 1
    said = capsys.readouterr().err
    assert said.startswith("Another process of this run has ended") and "Traceback" not in said
    assert said.rstrip().endswith("checkpoint-20")


def test_interrupt_and_exit() -> None:
    assert ending(KeyboardInterrupt()) == 130
    with pytest.raises(SystemExit) as stopped:
        ending(SystemExit(143))
    assert stopped.value.code == 143


def test_what_is_safe_is_said_last(capsys: pytest.CaptureFixture[str]) -> None:
    error = RuntimeError("boom")
    error.safe = "checkpoint-20 is whole"  # type: ignore[attr-defined]
    assert ending(error) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said and said.rstrip().endswith("checkpoint-20 is whole")


@pytest.mark.parametrize(
    "full", [OSError(errno.ENOSPC, "x"), RuntimeError("I/O: No space left on device (os error 28)")]
)
def test_a_full_disk(full: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(full) == 1
    assert "The disk is full" in capsys.readouterr().err.splitlines()[-1]


def test_what_training_arguments_refuse_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import TrainingArguments

    assert command(lambda: TrainingArguments(warmup_steps=-3, use_cpu=True)) == 2
    said = capsys.readouterr().err
    assert "warmup_steps" in said and "Traceback" not in said
