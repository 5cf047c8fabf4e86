"""Hidden states of every architecture: one vector a row from each group, and no trace of padding in it."""

from __future__ import annotations

import architectures
import pytest
import torch
from small_training import changed, state

from hf_transfer.anatomy import HEAD, layer_groups
from hf_transfer.strategies.hidden_states import hidden_states, mean_state


@torch.no_grad()
@pytest.mark.parametrize("name", (*architectures.TEXT, *architectures.IMAGES))
def test_every_group_below_the_head_gives_one_vector_a_row(name: str) -> None:
    model = architectures.make(name).eval()
    groups, before = layer_groups(model), state(model)
    given = architectures.inputs(name, 3)
    plain = model(**given)["logits"]
    with hidden_states(model, groups) as found:
        logits = model(**given)["logits"]
    means = {g: mean_state(hidden, 3, given.get("attention_mask")) for g, hidden in found.items()}
    below = [g.name for g in groups if g.name != HEAD]
    assert set(below) == set(means)
    assert all(mean.shape[0] == 3 and mean.shape[1] > 1 and mean.isfinite().all() for mean in means.values())
    assert all(found[a] is not found[b] for a, b in zip(below, below[1:], strict=False))
    assert torch.equal(plain, logits) and not changed(before, state(model))
    found.clear()
    model(**given)
    assert not found  # the hooks are gone


def test_padding_is_left_out_of_the_mean() -> None:
    model = architectures.make("bert").eval()
    given = architectures.inputs("bert", 2)
    ids = given["input_ids"]
    padded = {
        "input_ids": torch.nn.functional.pad(ids, (0, 3)),
        "attention_mask": torch.nn.functional.pad(torch.ones_like(ids), (0, 3)),
    }
    means = []
    for inputs in ({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, padded):
        with torch.no_grad(), hidden_states(model, layer_groups(model)) as found:
            model(**inputs)
        means.append({g: mean_state(hidden, 2, inputs["attention_mask"]) for g, hidden in found.items()})
    for group in means[0]:
        assert torch.allclose(means[0][group], means[1][group], atol=1e-5), group


def test_shapes_are_read_for_what_they_are() -> None:
    x = torch.randn(2, 3, 5)
    assert torch.equal(mean_state(x[:, 0], 2, None), x[:, 0])
    assert torch.equal(mean_state(x.transpose(0, 1), 2, None), x.mean(1))
    assert torch.allclose(
        mean_state(x, 2, torch.tensor([[1, 0], [1, 1]])), torch.stack([x[0, 1], x[1, 1:].mean(0)])
    )
    assert torch.equal(mean_state(x, 2, torch.ones(2, 9)), x.mean(1))  # pooled on the way
    images = torch.randn(2, 7, 4, 4)
    assert torch.allclose(mean_state(images, 2, None), images.mean((2, 3)))
    assert torch.allclose(mean_state(images.permute(0, 2, 3, 1), 2, None), images.mean((2, 3)))
    assert mean_state(x, 6, None).shape == (6, 0)
    assert not mean_state(torch.full((1, 2, 3), float("nan")).index_fill(1, torch.tensor([0]), 1), 1,
                          torch.tensor([[1, 0]])).isnan().any()  # fmt: skip
