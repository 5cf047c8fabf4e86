"""Where scores are read off: asked of every classification architecture, none known by name."""

from __future__ import annotations

import pytest
import torch
from architectures import IMAGES, TEXT, inputs, make

from hf_transfer.anatomy import layer_groups
from hf_transfer.strategies.features import find_readout, read


@pytest.mark.parametrize("name", [*TEXT, *IMAGES])
def test_the_readout_maps_the_features_to_the_scores(name: str) -> None:
    from transformers.activations import ACT2FN

    model, batch = make(name), inputs(name, rows=3)
    readout = find_readout(model, layer_groups(model), batch)
    assert readout is not None
    with torch.no_grad():
        features, logits = read(model, readout, batch), model(**batch)["logits"]
        if readout.dense is not None:
            features = ACT2FN[readout.activation](model.get_submodule(readout.dense)(features))
        assert features.shape == (3, model.get_submodule(readout.scores).in_features)
        torch.testing.assert_close(
            model.get_submodule(readout.scores)(features), logits, rtol=1e-4, atol=1e-5
        )


def test_the_dense_layer_of_a_head_belongs_to_it() -> None:
    """Poolers and dense layers, called differently everywhere; decoders have none."""
    found = {}
    for name in ("bert", "roberta", "distilbert", "llama", "gpt2", "vit"):
        model = make(name)
        readout = find_readout(model, layer_groups(model), inputs(name, rows=3))
        assert readout is not None
        found[name] = (readout.dense, readout.activation)
    assert found["bert"] == ("bert.pooler.dense", "tanh")
    assert found["roberta"] == ("classifier.dense", "tanh")
    assert found["distilbert"] == ("pre_classifier", "relu")
    assert found["llama"] == found["gpt2"] == found["vit"] == (None, None)


def test_looking_leaves_the_model_as_it_was() -> None:
    model = make("bert").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    find_readout(model, layer_groups(model), inputs("bert"))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_head_that_is_no_linear_layer_is_not_taken_for_one() -> None:
    """Scores that are squared are no linear function of features."""
    model = make("bert")
    model.classifier.register_forward_hook(lambda module, args, output: output**2)
    assert find_readout(model, layer_groups(model), inputs("bert", rows=3)) is None
