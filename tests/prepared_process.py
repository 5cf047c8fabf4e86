"""A process that has imported torch and transformers, and nothing of this package: scripts run in forks of it.

Stands for a fresh `python SCRIPT JOB` in runs whose saved model is loaded again: 1 s instead of 10.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path


def run(script: Path, job: Path) -> subprocess.CompletedProcess[str]:
    """As `hf_transfer.reload.in_fresh_process`."""
    server = _started()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as said:
        print(script, job, said.name, sep="\t", file=server.stdin, flush=True)
        return subprocess.CompletedProcess([], int(server.stdout.readline()), "", said.read())


@cache
def _started() -> subprocess.Popen[str]:
    """Ends with its standard input, when this process does."""
    from hf_transfer.reload import clean_environment

    command = [sys.executable, str(Path(__file__).resolve())]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, text=True, env=clean_environment(), **streams)


def _serve() -> None:
    for line in sys.stdin:
        script, job, said = line.rstrip("\n").split("\t")
        if (child := os.fork()) == 0:
            _in_fork(script, job, said)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _in_fork(script: str, job: str, said: str) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(said, os.O_WRONLY), 2)
    sys.argv = [script, job]
    code = 1
    try:
        runpy.run_path(script, run_name="__main__")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    import torch  # noqa: F401
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertModel  # noqa: F401

    _serve()
