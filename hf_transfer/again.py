"""The command that goes on with an interrupted run, whole, as it would be typed."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

LAUNCHERS = ("accelerate", "torchrun", "torch.distributed.run", "accelerate.commands.launch")
REPLACED = ("resume_from_checkpoint", "overwrite_output_dir")


def typed_command() -> list[str]:
    """The words with which this process was started, by hand: a launcher's, where one started it."""
    own = [Path(sys.executable).name, *sys.argv]
    launcher = _parent()
    if not launcher or launcher[-len(sys.argv) :] != sys.argv:
        return own
    if any(
        Path(word).name in LAUNCHERS[:2] for word in launcher[:2]
    ):  # a script that python was given to run
        first = next(i for i, word in enumerate(launcher) if Path(word).name in LAUNCHERS[:2])
        return [Path(launcher[first]).name, *launcher[first + 1 :]]
    return [Path(launcher[0]).name, *launcher[1:]] if set(launcher) & set(LAUNCHERS) else own


def _parent() -> list[str]:
    """The words of the process that started this one; none where they cannot be seen."""
    import psutil

    try:
        return list(psutil.Process(os.getppid()).cmdline())
    except psutil.Error:
        return []


def goes_on(command: Sequence[str], folder: Path | str) -> str:
    """`command` for a shell, changed so that it goes on with the run in `folder`."""
    words: list[str] = []
    drop = False
    for word in command:
        name = _flag(word)
        if name is None and drop:
            drop = False  # the value of a flag that is replaced
            continue
        drop = name in REPLACED and "=" not in word
        if name not in REPLACED:
            words.append(word)
    if not any(_flag(word) == "output_dir" for word in words):
        words += ["--output_dir", str(folder)]
    return shlex.join([*words, "--resume_from_checkpoint", "true"])


def _flag(word: str) -> str | None:
    return word[2:].partition("=")[0].replace("-", "_") if word.startswith("--") else None
