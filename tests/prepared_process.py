"""A process that has imported torch and transformers, and nothing of this package: scripts run in forks of it.

Stands for a fresh `python SCRIPT ...` where a saved model is loaded again: 1 s instead of 10. Exit codes and what is
written to both streams are those of the fresh process.
"""

from __future__ import annotations

import gc
import importlib
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path


def run(script: Path, *words: object, imported: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """As `hf_transfer.reload.in_fresh_process`, and for other scripts of a user who has no more than transformers.

    Args:
        imported: modules that the process has imported besides, for scripts that would spend their time on that.
    """
    server = _started(imported)
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / "stdout", Path(folder) / "stderr"]
        print(*streams, Path.cwd(), script, *words, sep="\t", file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess([], code, *(path.read_text() for path in streams))


@cache
def _started(imported: tuple[str, ...]) -> subprocess.Popen[str]:
    """Ends with its standard input, when this process does."""
    from hf_transfer.reload import clean_environment

    command = [sys.executable, str(Path(__file__).resolve()), *imported]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, text=True, env=clean_environment(), **streams)


def _serve() -> None:
    for line in sys.stdin:
        out, err, where, *words = line.rstrip("\n").split("\t")
        if (child := os.fork()) == 0:
            os.chdir(where)
            _in_fork(out, err, words)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _in_fork(out: str, err: str, words: list[str]) -> None:
    for stream, path in enumerate((out, err), start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    sys.argv = words
    code = 1
    try:
        runpy.run_path(words[0], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    import torch  # noqa: F401
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertModel  # noqa: F401

    for module in sys.argv[1:]:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # what was imported is looked at no more when a fork collects garbage
    _serve()
