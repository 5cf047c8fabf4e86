"""Which parameter learns at which rate and which is decayed, as plain optimizer groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_transfer.anatomy import HEAD, LayerGroup
from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.phases import Phase

if TYPE_CHECKING:
    from torch import nn

# Tables and tokens that say where or what kind a position is: decay would pull them to a meaningless origin.
_PLACES = re.compile(
    r"pos_embed|position|(^|\.)wpe\.|relative|rel_embeddings|rel_pos|rel_attn_embed|distance_embedding|pos_bias|seg_embed|level_embed"
    r"|cls_token|class_embedding|(dist|mask|detection|reg|register)_token"
)
# Scales of PEFT methods, around 1 or 0.1: DoRA's magnitudes, the vectors of IA3 and VeRA; learned tokens; Mamba's log rates.
_SCALES = re.compile(r"lora_magnitude_vector|ia3_l\.|vera_lambda_|prompt_encoder\.|(^|\.)A_log$")


def optimizer_groups(
    model: nn.Module, groups: Sequence[LayerGroup], phase: Phase, learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """`[{"params", "lr", "weight_decay", "name"}]`, at most two per layer group, of what requires a gradient now.

    Real rates are set, not scales: torch's schedulers multiply each group's own initial rate, while a `lr_scale`
    key is read by timm's schedulers only.
    """
    rates = group_rates(groups, phase, learning_rate)
    decayed = decay_names(model)
    parameters = dict(model.named_parameters())
    ratio = phase.loraplus_lr_ratio or 1.0
    found = []
    for group in groups:
        learning = [name for name in group.parameters if parameters[name].requires_grad]
        # LoRA+ (Hayou et al. 2024, arXiv:2402.12354): B faster than A. First, so that the log tells the others' rate.
        faster = [name for name in learning if ratio != 1 and is_lora_b(name)]
        rest = [name for name in learning if name not in faster]
        for names, rate in (
            ((faster, rates[group.name] * ratio), (rest, rates[group.name])) if learning else ()
        ):
            for decays in (True, False):
                chosen = [parameters[name] for name in names if (name in decayed) == decays]
                decay = weight_decay if decays else 0.0
                if chosen:
                    found.append({"params": chosen, "lr": rate, "weight_decay": decay, "name": group.name})
    return found


def is_lora_b(name: str) -> bool:
    """Whether a parameter is the second matrix of a LoRA pair, which starts at zero."""
    return ".lora_B." in name or ".lora_embedding_B." in name


def check_loraplus(model: nn.Module, ratio: float | None) -> None:
    """A ratio of LoRA+ without LoRA would change nothing.

    Raises:
        Problems: see above.
    """
    if ratio and not any(is_lora_b(name) for name, _ in model.named_parameters()):
        what = "has no effect without LoRA: there are no second matrices"
        raise Problems(Problem("--loraplus_lr_ratio", what, "add --peft lora, or leave it out"))


def group_rates(groups: Sequence[LayerGroup], phase: Phase, learning_rate: float) -> dict[str, float]:
    """Peak learning rate of each learning group.

    With `layer_decay` d group i of 0..L+1 (embeddings to head) gets `learning_rate * d^(L+1-i)` (ELECTRA, BEiT);
    `head_learning_rate` replaces the head's only.
    """
    top = phase.learning_rate if phase.learning_rate is not None else learning_rate
    decay = phase.layer_decay if phase.layer_decay is not None else 1.0
    positions = _positions(groups)
    learning = [group.name for group in groups if group.name in phase.learns]
    highest = max(positions[name] for name in learning)
    rates = {name: top * decay ** (highest - positions[name]) for name in learning}
    if phase.head_learning_rate is not None and HEAD in rates:
        rates[HEAD] = phase.head_learning_rate
    return rates


def _positions(groups: Sequence[LayerGroup]) -> dict[str, int]:
    return {group.name: i for i, group in enumerate(groups)}


def decay_names(model: nn.Module) -> set[str]:
    """Names of the parameters that weight decay belongs on: matrices, kernels and word tables.

    Not on biases, norms of any kind (BatchNorm too), layer scales and those of PEFT, position tables, class tokens, nor
    on what the model itself exempts (timm's `no_weight_decay`). transformers' own rule goes by names and decays the BatchNorm
    weights of vision models, layer scales and position tables.
    """
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    exempt: set[str] = set()
    # Layers are no tables, whatever they are called; but what makes a bias (Swin V2's of positions) counts as one.
    layers: set[str] = set()
    for prefix, module in model.named_modules():
        if isinstance(module, (nn.Linear, _ConvNd)) and "bias" not in prefix:
            layers.add(f"{prefix}.weight")
        ask = getattr(module, "no_weight_decay", None)
        if callable(ask):
            exempt |= {f"{prefix}.{name}" if prefix else name for name in ask()}
    return {
        name
        for name, parameter in model.named_parameters()
        # A vector, also one shaped (1, 1, C) or (C, 1, 1); the head of a regression, (1, C), is a matrix.
        if (parameter.dim() == 2 or parameter.numel() != max(parameter.shape, default=1))
        and not name.endswith(("bias", "biases"))
        and not (_PLACES.search(name) and name not in layers)
        and not _SCALES.search(name)
        and name not in exempt
    }
