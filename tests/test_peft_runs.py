"""Runs with adapters: what the folder holds, how it is used again, and what `hft merge` makes of it or refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from hf_transfer import Problems, Run, cli, finetune
from hf_transfer.adapters import save_adapter
from hf_transfer.merging import merge
from hf_transfer.strategies.lora import adapt
from hf_transfer.strategies.peft_methods import METHODS, peft_method

TEXT = "we found the film lovely at home"


@pytest.fixture(scope="module", params=["houlsby", "prefix"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose adapter cannot be merged, proved by its own check in a fresh process."""
    folder = tmp_path_factory.mktemp(request.param)
    args = {"output_dir": str(folder / "run"), "max_steps": 4, "learning_rate": 1e-2, "report_to": "none"}
    args |= {"eval_steps": 2, "save_steps": 2, "disable_tqdm": True}
    base = tiny.save_tiny_bert(folder / "base")
    return finetune(
        "text-classification", base, tiny.rows(60), args=args, peft_config=request.param, cpu_threads=1
    )


def test_the_root_holds_no_weights_that_would_answer_wrongly(run: Run) -> None:
    folder, name = Path(run.output_dir), run.record["peft"]["name"]
    assert not list(folder.glob("*.safetensors")) and (folder / "config.json").is_file()
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    proof = run.record["reload_check"]
    assert proof["merged"] is False and proof["adapter_difference"] < 1e-4
    assert run.record["peft"]["merged"] is False and f"What {name} learns cannot be merged" in str(
        run.record["plan_notes"]
    )
    card = (folder / "README.md").read_text()
    assert "from hf_transfer import load_adapter" in card and f"What {name} learned cannot be merged" in card


def test_it_is_loaded_again_and_predicts_the_same(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    again = Run.open(run.output_dir)
    (first,), (second,) = run.predict(TEXT), again.predict(TEXT)
    assert first["label"] == second["label"] and first["score"] == pytest.approx(second["score"], abs=1e-5)
    assert cli.main(["predict", run.output_dir, TEXT]) == 0
    assert first["label"] in capsys.readouterr().out


def test_merging_is_refused_with_what_to_do(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["merge", run.output_dir, str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "which plain weights cannot hold" in said and "load_adapter" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["pissa", "adalora", "ia3", "vera", "oft", "ln-tuning"])
def test_hft_merge_gives_the_scores_of_the_adapter(method: str, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    base = tiny.save_tiny_bert(tmp_path / "base")
    plain: Any = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    model = adapt(plain, peft_method(method, lora_r=2))
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    save_adapter(model, tmp_path / "adapter")
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        expected = model.eval()(input_ids=ids).logits
        before = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)(input_ids=ids).logits
        merge(tmp_path / "adapter", tmp_path / "out", str(base))
        merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
        assert (merged(input_ids=ids).logits - expected).abs().max() < 1e-4
        assert (before - expected).abs().max() > 1e-3


def test_a_push_of_the_adapter_alone_is_what_it_is_in_any_case(tmp_path: Path) -> None:
    base = tiny.save_tiny_bert(tmp_path / "base")
    args = {"output_dir": str(tmp_path / "run"), "max_steps": 1}
    with pytest.raises(Problems, match="pfeiffer leaves no merged model"):
        finetune(
            "text-classification",
            base,
            tiny.rows(40),
            args=args,
            peft_config="pfeiffer",
            hub_adapter_only=True,
        )
    assert "pfeiffer" in METHODS and not (tmp_path / "run").exists()
