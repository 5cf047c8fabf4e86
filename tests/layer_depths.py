"""Where the parameters of a model lie, as its layer groups say."""

from __future__ import annotations

from torch import nn

from hf_transfer.anatomy import (
    layer_groups,
)


def depths(model: nn.Module) -> dict[str, int]:
    """Parameter name to the position of its group."""
    return {name: i for i, group in enumerate(layer_groups(model)) for name in group.parameters}


def owners(names: tuple[str, ...]) -> list[str]:
    return sorted({name.rpartition(".")[0] for name in names})
