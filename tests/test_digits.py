"""The miniature of benchmarks/digits.py: on shifted images, the more of the backbone is trained the more is lost."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT


def benchmark(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.full
@pytest.mark.parametrize("seed", [0, 1])
def test_training_distorts_what_the_features_knew(seed: int, tmp_path: Path) -> None:
    found = {row["strategy"]: row for row in benchmark("digits").one_seed(seed, tmp_path)}
    shifted = {name: row["shifted"] for name, row in found.items()}
    assert shifted["scratch"] < shifted["full"] < shifted["lp-ft"] < shifted["feature-extraction"]
    assert min(row["clean"] for row in found.values()) > 0.85
