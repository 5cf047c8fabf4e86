"""LoRA on any architecture: where it goes, what learns, what is saved and comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from architectures import inputs, make
from peft import LoraConfig, PeftModel
from small_training import changed, make_setup, state

from hf_transfer import finetune
from hf_transfer.anatomy import layer_groups
from hf_transfer.problems import Problems
from hf_transfer.saving import save
from hf_transfer.strategies.freezing import check_peft
from hf_transfer.strategies.lora import adapt
from hf_transfer.strategies.peft_methods import peft_method
from hf_transfer.training.train import train

# architecture: (targets of one block by their last names, layers of the head)
WHERE = {
    "bert": ({"query", "key", "value", "dense"}, ["bert.pooler.dense", "classifier"]),
    "distilbert": ({"q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"}, ["classifier", "pre_classifier"]),
    "modernbert": ({"Wqkv", "Wo", "Wi"}, ["classifier", "head.dense", "head.norm"]),
    "vit": ({"q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"}, ["classifier"]),
    "resnet": ({"convolution"}, ["classifier.1"]),
    "timm-convnext": ({"fc1", "fc2", "1"}, ["timm_model.head.fc"]),  # 1: the downsampling before a stage
}


def scores(model: Any, name: str) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**inputs(name)).logits


@pytest.mark.parametrize("name", WHERE)
def test_targets_and_head_come_from_the_anatomy(name: str) -> None:
    model = make(name)
    before, blocks = scores(model, name), len([g for g in layer_groups(model) if g.name.startswith("block.")])
    wrapped = adapt(model, LoraConfig(r=2, task_type="SEQ_CLS"))
    config = wrapped.peft_config["default"]
    assert {target.rpartition(".")[2] for target in config.target_modules} == WHERE[name][0]
    assert len(config.target_modules) >= blocks
    assert sorted(config.modules_to_save) == WHERE[name][1]
    # B starts at zero: nothing has changed yet.
    assert torch.equal(scores(wrapped, name), before)
    learning = {n for n, p in wrapped.named_parameters() if p.requires_grad}
    assert all("lora_" in n or "modules_to_save" in n for n in learning)
    for leaf in WHERE[name][1]:
        assert any(f".{leaf}.modules_to_save" in n for n in learning)


@pytest.mark.parametrize("name", ["distilbert", "modernbert", "vit", "resnet", "poolformer"])
def test_head_and_adapter_are_trained_saved_and_restored(name: str, tmp_path: Path) -> None:
    make(name).save_pretrained(tmp_path / "base")
    base = type(make(name))
    wrapped = adapt(base.from_pretrained(tmp_path / "base"), LoraConfig(r=2, lora_dropout=0.1))
    setup = make_setup(wrapped, name, tmp_path / "run", max_steps=3, learning_rate=1e-2)
    before = state(wrapped)
    train(setup)
    moved = changed(before, state(wrapped))
    # Exactly what was to learn has learned; a BatchNorm's statistics would be missing in the adapter.
    assert moved == {n for n, p in wrapped.named_parameters() if p.requires_grad}
    assert any("lora_A" in n for n in moved) and any("modules_to_save" in n for n in moved)
    trained = scores(wrapped, name)
    setup.processor = _Nothing()
    merged = save(setup, None)
    assert (scores(merged, name) - trained).abs().max() < 1e-3
    root = base.from_pretrained(tmp_path / "run")
    assert not any("lora" in n for n, _ in root.named_parameters())
    assert (scores(root, name) - trained).abs().max() < 1e-3
    adapter = PeftModel.from_pretrained(base.from_pretrained(tmp_path / "base"), tmp_path / "run" / "adapter")
    assert (scores(adapter, name) - trained).abs().max() < 1e-4
    # Without the saved head the scores would be others.
    assert (scores(base.from_pretrained(tmp_path / "base"), name) - trained).abs().max() > 1e-2


class _Nothing:
    def save_pretrained(self, folder: str) -> None: ...


def test_rslora_and_dora_start_from_the_same_scores() -> None:
    for options in ({"use_rslora": True}, {"use_dora": True}):
        model = make("bert")
        before = scores(model, "bert")
        assert torch.allclose(scores(adapt(model, LoraConfig(r=2, **options)), "bert"), before, atol=1e-6)


def test_given_targets_are_kept_and_wrong_ones_named() -> None:
    wrapped = adapt(make("bert"), LoraConfig(r=2, target_modules=["query", "value"]))
    assert sum("lora_A" in n for n, _ in wrapped.named_parameters()) == 2 * 3
    with pytest.raises(
        Problems, match=r"no module of BertForSequenceClassification is called q_proj(?s:.*)query"
    ):
        adapt(make("bert"), LoraConfig(r=2, target_modules=["query", "q_proj"]))
    assert peft_method("lora", lora_target_modules=["query,value", "key"]).target_modules == {
        "query",
        "value",
        "key",
    }
    assert peft_method("lora").target_modules is None


def test_a_head_whose_layer_is_called_like_the_blocks_ones() -> None:
    """PEFT matches what ends like a name: PoolFormer's last `norm` would take `before_norm` of every block with it."""
    wrapped = adapt(make("poolformer"), LoraConfig(r=2))
    learning = {n for n, p in wrapped.named_parameters() if p.requires_grad and "lora_" not in n}
    heads = ("norm", "classifier")
    top = {f"base_model.model.{h}.modules_to_save.default.{p}" for h in heads for p in ("weight", "bias")}
    assert learning == top
    assert len([g for g in layer_groups(wrapped) if g.name.startswith("block.")]) == 5


def test_lora_with_a_head_alone_is_refused() -> None:
    groups = layer_groups(make("bert"))
    with pytest.raises(Problems, match="only the head would learn"):
        check_peft(groups, ("head",), True)
    check_peft(groups, ("head",), False)
    check_peft(groups, ("block.3", "head"), True)


@pytest.mark.parametrize("strategy", ["bitfit", "norms"])
def test_what_an_adapter_leaves_as_it_is_cannot_be_asked_to_learn(
    strategy: str, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(Problems, match="(?s)an adapter leaves the model's own .*-> leave out --peft"):
        finetune(
            "text-classification", base, tiny.rows(40), strategy=strategy, peft_config="lora", probe=False,
            args={"output_dir": str(tmp_path / "run"), "report_to": "none", "use_cpu": True},
        )  # fmt: skip
