"""The miniature of benchmarks/digits.py: on shifted images, the more of the backbone is trained the more is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.full
@pytest.mark.parametrize("seed", [0, 1])
def test_training_distorts_what_the_features_knew(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import digits

    found = {row["strategy"]: row for row in digits.one_seed(seed, tmp_path)}
    shifted = {name: row["shifted"] for name, row in found.items()}
    assert shifted["scratch"] < shifted["full"] < shifted["lp-ft"] < shifted["feature-extraction"]
    assert min(row["clean"] for row in found.values()) > 0.85
