"""Two processes over gloo without a launcher: torch is imported once, and every rank is a fork of this process.

python tests/two_ranks.py FOLDER MODULE ...

Each module's `main` is given a folder of its own, in both ranks.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from architectures import make
from launching import free_port
from sklearn.linear_model import LogisticRegression, Ridge

__all__ = ["LogisticRegression", "Ridge", "ranks"]  # what every fork would import again


def ranks(main: Callable[[Path], None], folder: Path) -> None:
    """Run `main(folder)` as rank 0 and rank 1 of two."""
    folder.mkdir()
    port = free_port()
    started = [_forked(main, folder, rank, port) for rank in (0, 1)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in started]
    if any(codes):
        sys.exit(f"{main.__module__}: the ranks ended with {codes}")


def _forked(main: Callable[[Path], None], folder: Path, rank: int, port: int) -> int:
    if child := os.fork():
        return child
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    code = 1
    try:
        main(folder)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    mains = {name: importlib.import_module(name).main for name in sys.argv[2:]}
    make("bert"), make("resnet")
    gc.collect()
    gc.freeze()
    for name, main in mains.items():
        ranks(main, Path(sys.argv[1]) / name)
