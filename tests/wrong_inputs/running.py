"""Runs a case as a user would, and tells what came of it as a row of the page.

The recipe runs in a fork of a process that has done its imports: 1 s where a fresh one takes 10. Arguments, exit code
and streams are the same (`test_a_fork_says_what_a_fresh_process_says`), on a CPU and with HF_HUB_OFFLINE=1.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import prepared_process

from .case import Case

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
# Cases that train do no more of it than they must, unless their flags say so.
SHORT = {
    "model_name_or_path": "MODELS/bert",
    "max_steps": "1",
    "cpu_threads": "1",
    "probe": "false",
    "save_strategy": "no",
    "skip_reload_check": "true",
}
IMPORTED = (
    *("hf_transfer.finetuning", "hf_transfer.finishing", "hf_transfer.data.loading", "hf_transfer.tasks"),
    *("peft", "evaluate", "sklearn.metrics", "scipy.stats", "matplotlib.pyplot", "timm"),
)
HEAD = re.compile(r"(One thing has|\d+ things have) to be mended first:\n")
BAR = re.compile(r"[^\r\n]*\d%\|[^\r\n]*?\]|\x1b\[A")
ROUGH = "a figure measured on them is rough"  # said of nearly every case: none has many rows
JUDGED = "no better"  # what one step of training was worth differs between machines


@dataclass(frozen=True)
class Outcome:
    """What a case left: exit code, what both streams said, the message (or warnings) on one line, new or changed files."""

    code: int
    said: str
    message: str
    left: tuple[str, ...]


NOTHING = Outcome(0, "", "", ())


def words(case: Case, models: Path) -> list[str]:
    """The command line behind the recipe's name."""
    line = case.flags
    if case.code != 2:
        short = {name: value for name, value in SHORT.items() if f"--{name} " not in f"{line} "}
        line = " ".join([line, *(f"--{name} {value}" for name, value in short.items())])
    return [word.replace("MODELS", str(models)) for word in shlex.split(line)]


def run(case: Case, folder: Path, models: Path) -> Outcome:
    """The case in `folder`, which is empty, with checkpoints in `models`."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(parents=True)
        elif callable(content):
            content(path, models)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    before = _files(folder)
    with working_in(folder):
        script = RECIPES / f"{case.recipe}.py"
        done = prepared_process.run(script, *words(case, models), imported=IMPORTED)
    after = _files(folder)
    left = tuple(sorted(name for name in {**before, **after} if before.get(name) != after.get(name)))
    message = _warnings(folder, left) if done.returncode == 0 else _listed(done.stderr)
    return Outcome(done.returncode, done.stdout + done.stderr, _portable(message, folder, models), left)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    was = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(was)


def row(case: Case, found: Outcome) -> str:
    """The case as a line of the page's table."""
    img = "img: " if case.recipe == "image_classification" else ""
    flags = case.flags if len(case.flags) < 200 else f"{case.flags[:60]}..."
    cells = [
        img + case.name,
        f"`{flags}`" if flags else "",
        str(found.code),
        what_is_left(found),
        found.message,
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def what_is_left(found: Outcome) -> str:
    if not found.left:
        return "nothing"
    if any(Path(name).name == "run.json" for name in found.left):
        return "run folder"
    return ", ".join(Path(name).name for name in found.left)


def _files(folder: Path) -> dict[str, bytes | None]:
    """Relative path -> content; None for folders and links to nowhere."""
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in paths}


def without_bars(said: str) -> str:
    """How fast something went is different each time."""
    return BAR.sub("", said)


def _listed(stderr: str) -> str:
    """The problems on one line, without the head that counts them; else all that was said beside the bars."""
    parts = HEAD.split(without_bars(stderr))
    items = parts[-1].removeprefix("- ").split("\n- ")
    return "; ".join(" ".join(item.split()) for item in items)


def _warnings(folder: Path, left: tuple[str, ...]) -> str:
    """What a run that took the input has said about it."""
    record = next((name for name in left if Path(name).name == "run.json"), None)
    if record is None:
        return "no run.json"
    warnings = json.loads((folder / record).read_text())["data"]["audit"]["warnings"]
    told = [f"{item['where']}: {item['what']}" for item in warnings]
    told = [item for item in told if ROUGH not in item and JUDGED not in item]
    return "; ".join(["runs", *(f"warning {' '.join(item.split())}" for item in told)])


def _portable(message: str, folder: Path, models: Path) -> str:
    """Without this machine's folders and the size of its disk."""
    for path, name in ((models, "MODELS"), (folder, ".")):
        message = message.replace(str(path), name)
    message = re.sub(r"[\d.]+ GB free", "... GB free", message)
    return message if len(message) <= 600 else f"{message[:600]}..."
