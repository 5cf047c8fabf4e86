"""Where a PEFT method goes: layers found in the model, and of those the ones that the method can wrap."""

from __future__ import annotations

import re
import warnings
from dataclasses import fields, replace
from typing import Any

from torch import nn

from hf_transfer.anatomy import head_leaves, head_modules, layer_groups, linear_layers, unwrapped
from hf_transfer.anatomy.head import embeddings
from hf_transfer.anatomy.parts import block_parts
from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.fitting import fitting
from hf_transfer.strategies.peft_methods import METHODS, kind_of


def with_targets(model: nn.Module, config: Any) -> Any:
    """The configuration with `target_modules`, `feedforward_modules` and `modules_to_save` filled in as full names.

    Targets that the user gave are kept as they are. Of those found here, the ones stay that peft can wrap and merge: it
    is asked on a copy of one layer of each kind (VeRA takes no convolution, OFT no Conv1D).

    Raises:
        Problems: a method without a head; a given target that no module matches; the method can wrap none of the model's layers.
    """
    has = {field.name for field in fields(config)}
    if "modules_to_save" not in has:
        what = f"peft's {type(config).__name__} neither trains nor saves the head"
        raise Problems(Problem("peft_config", what, f"choose one of {', '.join(METHODS)}, or LoraConfig"))
    saved = config.modules_to_save or heads_to_save(model)
    filled: dict[str, Any] = {"task_type": None, "modules_to_save": saved or None}
    if "target_modules" not in has:
        return replace(config, **filled)
    check_targets(model, config.target_modules)
    if config.target_modules is None:
        wanted, inputs = wanted_layers(model, config)
        filled["target_modules"] = fitting(model, wanted, config)
        if "feedforward_modules" in has:
            scaled = [name for name in inputs if name in filled["target_modules"]]
            filled["feedforward_modules"] = config.feedforward_modules or scaled
    elif "feedforward_modules" in has and config.feedforward_modules is None:
        filled["feedforward_modules"] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return replace(config, **filled)


def heads_to_save(model: nn.Module) -> list[str]:
    """The layers of the head that are trained, and saved, whole beside an adapter.

    Of a language model not the scores of its words: they are tied to the table of words, which a copy would be cut off
    from, or came with the checkpoint.
    """
    output, table = embeddings(model, "output"), embeddings(model, "input")
    weight = getattr(output, "weight", None)
    stands = weight is not None and (
        weight is getattr(table, "weight", None) or getattr(weight, "_is_hf_initialized", False)
    )
    return [name for name in head_leaves(model) if not (stands and model.get_submodule(name) is output)]


def wanted_layers(model: nn.Module, config: Any) -> tuple[list[str], list[str]]:
    """The layers that a method goes to, and those of them whose inputs IA3 scales.

    IA3 (Liu et al. 2022) scales keys and values, and what the last layer of the feed-forward part reads. Queries too
    here: they are multiplied with the keys, and many models keep the three in one matrix.
    """
    kind = kind_of(config)
    if kind == "LN_TUNING":
        return norms(model), []
    if kind != "IA3":
        return linear_layers(model), []
    outputs: list[str] = []
    inputs: list[str] = []
    for part in block_parts(model):
        outputs += [name for attention in part.attentions for name in attention[:-1]]
        inputs += part.feedforward[-1:]
    return outputs + inputs, inputs


def norms(model: nn.Module) -> list[str]:
    """Full names of the layers that normalise each example by itself, outside the head.

    Asked of the modules: called a norm, with a weight per channel and nothing counted. BatchNorm is none of them: its
    statistics belong to the frozen weights, and would go on moving in a copy that learns.
    """
    inner, _ = unwrapped(model)
    roots = head_modules(inner)
    return [
        name
        for name, module in inner.named_modules()
        if _is_norm(module) and not any(name == root or name.startswith(f"{root}.") for root in roots)
    ]


def _is_norm(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.batchnorm._NormBase) or any(True for _ in module.buffers()):
        return False
    called = isinstance(module, (nn.LayerNorm, nn.GroupNorm)) or "norm" in type(module).__name__.lower()
    own = list(module.parameters(recurse=False))
    return (
        called and bool(own) and not any(True for _ in module.children()) and all(p.dim() == 1 for p in own)
    )


def check_targets(model: nn.Module, targets: Any) -> None:
    """Every named target must match a module (PEFT matches full names and suffixes)."""
    if not targets or isinstance(targets, str):
        return
    names = [name for name, _ in model.named_modules()]
    missing = [t for t in targets if not any(name == t or name.endswith("." + t) for name in names)]
    if missing:
        suggestions = sorted(
            {re.sub(r".*\.", "", name) for name in linear_layers(model, layer_groups(model))}
        )
        raise Problems(
            Problem(
                "--lora_target_modules",
                f"no module of {type(model).__name__} is called {', '.join(missing)}",
                f"its layers inside the blocks are called {', '.join(suggestions)}; leave the flag out to take them all",
            )
        )
