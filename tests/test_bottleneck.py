"""Bottleneck adapters: where they stand, that copies are their own, what is saved, resumed and refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import inputs, make
from safetensors import safe_open
from small_training import NoProcessor, make_setup, state

from hf_transfer.adapters import load_adapter
from hf_transfer.anatomy import layer_groups
from hf_transfer.anatomy.parts import block_parts
from hf_transfer.problems import Problems
from hf_transfer.strategies.bottleneck import bottleneck, config_of, insert, is_adapter
from hf_transfer.strategies.bottleneck_files import save_bottleneck
from hf_transfer.training.train import train

# architecture: last two names of the layers of the first block, attention and feed-forward
PARTS = {
    "bert": ("self.query self.key self.value output.dense", "intermediate.dense output.dense"),
    "albert": ("attention.query attention.key attention.value attention.dense", "0.ffn 0.ffn_output"),
    "llama": (
        "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj",
        "mlp.gate_proj mlp.up_proj mlp.down_proj",
    ),
    "gpt2": ("attn.c_attn attn.c_proj", "mlp.c_fc mlp.c_proj"),
    "xlm": ("0.q_lin 0.k_lin 0.v_lin 0.out_lin", "0.lin1 0.lin2"),
    "vit": (
        "attention.q_proj attention.k_proj attention.v_proj attention.o_proj",
        "mlp.fc1 mlp.fc2",
    ),
    "convnext": ("", "0.pwconv1 0.pwconv2"),
    "resnet": ("", "0.convolution 1.convolution"),  # and not the shortcut, which is used last
    "regnet": ("", "0.convolution 1.convolution 3.convolution"),  # what it calls attention weighs channels
}


@pytest.mark.parametrize("name", PARTS)
def test_the_parts_of_a_block_are_found_in_their_order(name: str) -> None:
    first = block_parts(make(name))[0]
    told = [[".".join(n.split(".")[-2:]) for n in part] for part in (*first.attentions, first.feedforward)]
    assert [words for words in (part.split() for part in PARTS[name]) if words] == (
        told if name != "resnet" else [[n.replace("layer.", "") for n in told[0]][:2]]
    )


def test_a_decoder_block_has_two_attentions() -> None:
    last = block_parts(make("t5"))[-1]
    assert [names[-1].split(".")[-2:] for names in last.attentions] == [
        ["SelfAttention", "o"],
        ["EncDecAttention", "o"],
    ]


def scores(model: Any, name: str = "bert") -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**inputs(name)).logits


def moved(model: Any) -> Any:
    """With adapters that do something."""
    for name, parameter in model.named_parameters():
        if is_adapter(name):
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize("kind", ["houlsby", "pfeiffer", "parallel"])
def test_places_widths_and_groups(kind: str) -> None:
    model = make("bert")
    groups = [(g.name, g.parameters) for g in layer_groups(model)]
    insert(model, bottleneck(kind, 4))
    places = config_of(model).places  # type: ignore[union-attr]
    assert len(places) == (6 if kind == "houlsby" else 3)
    assert all((reads != behind) == (kind == "parallel") for reads, behind in places)
    down = model.bert.encoder.layer[0].output.dense.bottleneck.down
    assert (down.in_features, down.out_features) == (32, 8)
    # Each adapter learns with the block it is in, and the other names are as before.
    after = [(g.name, tuple(n for n in g.parameters if not is_adapter(n))) for g in layer_groups(model)]
    assert after == groups
    assert {g.name for g in layer_groups(model) for n in g.parameters if is_adapter(n)} == {
        "block.1",
        "block.2",
        "block.3",
    }
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(is_adapter(n) or n.startswith(("classifier", "bert.pooler")) for n in learning)


@pytest.mark.parametrize("kind", ["pfeiffer", "parallel"])
def test_a_copy_has_adapters_of_its_own(kind: str) -> None:
    """A hook that holds on to the adapter it was made for would make the copy answer with the first one's."""
    one = moved(insert(make("bert"), bottleneck(kind)))
    two = copy.deepcopy(one)
    before = scores(one)
    assert torch.equal(scores(two), before)
    moved(two)
    assert not torch.equal(scores(two), before) and torch.equal(scores(one), before)


def test_parallel_reads_what_the_part_reads() -> None:
    model = moved(insert(make("bert"), bottleneck("parallel")))
    layer = model.bert.encoder.layer[0]
    adapter, x = layer.output.dense.bottleneck, torch.randn(2, 5, 32)
    inner = layer.intermediate(x)
    bare = torch.nn.functional.linear(inner, layer.output.dense.weight, layer.output.dense.bias)
    assert torch.allclose(
        layer.output.dense(inner), bare + 4 * adapter.up(torch.relu(adapter.down(x))), atol=1e-6
    )
    assert adapter.seen is None  # no batch is kept


@pytest.mark.parametrize("name", ["bert", "resnet"])
def test_an_interrupted_run_goes_on_to_the_same_weights(name: str, tmp_path: Path) -> None:
    def setup(folder: Path, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        model = insert(make(name), bottleneck("pfeiffer", 2))
        found = make_setup(model, name, folder, max_steps=4, save_strategy="steps", save_steps=2)
        found.processor = NoProcessor()
        return found

    whole = setup(tmp_path / "a")
    train(whole)
    checkpoint = tmp_path / "a" / "checkpoint-2"
    with safe_open(str(checkpoint / "adapter_model.safetensors"), "pt") as file:
        assert all(is_adapter(n) or n.startswith(("classifier", "bert.pooler")) for n in file.keys())  # noqa: SIM118 - safe_open is no dict
    assert not (checkpoint / "model.safetensors").exists()
    again = setup(tmp_path / "b", seed=5)
    train(again, resume=True, checkpoint=checkpoint)
    ours, theirs = state(again.model), state(whole.model)
    assert all(torch.equal(ours[n], theirs[n]) for n in theirs)


def test_what_was_saved_is_put_on_a_plain_model_or_refused(tmp_path: Path) -> None:
    saved = moved(insert(make("bert"), bottleneck("houlsby", 8)))
    save_bottleneck(saved, tmp_path)
    told = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (told["library"], told["peft_type"], told["reduction_factor"]) == ("hf_transfer", "HOULSBY", 8)
    assert torch.equal(scores(load_adapter(make("bert"), tmp_path)), scores(saved))
    with pytest.raises(Problems, match="GPT2ForSequenceClassification has no layer bert"):
        load_adapter(make("gpt2"), tmp_path)
    with pytest.raises(Problems, match="of another shape(?s:.*)as many labels"):
        load_adapter(make("bert", num_labels=5), tmp_path)
    with pytest.raises(Problems, match="adapters already"):
        load_adapter(saved, tmp_path)
    with pytest.raises(Problems, match="no adapter here"):
        load_adapter(make("bert"), tmp_path / "nothing")
