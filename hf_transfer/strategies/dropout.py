"""Which dropout a model has, and another rate for all of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

# Rates by which whole blocks are left out (stochastic depth), or tokens masked: random too, but not dropout.
OTHER = ("path", "layer")


def noise(model: nn.Module, still: Collection[nn.Module] = ()) -> dict[str, float]:
    """What makes two passes of a model in training differ: full name -> rate, of all that is above 0.

    Dropout modules, and rates that modules keep as numbers and read in their `forward` (`attention_dropout`,
    `drop_prob`). What lies inside the modules `still` is in eval mode, and left out.
    """
    quiet = {id(inner) for module in still for inner in module.modules()}
    found = {}
    for name, module in model.named_modules():
        if id(module) not in quiet:
            for key, rate in _rates(module):
                if rate > 0:
                    found[f"{name}.{key}".lstrip(".")] = rate
    return found


def set_dropout(model: Any, rate: float) -> dict[str, list[str]]:
    """Give every dropout of the model the rate, and its configuration too, so that a model built from it has the same.

    A rate that leaves out whole blocks or layers (stochastic depth, LayerDrop) stays. A field of the configuration that
    is None (`classifier_dropout`) follows from another one and stays None.

    Returns:
        `{"modules": names of the modules changed, "config": names of the fields changed}`.
    """
    modules = []
    for name, module in model.named_modules():
        keys = [key for key, _ in _rates(module) if not any(part in key for part in OTHER)]
        if isinstance(module, _DropoutNd) or "dropout" in type(module).__name__.lower():
            keys += [
                key for key in ("p", "drop_prob") if isinstance(getattr(module, key, None), (int, float))
            ]
        elif "path" in type(module).__name__.lower() or "depth" in type(module).__name__.lower():
            keys = []
        for key in dict.fromkeys(keys):
            setattr(module, key, rate)
            modules.append(f"{name}.{key}".lstrip("."))
    return {"modules": modules, "config": _set_fields(model.config, rate, "")}


def _rates(module: nn.Module) -> Iterator[tuple[str, float]]:
    """A module's own rates, with their names."""
    is_dropout = isinstance(module, _DropoutNd) or "drop" in type(module).__name__.lower()
    for key, value in vars(module).items():
        named = "dropout" in key or "drop_prob" in key or (is_dropout and key == "p")
        if named and _number(value):
            yield key, float(value)


def _set_fields(config: Any, rate: float, prefix: str) -> list[str]:
    found = []
    for key, value in list(vars(config).items()):
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            found += _set_fields(value, rate, f"{prefix}{key}.")
        elif (
            ("dropout" in key or "pdrop" in key) and not any(part in key for part in OTHER) and _number(value)
        ):
            setattr(config, key, rate)
            found.append(prefix + key)
    return found


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
