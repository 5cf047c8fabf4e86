"""Models whose blocks cannot be found: refused, or named by hand."""

from __future__ import annotations

import re

import pytest
from torch import nn

from hf_transfer.anatomy import (
    layer_groups,
)
from hf_transfer.problems import Problems


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(Problems, match=r"Flat has no repeated blocks[^|]*a \(Linear\)[^|]*patterns="):
        layer_groups(Flat())


def test_groups_can_be_named_by_hand() -> None:
    groups = layer_groups(Flat(), patterns={"embeddings": r"a\.", "head": r"b\.|norm\."})
    assert [(group.name, group.parameters) for group in groups] == [
        ("embeddings", ("a.weight", "a.bias")),
        ("head", ("b.weight", "b.bias")),
    ]
    assert "norm.running_mean" in groups[1].buffers


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ({"embeddings": r"a\."}, "b.weight and 1 more: matches no pattern"),
        ({"embeddings": r"a\.", "head": r"[ab]\."}, "a.weight and 1 more: matches more than one"),
        (
            {"embeddings": r"a\.", "block.1": r"weight", "head": r"b\."},
            "pattern of block.1: 'weight' matches no",
        ),
        ({"embeddings": r"a("}, "no regular expression"),
        ({}, "none is given"),
    ],
)
def test_patterns_must_fit(patterns: dict[str, str], message: str) -> None:
    with pytest.raises(Problems, match=re.escape(message)):
        layer_groups(Flat(), patterns=patterns)
