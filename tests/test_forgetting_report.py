"""What report and card say of forgetting, for every problem type, and that images are watched too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import image_runs
import pytest
from example_runs import write_run

from hf_transfer.report import write_card, write_report

GROUPS = [
    {"group": "embeddings", "cka": 1.0, "relative_distance": 0.0, "weight_distance": 0.0},
    {"group": "block.1", "cka": 0.97, "relative_distance": 0.25, "weight_distance": 0.02},
    {"group": "block.2", "cka": None, "relative_distance": None, "weight_distance": 0.01},
]
AGREED = {"agreement": 0.875, "kl": 0.125}


def told(folder: Path, kind: str, head: Any, groups: list[dict[str, Any]] = GROUPS) -> tuple[str, str]:
    found = {"split": "validation", "rows": 24, "groups": groups, "head": head}
    write_run(folder, kind, forgetting=found)
    return write_report(folder).read_text(), write_card(folder).read_text()


@pytest.mark.parametrize(
    ("kind", "head", "said"),
    [
        ("single", AGREED, "gave the same answer on 87.5 % of the rows (mean KL divergence 0.125)"),
        ("multi", AGREED, "gave the same answer on 87.5 % of the labels (mean KL divergence 0.125)"),
        ("regression", {"mean_difference": 0.5}, "differ from those of its own head by 0.500 on average"),
        ("single", None, "the features moved most in block.1 (relative distance 0.250, linear CKA 0.970)."),
    ],
)
def test_one_sentence_a_table_and_a_picture(tmp_path: Path, kind: str, head: Any, said: str) -> None:
    page, card = told(tmp_path / "run", kind, head)
    sentence = "Compared with the checkpoint on 24 validation rows, the features moved most in block.1"
    for text in (page.replace("&#39;", "'"), card):
        assert sentence in text and said in text
    assert '<th scope="row">block.1</th><td class="n">0.970</td><td class="n">0.250</td>' in page
    assert '<th scope="row">block.2</th><td class="n">–</td><td class="n">–</td>' in page
    assert (tmp_path / "run/plots/drift.png").is_file() and "Lines over layers" in page
    assert "(plots/drift.png)" in card


def test_a_model_in_one_piece_has_a_table_without_features(tmp_path: Path) -> None:
    row = {"group": "model", "cka": None, "relative_distance": None, "weight_distance": 0.5}
    page, card = told(tmp_path / "run", "single", None, [row])
    assert '<th scope="row">model</th>' in page and "**Forgetting:**" not in card


@pytest.mark.parametrize("name", ["vit", "timm-resnet10t"])
def test_images_are_watched(tmp_path: Path, name: str) -> None:
    rows = [{"image": image_runs.noise(i, tint=i % 2), "label": "ab"[i % 2]} for i in range(40)]
    options = {"watch_forgetting": True, "probe": False, "strategy": "partial:1"}
    run = image_runs.run(name, rows, tmp_path, args={"num_train_epochs": 1, "do_predict": False}, **options)
    *below, last = run.record["forgetting"]["groups"]
    assert len(below) > 1 and last["relative_distance"] > 0 and last["weight_distance"] > 0
    assert all(row["relative_distance"] == row["weight_distance"] == 0 and row["cka"] == 1 for row in below)
