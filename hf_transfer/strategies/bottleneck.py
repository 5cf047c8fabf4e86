"""Bottleneck adapters: small two-layer networks inside every block of a frozen model.

- Houlsby et al. 2019 (arXiv:1902.00751): one behind each attention and one behind the feed-forward part;
- Pfeiffer et al. 2021 (AdapterFusion, arXiv:2005.00247): one behind the feed-forward part;
- He et al. 2022 (arXiv:2110.04366): one beside the feed-forward part, from its input to its output.

"Behind" is where a part hands its result to the residual: the output of its last layer. The places come from the
anatomy, so any text or vision transformer takes them; in convolution nets Pfeiffer's are 1x1 convolutions. No library
has them on transformers 5.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from hf_transfer.anatomy import head_leaves
from hf_transfer.anatomy.parts import BlockParts, block_parts, sizes
from hf_transfer.problems import Problem, Problems

NAME = "bottleneck"  # of the module inside the layer that it stands behind


@dataclass(frozen=True)
class BottleneckConfig:
    """Which adapters, and where: what `adapter_config.json` holds.

    Attributes:
        peft_type: HOULSBY, PFEIFFER or PARALLEL.
        reduction_factor: width of the layer over that of the bottleneck (at least 1 wide).
        non_linearity: name of a function of `torch.nn.functional`.
        scaling: what the adapter's output is multiplied with.
        places: pairs of full layer names: what is read (the layer's input if it is another than the second, else its
            output) and behind which it is added; filled in from the model.
        modules_to_save: full names of the head's layers, which learn as well and are saved beside.
        base_model_name_or_path: of the model without adapters.
    """

    peft_type: str
    reduction_factor: float = 16.0
    non_linearity: str = "relu"
    scaling: float = 1.0
    places: tuple[tuple[str, str], ...] = ()
    modules_to_save: tuple[str, ...] = ()
    base_model_name_or_path: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def bottleneck(name: str, reduction_factor: float | None = None) -> BottleneckConfig:
    """The configuration of `houlsby`, `pfeiffer` or `parallel` with its authors' values.

    Houlsby: GELU, as in BERT. Parallel: half as wide as the model, its output times 4.
    """
    chosen = {
        "houlsby": BottleneckConfig("HOULSBY", non_linearity="gelu"),
        "pfeiffer": BottleneckConfig("PFEIFFER"),
        "parallel": BottleneckConfig("PARALLEL", reduction_factor=2.0, scaling=4.0),
    }[name]
    return chosen if reduction_factor is None else replace(chosen, reduction_factor=reduction_factor)


class Bottleneck(nn.Module):
    """`scaling * up(f(down(x)))`, with `up` zero at first: the model answers as before until it learns."""

    def __init__(self, inputs: int, outputs: int, config: BottleneckConfig, channels_first: bool) -> None:
        super().__init__()
        width = max(1, round(inputs / config.reduction_factor))
        if channels_first:
            self.down, self.up = nn.Conv2d(inputs, width, 1), nn.Conv2d(width, outputs, 1)
        else:
            self.down, self.up = nn.Linear(inputs, width), nn.Linear(width, outputs)  # type: ignore[assignment]
        nn.init.normal_(self.down.weight, std=0.01)  # Houlsby et al., section 3.6
        for tensor in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(tensor)  # type: ignore[arg-type]
        self.non_linearity, self.scaling = config.non_linearity, config.scaling
        self.seen: torch.Tensor | None = (
            None  # what the first layer of the part was given, where that is read
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inputs) to (..., outputs), or (B, inputs, H, W) to (B, outputs, H, W)."""
        return self.scaling * self.up(getattr(nn.functional, self.non_linearity)(self.down(x)))


def insert(model: Any, config: BottleneckConfig) -> Any:
    """Put adapters into the model, in place, and let only them and the head learn.

    The layers keep their names and weights; each holds its adapter as a child, so that it belongs to the layer's group.

    Returns:
        The model, with the filled-in configuration as `bottleneck_config`.

    Raises:
        Problems: it has adapters already, or there is no place for them.
    """
    if config_of(model) is not None:
        raise Problems(Problem("model", "it has bottleneck adapters already", "load it again without them"))
    places = config.places or found_places(block_parts(model), config.peft_type, model)
    saved = config.modules_to_save or tuple(head_leaves(model))
    name = config.base_model_name_or_path or str(getattr(model.config, "_name_or_path", "") or "")
    model.bottleneck_config = replace(
        config, places=places, modules_to_save=saved, base_model_name_or_path=name
    )
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for leaf in saved:
        model.get_submodule(leaf).requires_grad_(True)
    for reads, behind in places:
        _attach(model, reads, behind, config)
    return model


def found_places(parts: list[BlockParts], kind: str, model: nn.Module) -> tuple[tuple[str, str], ...]:
    """Where the adapters of a kind go.

    Raises:
        Problems: the blocks have no attention (Houlsby), or no part of that shape.
    """
    modules = dict(model.named_modules())
    behind = [part.feedforward[-1] for part in parts if part.feedforward]
    if kind == "PARALLEL":
        beside = [
            (part.feedforward[0], part.feedforward[-1])
            for part in parts
            if part.feedforward and not any(isinstance(modules[n], nn.Conv2d) for n in part.feedforward)
        ]
        if not beside:
            raise Problems(_no_place("parallel", model, "no feed-forward part of matrices", "pfeiffer"))
        return tuple(beside)
    if kind == "HOULSBY":
        attentions = [attention[-1] for part in parts for attention in part.attentions]
        if not attentions:
            raise Problems(_no_place("houlsby", model, "no attention with layers of its own", "pfeiffer"))
        both = {*attentions, *behind}
        return tuple((name, name) for name in modules if name in both)
    if not behind:
        raise Problems(_no_place("pfeiffer", model, "no feed-forward layers", "houlsby"))
    return tuple((name, name) for name in behind)


def _no_place(name: str, model: nn.Module, lacks: str, other: str) -> Problem:
    what = f"{name} has no place in {type(model).__name__}: its blocks have {lacks}"
    return Problem("--peft", what, f"choose --peft {other} or --peft lora")


def _attach(model: nn.Module, reads: str, behind: str, config: BottleneckConfig) -> None:
    """Hooks are plain functions that ask the module they are called with, so that copies and pickles have their own."""
    first, last = model.get_submodule(reads), model.get_submodule(behind)
    outputs = sizes(last)[1]
    inputs = outputs if reads == behind else sizes(first)[0]
    adapter = Bottleneck(inputs, outputs, config, isinstance(last, nn.Conv2d))
    weight: Any = last.weight
    last.add_module(NAME, adapter.to(weight.device, weight.dtype if weight.is_floating_point() else None))
    if reads == behind:
        last.register_forward_hook(_behind)
    else:
        first.__dict__["_bottlenecks"] = (adapter,)  # a reference, and no second owner
        first.register_forward_pre_hook(_look)
        last.register_forward_hook(_beside)


def _behind(layer: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    adapter: Any = layer.get_submodule(NAME)
    return output + adapter(output)


def _look(layer: nn.Module, inputs: Any) -> None:
    layer.__dict__["_bottlenecks"][0].seen = inputs[0]


def _beside(layer: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    adapter: Any = layer.get_submodule(NAME)
    seen, adapter.seen = adapter.seen, None
    return output + adapter(seen)


def config_of(model: Any) -> BottleneckConfig | None:
    """The configuration of the adapters in a model; None without any."""
    return getattr(model, "bottleneck_config", None)


def is_adapter(name: str) -> bool:
    """Whether a full name is that of an adapter's parameter."""
    return f".{NAME}." in f".{name}"
