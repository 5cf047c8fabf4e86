"""A saved model that is not the trained one is found out, by a process that knows nothing of this package."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import prepared_process
import pytest
import tiny
from safetensors.torch import load_file, save_file

from hf_transfer import TEXT_CLASSIFICATION, Run, finetune, load, reload
from hf_transfer.reload import SCRIPT
from hf_transfer.saving import _difference, check_saved


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A LoRA run whose own check reads both the merged root and the adapter with its head."""
    from peft import LoraConfig

    folder = tmp_path_factory.mktemp("lora")
    base = tiny.save_tiny_bert(folder / "base")
    args = {"output_dir": str(folder / "run"), "max_steps": 4, "learning_rate": 1e-2, "report_to": "none"}
    args |= {
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "disable_tqdm": True,
    }
    return finetune(
        "text-classification", base, tiny.rows(60), args=args, peft_config=LoraConfig(r=4), cpu_threads=1
    )


def check(run: Run, folder: Path) -> dict[str, Any]:
    """`check_saved` of a copy of the run; the trained scores are those of the run itself."""
    data = load(TEXT_CLASSIFICATION, tiny.rows(60))
    from hf_transfer.predict import scores

    encoded = TEXT_CLASSIFICATION.encode(data.splits["test"], run.processor)
    logits = scores(run.model, encoded, TEXT_CLASSIFICATION.collator(run.processor))
    setup = SimpleNamespace(is_peft=False, folder=folder)
    job: Any = SimpleNamespace(setup=setup, task=TEXT_CLASSIFICATION, data=data, base={"name": ""})
    found: Any = SimpleNamespace(logits={"test": logits})
    return check_saved(job, found)


def test_a_run_with_lora_proves_its_root_and_its_adapter(run: Run) -> None:
    proof, folder = run.record["reload_check"], Path(run.output_dir)
    assert proof["rows"] == 6 and proof["merged"] is True
    assert proof["max_difference"] < 1e-3 and proof["adapter_difference"] < 1e-4
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    saved = load_file(folder / "adapter" / "adapter_model.safetensors")
    assert any("classifier" in name for name in saved) and any("lora_A" in name for name in saved)
    assert not any("lora" in name for name in load_file(folder / "model.safetensors"))
    assert run.record["peft"]["r"] == 4


def test_a_tampered_weight_is_found_out(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        reload, "in_fresh_process", prepared_process.run
    )  # the process itself is proved above
    folder = tmp_path / "run"
    shutil.copytree(run.output_dir, folder)
    weights = load_file(folder / "model.safetensors")
    weights["bert.encoder.layer.1.output.dense.bias"][0] += 0.05
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        RuntimeError, match=r"does not give the scores of the trained one(?s:.*)at most 0.0001"
    ):
        check(run, folder)
    assert (folder / "predictions.parquet").is_file()  # nothing is deleted


def test_a_model_that_does_not_load_is_found_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "SCRIPT", "raise OSError('no file named model.safetensors')")
    with pytest.raises(RuntimeError, match=r"does not load in a fresh process(?s:.*)no file named"):
        check(run, Path(run.output_dir))


def test_scores_that_are_no_numbers_differ() -> None:
    assert _difference(np.ones((2, 2)), np.ones((2, 2)) + 1e-5, 1e-4, "x") == pytest.approx(1e-5)
    with pytest.raises(RuntimeError, match="differ"):
        _difference(np.full((2, 2), np.nan), np.ones((2, 2)), 1e-4, "x")


def test_the_fresh_process_knows_nothing_of_this_package() -> None:
    assert "hf_transfer" not in SCRIPT
