"""What the benchmarks write: row by row, each once, and they all start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

BENCHMARKS = [path for path in (ROOT / "benchmarks").glob("*.py") if path.name != "results_file.py"]


def test_rows_are_added_and_known_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from results_file import add, held

    path = tmp_path / "found.csv"
    assert held(path, ["seed"]) == set()
    add(path, {"seed": 0, "accuracy": 0.5}, ("seed", "strategy", "accuracy"))
    add(path, {"seed": 1, "strategy": "full, twice"}, ("seed", "strategy", "accuracy"))
    assert path.read_text().splitlines() == ["seed,strategy,accuracy", "0,,0.5", '1,"full, twice",']
    assert held(path, ["seed", "strategy"]) == {("0", ""), ("1", "full, twice")}


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_every_benchmark_tells_its_flags(path: Path) -> None:
    said = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True)
    assert said.returncode == 0 and "usage:" in said.stdout, said.stderr
