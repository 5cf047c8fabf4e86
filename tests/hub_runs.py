"""What the tests of the Hub share: a small model and a data set on the stand-in, and programs run as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tiny
from hub_memory import WRITE, Hub

ROOT = Path(__file__).resolve().parent.parent
MARKER = "The marmalade sang quietly beneath Orion"  # a row of the data: must never be published
LABELS = ("très bon", "good elsewhere", "bad at 'home'", "bad elsewhere")
CARD = b"---\nlicense: mit\n---\n# A tiny BERT\n"
DATA_CARD = b"---\nlicense: cc-by-nc-4.0\ntask_categories: [text-classification]\n---\n"


def rows(n: int) -> list[tuple[str, str]]:
    """Text and one of four labels, which follow from the words; row 3 is the marker."""
    found = []
    for i in range(n):
        good, home = i % 2 == 0, i // 2 % 2 == 0
        text = f"We found the {tiny.THINGS[i % 12]} {(tiny.GOOD if good else tiny.BAD)[i // 2 % 8]} " + (
            "at home" if home else f"at {tiny.PLACES[1 + i % 7]}, but {tiny.THINGS[i // 12 % 12]}"
        )
        label = LABELS[(0 if good else 2) + (0 if home else 1)]
        found.append((MARKER if i == 3 else f"{text} {i}.", label))
    return found


def fill(hub: Hub, folder: Path) -> None:
    """`me/tiny` (a BERT without head) and the data set `me/moods` (csv, 96 rows, four labels)."""
    files = {path.name: path.read_bytes() for path in tiny.save_tiny_bert(folder / "tiny").iterdir()}
    hub.add("me/tiny", {**files, "README.md": CARD})
    lines = ["text,label", *(f'"{text}","{label}"' for text, label in rows(96))]
    hub.add("me/moods", {"train.csv": "\n".join(lines).encode(), "README.md": DATA_CARD}, "dataset")


def run(
    hub: Hub, home: Path, *words: str, token: str | None = WRITE, **more: str
) -> subprocess.CompletedProcess[str]:
    """`python WORDS` as a user of the stand-in, with a cache of its own in `home`."""
    dropped = ("HF_HUB_OFFLINE", "HF_TOKEN", "TRANSFORMERS_OFFLINE", "HF_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = kept | {"PYTHONPATH": path} | hub.environment(home, token) | more
    return subprocess.run(
        [sys.executable, *words], cwd=home, env=environment, capture_output=True, text=True, timeout=900
    )


def hft(
    hub: Hub, home: Path, *words: str, token: str | None = WRITE, **more: str
) -> subprocess.CompletedProcess[str]:
    """`hft WORDS`."""
    return run(hub, home, "-m", "hf_transfer.cli", *words, token=token, **more)
