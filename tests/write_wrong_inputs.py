"""Runs every wrong input and writes its rows into docs/bad_input.md: `python tests/write_wrong_inputs.py`.

The head of the page and what follows the last chapter stay as they are.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from wrong_inputs import CHAPTERS, PAGE
from wrong_inputs.case import Case
from wrong_inputs.contents import make_models
from wrong_inputs.running import row, run

TABLE = "| case | flags | exit | left | message |\n| --- | --- | --- | --- | --- |\n"


def main() -> int:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    wrong = 0
    chapters = []
    with tempfile.TemporaryDirectory() as folder:
        models = make_models(Path(folder).resolve() / "models")
        for title, cases in CHAPTERS.items():
            rows = []
            for case in cases:
                line, code = written(case, models)
                wrong += code != case.code
                rows.append(f"{line}\n")
            chapters.append(f"## {title}\n\n{TABLE}{''.join(rows)}\n")
    page = PAGE.read_text(encoding="utf-8")
    titles = [f"## {title}\n" for title in CHAPTERS]
    head, tail = page[: page.index("\n## ") + 1], page[page.index("\n", page.index(titles[-1])) :]
    tail = tail[tail.index("\n## ") + 1 :]
    PAGE.write_text(head + "".join(chapters) + tail, encoding="utf-8")
    return 1 if wrong else 0


def written(case: Case, models: Path) -> tuple[str, int]:
    """The row of the page, and the exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = run(case, Path(folder).resolve(), models)
    line = row(case, found)
    due = "" if found.code == case.code else f"  (due: {case.code})"
    print(f"{time.monotonic() - began:5.1f} s {line}{due}", flush=True)
    if found.code != case.code or (case.code == 2 and found.left):
        print(found.said[-2000:], found.left, file=sys.stderr)
    return line, found.code


if __name__ == "__main__":
    sys.exit(main())
