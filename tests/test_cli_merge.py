"""`hft merge`: an adapter and its base become one model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
from example_runs import write_run
from hft_commands import ending


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with LoRA, trained until its adapter matters."""
    from peft import LoraConfig

    from hf_transfer import finetune

    folder = tmp_path_factory.mktemp("lora")
    args = {"max_steps": 3, "learning_rate": 0.1, "output_dir": str(folder / "run"), "report_to": "none"}
    args |= {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "use_cpu": True}
    rows = [row | {"label": f"{row['label']} {i % 3}"} for i, row in enumerate(tiny.rows(120))]
    base, lora = tiny.tiny_bert(folder), LoraConfig(r=2, lora_alpha=8)
    finetune(
        "text-classification", base, rows, args=args, peft_config=lora, skip_reload_check=True, cpu_threads=1
    )
    return folder / "run"


def scored(folder: Path) -> list[list[float]]:
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(folder), truncation=True, device="cpu")
    found = classify([row["text"] for row in tiny.rows(4)], top_k=None)
    return [[item["score"] for item in row] for row in found]


def test_merging_a_run(adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ending(capsys, "merge", adapted, tmp_path / "merged")
    assert code == 0 and "tiny_bert" in out
    merged = {path.name for path in (tmp_path / "merged").iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    } <= merged and "adapter_config.json" not in merged
    old, new = (json.loads((path / "config.json").read_text()) for path in (adapted, tmp_path / "merged"))
    assert new["id2label"] == old["id2label"] and new["problem_type"] == old["problem_type"]
    assert len(new["id2label"]) == 6
    for again, before in zip(scored(tmp_path / "merged"), scored(adapted), strict=True):
        assert again == pytest.approx(before, abs=1e-4)
    assert ending(capsys, "merge", adapted, tmp_path / "merged")[0] == 2  # not empty now


def test_merging_an_adapter_alone(adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = shutil.copytree(adapted / "adapter", tmp_path / "adapter")
    base = shutil.copytree(adapted.parent / "tiny_bert", tmp_path / "moved")
    code, _, err = ending(capsys, "merge", alone, tmp_path / "merged", "--base", base)
    assert code == 0 and "keeps no label names" in err
    assert len(json.loads((tmp_path / "merged" / "config.json").read_text())["id2label"]) == 6
    for again, before in zip(scored(tmp_path / "merged"), scored(adapted), strict=True):
        assert again == pytest.approx(before, abs=1e-4)


def test_what_cannot_be_merged(adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tiny.save_tiny_bert(tmp_path / "other", hidden_size=16)
    plain = write_run(tmp_path / "plain")
    for words, said in (
        ([plain, tmp_path / "out"], "trained without PEFT"),
        ([tmp_path, tmp_path / "out"], "no adapter here"),
        ([tmp_path / "nowhere", tmp_path / "out"], "there is no such folder"),
        ([adapted, plain], "is not empty"),
        ([adapted, tmp_path / "out", "--base", tmp_path / "nowhere"], "--base"),
        ([adapted, tmp_path / "out", "--base", other], "does not fit"),
    ):
        code, out, err = ending(capsys, "merge", *words)
        assert code == 2 and said in err, (words, err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "plain"]
