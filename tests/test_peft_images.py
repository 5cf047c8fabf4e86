"""Runs on images with adapters that are proved in fresh processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_runs import run

from hf_transfer import Run


@pytest.mark.parametrize(("name", "method"), [("convnext", "pfeiffer"), ("timm-mobilenetv2", "ia3")])
def test_an_image_run_is_proved_and_loaded_again(
    name: str, method: str, image_folder: Path, tmp_path: Path
) -> None:
    found = run(name, image_folder, tmp_path, peft_config=method, skip_reload_check=False)
    proof = found.record["reload_check"]
    assert proof["adapter_difference"] <= 1e-4 and proof["max_difference"] <= 1e-3
    assert proof["merged"] == (method == "ia3")
    paths = [str(p) for p in sorted(image_folder.glob("validation/*/*.png"))][:2]
    for ours, again in zip(found.predict(paths), Run.open(found.output_dir).predict(paths), strict=True):
        assert ours["probabilities"] == pytest.approx(again["probabilities"], abs=1e-4)
