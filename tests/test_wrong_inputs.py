"""Every wrong input: its exit code, nothing left behind, and the message that docs/bad_input.md shows.

`python tests/write_wrong_inputs.py` writes the page anew. What CI holds of the messages is in test_bad_input.py,
test_broken_sources.py, test_columns.py, test_refusals.py and their like, closer and without the recipe around it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from wrong_inputs import CASES, PAGE
from wrong_inputs.case import Case
from wrong_inputs.contents import make_models
from wrong_inputs.running import NOTHING, RECIPES, row, run, without_bars, words, working_in

NAMES = [f"{case.recipe}: {case.name}" for case in CASES]
TO_DO = (" -> ", "expected", "needs a value")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models(tmp_path_factory.mktemp("models"))


def test_every_case_has_a_row_and_every_row_a_case() -> None:
    assert len(set(NAMES)) == len(NAMES)
    rows = [line.split(" | ")[:2] for line in PAGE.read_text().split("\n## Through")[0].splitlines()]
    shown = [(line[0].removeprefix("| "), line[1]) for line in rows if len(line) == 2]
    due = [tuple(row(case, NOTHING).removeprefix("| ").split(" | ")[:2]) for case in CASES]
    assert [line for line in shown if line[0] not in ("case", "---")] == due


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_wrong_input(case: Case, models: Path, tmp_path: Path) -> None:
    found = run(case, tmp_path.resolve(), models)
    assert found.code == case.code, found.said
    if case.code == 2:
        assert not found.left
        assert "Traceback" not in found.said
        assert any(words in found.message for words in TO_DO), found.message
    assert row(case, found) in PAGE.read_text().splitlines()


@pytest.mark.full
@pytest.mark.parametrize("name", ["latin-1", "cut weights", "num_train_epochs 0", "label_smoothing_factor 7"])
def test_a_fork_says_what_a_fresh_process_says(name: str, models: Path, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == name)
    forked = run(case, tmp_path.resolve(), models)
    script = [sys.executable, str(RECIPES / f"{case.recipe}.py"), *words(case, models)]
    with working_in(tmp_path):
        fresh = subprocess.run(script, capture_output=True, text=True)
    said = without_bars(fresh.stdout + fresh.stderr)
    assert (forked.code, without_bars(forked.said)) == (fresh.returncode, said)
