"""Every method of `--peft` on texts and images: what learns, what stands still, what is saved and comes back."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from architectures import inputs, make
from classifiers import LABELS
from small_training import NoProcessor, changed, make_setup, state

from hf_transfer.adapters import can_merge, has_only_adapter, load_adapter
from hf_transfer.anatomy import head_leaves
from hf_transfer.problems import Problems
from hf_transfer.saving import save
from hf_transfer.strategies.lora import adapt
from hf_transfer.strategies.peft_methods import METHODS, PROMPTS, merges, peft_method
from hf_transfer.training.train import train

# architecture: methods that cannot be used on it, with what is said
REFUSED = {
    "bert": {},
    "llama": {"prompt": "off the wrong token"},
    "vit": {"prefix": "reads none", "prompt": "reads none"},
    "convnext": {
        **{"prefix": "reads none", "prompt": "reads none", "houlsby": "no attention"},
        "oft": "oft can go nowhere .* Conv2d, Linear",
    },
    "timm-batchnorm": {
        **{"prefix": "reads none", "prompt": "reads none", "houlsby": "no attention"},
        **{"vera": "are Conv2d", "pissa": "pissa can go nowhere", "ln-tuning": "no layer of the kind"},
        "parallel": "no feed-forward part of matrices",
    },
}
# BERT takes each method; the others those whose layers or places are of another kind there.
CHOSEN = {
    "bert": list(METHODS),
    "llama": ["pissa", "ia3", "ln-tuning", "prefix", "houlsby"],
    "vit": ["adalora", "vera", "oft", "parallel"],
    "convnext": ["dora", "ia3", "ln-tuning", "pfeiffer"],
    "timm-batchnorm": ["lora", "adalora", "ia3", "oft", "pfeiffer"],
}
PAIRS = [(name, method) for name, methods in CHOSEN.items() for method in methods]


def small(name: str, seed: int = 0) -> Any:
    """`make`, and a timm ResNet of 0.5 million parameters with BatchNorm."""
    if name != "timm-batchnorm":
        return make(name, seed)
    torch.manual_seed(seed)
    config = transformers.TimmWrapperConfig(architecture="test_resnet", initializer_range=0.02, **LABELS)
    return transformers.AutoModelForImageClassification.from_config(config).eval()


def rows(name: str) -> str:
    return "timm-resnet18" if name == "timm-batchnorm" else name


def scores(model: Any, name: str) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**inputs(rows(name))).logits


def adapted(model: Any, method: str) -> Any:
    torch.manual_seed(0)
    return adapt(model, peft_method(method, lora_r=2, num_virtual_tokens=4))


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_only_adapter_and_head_learn_and_both_come_back(name: str, method: str, tmp_path: Path) -> None:
    plain = small(name)
    fresh, before = copy.deepcopy(plain), scores(plain, name)
    frozen = {n: p.clone() for n, p in plain.named_parameters()}
    heads = head_leaves(plain)
    model = adapted(plain, method)
    if method not in PROMPTS:  # nothing has changed yet
        assert torch.allclose(scores(model, name), before, atol=0 if method != "pissa" else 1e-5)
    setup = make_setup(model, rows(name), tmp_path / "run", n=8, max_steps=2, learning_rate=1e-2)
    setup.processor = NoProcessor()
    learning, at_first = setup.trainable, state(model)
    train(setup)
    moved = changed(at_first, state(model))
    assert moved <= learning  # BatchNorm's statistics are buffers, and stand still too
    assert any(".".join(heads[-1].split(".")) in n for n in moved)
    assert any(not any(head in n for head in heads) for n in moved)
    if method == "pissa":  # the base weights gave their largest part to the adapter, and stay so
        assert not any("base_layer" in n for n in moved)
    else:
        kept = {n: p for n, p in model.named_parameters() if not p.requires_grad}
        same = [n for n in frozen if any(m.replace(".base_layer", "").endswith(n) for m in kept)]
        assert len(same) >= len(frozen) - 2 * len(heads)
    trained = scores(model, name)
    assert (trained - before).abs().max() > 1e-3
    done = save(setup, None)
    assert (scores(done, name) - trained).abs().max() < 1e-4
    assert has_only_adapter(tmp_path / "run") == (not METHODS[method].merges)
    if METHODS[method].merges:
        root = type(fresh).from_pretrained(tmp_path / "run")
        assert (scores(root, name) - trained).abs().max() < 1e-4
    back = load_adapter(fresh, tmp_path / "run" / "adapter")
    assert (scores(back, name) - trained).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("name", "method", "said"),
    [(n, m, said) for n, refused in REFUSED.items() for m, said in refused.items()],
)
def test_what_cannot_be_is_refused_with_what_can(name: str, method: str, said: str) -> None:
    with pytest.raises(Problems, match=f"--peft: .*{said}(?s:.*)-> .*--peft"):
        adapted(small(name), method)


def test_a_method_that_is_not_there_and_a_config_of_pefts_own() -> None:
    import peft

    with pytest.raises(Problems, match="no method 'lorra' .*did you mean lora"):
        peft_method("lorra")
    assert peft_method("none") is None and peft_method("ln_tuning") == peft_method("ln-tuning")
    assert not merges("P_TUNING") and not merges("PREFIX_TUNING") and merges("LOHA")
    with pytest.raises(Problems, match="neither trains nor saves the head"):
        adapt(
            small("bert"), peft.TrainableTokensConfig(token_indices=[1], target_modules=["word_embeddings"])
        )
    model = adapt(small("vit"), peft.LoHaConfig(r=2))  # not offered by name
    assert can_merge(model) and any("hada" in n for n, p in model.named_parameters() if p.requires_grad)
