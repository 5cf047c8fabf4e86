"""Freezing that holds: parameters, buffers and statistics of what does not learn stay as they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hf_transfer.anatomy import HEAD, LayerGroup
from hf_transfer.problems import Problem, Problems

if TYPE_CHECKING:
    from torch import nn


def freeze(
    model: nn.Module,
    groups: Iterable[LayerGroup],
    learns: Iterable[str],
    trainable: frozenset[str],
    only: str = "all",
) -> None:
    """Let the groups named in `learns` learn and nothing else.

    Args:
        trainable: full names of what may learn at all: everything, or what PEFT left trainable. A phase learns the
            intersection, so that a frozen base weight under LoRA never wakes up.
        only: `biases` or `norms`: what learns below the head.

    Raises:
        Problems: nothing would learn, below the head nothing where `only` asks for some of it.
    """
    learning = set(learns)
    head = {name for group in groups if group.name == HEAD for name in group.parameters}
    named = {name for group in groups if group.name in learning for name in group.parameters}
    names = named & trainable
    if only != "all":
        chosen = norm_parameters(model) if only == "norms" else biases(model)
        if not (names & chosen) - head:
            other = "norms" if only == "biases" else "bitfit"
            what = f"{type(model).__name__} has no {only} below its head"
            mend = f"choose {other}, or partial:N"
            if (named & chosen) - head:
                what = f"an adapter leaves the model's own {only} as they are, so none could learn"
                mend = "leave out --peft, or use --strategy full"
            raise Problems(Problem("--strategy", what, mend))
        names &= chosen | head
    if not names:
        raise Problems(Problem("--strategy", "nothing in the model would learn", "choose other layer groups"))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
        if name not in names:
            parameter.grad = None  # a stale gradient would let an optimizer move a frozen weight


def biases(model: nn.Module) -> set[str]:
    """Full names of the parameters that are added: those called a bias (`bias`, `q_bias`, `lin_bias`)."""
    return {name for name, _ in model.named_parameters() if name.endswith("bias")}


def norm_parameters(model: nn.Module) -> set[str]:
    """Full names of the parameters of norms, by the names that classes of norms have everywhere (`LayerNorm`, `T5LayerNorm`)."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if "norm" in type(module).__name__.lower()
        for name, _ in module.named_parameters(recurse=False)
    }


def check_peft(groups: Iterable[LayerGroup], learns: Iterable[str], is_peft: bool) -> None:
    """An adapter needs blocks that learn: with the head alone it would never move."""
    if is_peft and set(learns) <= {HEAD}:
        raise Problems(
            Problem(
                "--strategy with --peft",
                "only the head would learn, so the adapter layers would have no effect",
                "leave out --peft, or use --strategy full",
            )
        )


def still_modules(model: nn.Module) -> list[nn.Module]:
    """The outermost modules in which nothing learns: they belong in eval mode while the rest trains.

    In train mode their dropout would add noise to features that cannot adapt to it, and BatchNorm would go on
    updating its running statistics although its weights are frozen (transformers#24479).
    """
    from torch.nn.modules.batchnorm import _NormBase

    found: list[nn.Module] = []

    def visit(module: nn.Module, above_frozen: bool) -> None:
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            found.append(module)
            return
        if not own and isinstance(module, _NormBase) and above_frozen:
            found.append(module)
        frozen_here = any(not parameter.requires_grad for parameter in module.parameters())
        for child in module.children():
            visit(child, frozen_here)

    visit(model, False)
    return found


def dropout_below(model: nn.Module, still: Iterable[nn.Module]) -> list[nn.Module]:
    """Dropout that stands by itself before the first layer that learns (GPT-2's), and so in none of the `still` modules.

    Not what is used again above (the one dropout of a T5 stack), nor a function (BART's).
    """
    from torch.nn.modules.dropout import _DropoutNd

    from hf_transfer.anatomy import unwrapped
    from hf_transfer.anatomy.order import forward_order

    held = {id(part) for module in still for part in module.modules()}
    inner = unwrapped(model)[0]
    order = forward_order(inner)
    learning = [name.rpartition(".")[0] for name, p in inner.named_parameters() if p.requires_grad]
    start = min((order.first[name] for name in learning), default=0)
    return [
        module
        for name, module in inner.named_modules()
        if isinstance(module, _DropoutNd) and id(module) not in held and order.last[name] < start
    ]
