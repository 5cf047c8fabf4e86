"""Which of a model's layers peft can wrap with a method: it is asked, on a copy of one layer of each kind."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from hf_transfer.anatomy.parts import is_wide, sizes
from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.peft_methods import kind_of, name_of

OFFERED = "ia3", "lora", "ln-tuning", "pfeiffer"


def fitting(model: nn.Module, names: Sequence[str], config: Any) -> list[str]:
    """Those of the layers that peft can wrap and merge with this configuration.

    Raises:
        Problems: none of them, with methods that go anywhere.
    """
    modules, known = dict(model.named_modules()), dict[str, bool]()
    maps = _given_maps(model, names) if kind_of(config) == "OFT" else set()
    kept = []
    for name in names:
        kind = f"{_kind(modules[name])} {name in maps}"
        if kind not in known:
            known[kind] = takes(config, modules[name], (2, 2) if name in maps else ())
        if known[kind]:
            kept.append(name)
    if not kept:
        raise Problems(_nowhere(model, config, [modules[name] for name in names]))
    return kept


def takes(config: Any, layer: nn.Module, rows: tuple[int, ...] = ()) -> bool:
    """Whether peft can wrap this layer, run it, and merge it with the same result: tried on a copy.

    The inputs are the smallest that a convolution's padding allows and a larger one: OFT's convolutions take neither
    padding nor every stride. `rows` are the dimensions of a matrix's input behind the first. Nothing random is drawn
    outside.
    """
    from peft import get_peft_model

    options: dict[str, Any] = {"target_modules": ["0"], "modules_to_save": None, "task_type": None}
    if hasattr(config, "feedforward_modules"):
        options["feedforward_modules"] = []
    copied = nn.Sequential(copy.deepcopy(layer))
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            wrapped: Any = get_peft_model(copied, replace(config, **options)).eval()
            with torch.no_grad():
                given = _inputs(layer, rows)
                before = [wrapped(x) for x in given]
                merged = wrapped.merge_and_unload()
                return all(
                    torch.allclose(merged(x), y, atol=1e-4, rtol=1e-3) and y.shape == layer(x).shape
                    for x, y in zip(given, before, strict=True)
                )
        except (ValueError, TypeError, RuntimeError, NotImplementedError, AttributeError):
            return False


def _inputs(layer: Any, rows: tuple[int, ...]) -> list[torch.Tensor]:
    """Examples of one row; none for a norm."""
    if not is_wide(layer):
        return []
    shapes = [(1, *rows, sizes(layer)[0])]
    if isinstance(layer, nn.Conv2d):
        spans = zip(layer.kernel_size, layer.dilation, _paddings(layer), strict=True)
        least = tuple(
            max(1, dilation * (kernel - 1) + 1 - 2 * padding) for kernel, dilation, padding in spans
        )
        shapes = [(*shapes[0], *least), (*shapes[0], *(side + 6 for side in least))]
    return [torch.rand(shape, device=layer.weight.device, dtype=layer.weight.dtype) for shape in shapes]


def _given_maps(model: Any, names: Sequence[str]) -> set[str]:
    """The matrices that an image model gives whole maps, (B, H, W, C): OFT takes such an input for a convolution's.

    Only running the model tells (ConvNeXt and timm's Swin do, ViT does not): one empty image of the usual size.
    """
    if getattr(model, "main_input_name", "") != "pixel_values":
        return set()
    found, hooks = set[str](), []
    for name in names:
        layer = model.get_submodule(name)
        if not isinstance(layer, nn.Conv2d):
            note = partial(lambda name, _, inputs: found.add(name) if inputs[0].dim() > 3 else None, name)
            hooks.append(layer.register_forward_pre_hook(note))
    side, parameter, training = _image_size(model.config), next(model.parameters()), model.training
    try:
        image = torch.zeros(1, 3, side, side)
        with torch.no_grad():
            model.eval()(pixel_values=image.to(parameter.device, parameter.dtype))
    except (
        RuntimeError,
        ValueError,
        AssertionError,
    ):  # of another size: take none of them rather than one that fails
        found = {name for name in names if not isinstance(model.get_submodule(name), nn.Conv2d)}
    for hook in hooks:
        hook.remove()
    model.train(training)
    return found


def _image_size(config: Any) -> int:
    """As the configuration says, timm's in its own words; 224 if it does not."""
    timm = (getattr(config, "model_args", None) or {}, getattr(config, "pretrained_cfg", None) or {})
    said = [
        getattr(config, "image_size", None),
        timm[0].get("img_size"),
        (timm[1].get("input_size") or [None])[-1],
    ]
    return next((side for side in said if isinstance(side, int)), 224)


def _paddings(layer: nn.Conv2d) -> tuple[int, ...]:
    return (0, 0) if isinstance(layer.padding, str) else tuple(int(p) for p in layer.padding)


def _kind(layer: Any) -> str:
    """What tells one layer from another for peft: its class and how it prints, shapes included."""
    weight = getattr(layer, "weight", None)
    return f"{type(layer)} {layer!r} {tuple(weight.shape) if weight is not None else ''}"


def _nowhere(model: nn.Module, config: Any, layers: Sequence[nn.Module]) -> Problem:
    told = name_of(config)
    classes = sorted({type(layer).__name__ for layer in layers})
    seen = f"the layers of its blocks are {', '.join(classes)}" if classes else "it has no layer of the kind"
    what = f"{told} can go nowhere in {type(model).__name__}: {seen}"
    offered = ", ".join(f"--peft {name}" for name in OFFERED if name != told)
    return Problem("--peft", what, f"these go into more kinds of layers: {offered}")
