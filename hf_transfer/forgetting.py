"""Is what the checkpoint knew forgotten? Its features, weights and answers, kept before training and compared after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.adapters import adapter_of, can_merge
from hf_transfer.anatomy import HEAD, unwrapped
from hf_transfer.evaluation.drift import head_agreement, linear_cka, relative_distance, weight_distance
from hf_transfer.predict import shared_scores
from hf_transfer.strategies.hidden_states import hidden_states, mean_state
from hf_transfer.strategies.peft_methods import is_prompt

if TYPE_CHECKING:
    from hf_transfer.training.setup import Setup

MOST = 256  # rows that are looked at: drift needs few


@dataclass(frozen=True)
class Before:
    """The checkpoint as it was.

    Attributes:
        states: per layer group below the head its mean hidden states (rows, D).
        logits: (rows, C) of a head of its own; None where the head is new.
        groups: layer group by the full name that a parameter has in the saved model.
        weights: copies of those that may move, by that name, in the first process.
    """

    states: dict[str, np.ndarray]
    logits: np.ndarray | None
    groups: dict[str, str]
    weights: dict[str, Any]


def watching(asked: bool, do_train: bool, redrawn: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether forgetting can be watched, and for the plan why not where it was asked for."""
    why = (
        "nothing is trained" if not do_train else "blocks of the checkpoint are drawn anew" if redrawn else ""
    )
    return asked and not why, [f"Forgetting is not watched: {why}."] if asked and why else []


def before(setup: Setup, own_head: bool) -> Before:
    """What the comparison needs of the untouched checkpoint; the model and all random states stay as they are.

    Adapters are on the model already but begin at nothing, save prompts: for those the model inside is run.

    Args:
        own_head: the checkpoint had a head that answers, so that its answers are kept too.
    """
    prompts = is_prompt(adapter_of(setup.model))
    states, logits = _read(setup, unwrapped(setup.model)[0] if prompts else setup.model)
    groups, weights = _weights(setup)
    return Before(states, logits if own_head else None, groups, weights)


def after(setup: Setup, start: Before) -> dict[str, Any]:
    """The trained model beside the checkpoint: the content of `forgetting` in `run.json`, without weights.

    Returns:
        `split` and `rows` that were looked at; `groups`, per layer group `cka` and `relative_distance` (None where they
        could not be read); `head`, from `head_agreement`, None where the checkpoint had no head.
    """
    states, logits = _read(setup, setup.model)
    rows = []
    for name in [group.name for group in setup.groups if group.name != HEAD]:
        one, two = start.states.get(name), states.get(name)
        pair = None if one is None or two is None or one.shape != two.shape else (one, two)
        rows.append(
            {
                "group": name,
                "cka": linear_cka(*pair) if pair else None,
                "relative_distance": relative_distance(*pair) if pair else None,
            }
        )
    problem = setup.model.config.problem_type
    head = None if start.logits is None else head_agreement(problem, start.logits, logits)
    split = _split(setup)
    return {"split": split, "rows": len(logits), "groups": rows, "head": head}


def add_weights(found: dict[str, Any], start: Before, model: Any) -> None:
    """Give each row of `after` its `weight_distance`, of the model as it is saved (with PEFT: merged).

    None where an adapter stays beside the weights, which then have not moved at all.
    """
    for row in found["groups"]:
        row["weight_distance"] = weight_distance(_pairs(start, model, row["group"]))


def _pairs(start: Before, model: Any, group: str) -> Iterator[tuple[Any, Any]]:
    for name, parameter in model.named_parameters():
        if start.groups.get(name) == group:
            now = parameter.detach().float().cpu().numpy()
            yield now, start.weights[name].numpy() if name in start.weights else now


def _split(setup: Setup) -> str:
    return "validation" if "validation" in setup.prepared.splits else "train"


def _read(setup: Setup, model: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Mean hidden states by group and logits of some rows, evenly spaced, shared out over the processes."""
    rows = setup.prepared.splits[_split(setup)].remove_columns("labels")
    if len(rows) > MOST:
        rows = rows.select(np.linspace(0, len(rows) - 1, MOST, dtype=int))
    groups = setup.groups if len(setup.groups) > 1 else []  # a model in one piece has no layers to look at
    widths: dict[str, int] = {}
    with _same_draws(), hidden_states(setup.model, groups) as found:

        def read(model: Any, inputs: dict[str, Any]) -> Any:
            import torch

            found.clear()
            logits = model(**inputs)["logits"]
            mask = inputs.get("attention_mask")
            parts = {
                name: mean_state(hidden, len(logits), mask).float() for name, hidden in sorted(found.items())
            }
            widths.update({name: part.shape[1] for name, part in parts.items()})
            return torch.cat([*parts.values(), logits.float()], dim=1)

        args = setup.args
        both = shared_scores(
            model.to(args.device), rows, setup.collator, args.per_device_eval_batch_size,
            (args.process_index, args.world_size), read=read, title="watching forgetting",
        )  # fmt: skip
    pieces = np.split(both, np.cumsum(list(widths.values())), axis=1)
    states = {name: piece for name, piece in zip(widths, pieces, strict=False) if piece.shape[1]}
    return states, pieces[-1]


def _weights(setup: Setup) -> tuple[dict[str, str], dict[str, Any]]:
    """Layer group by parameter name, and copies of what may move; nothing for adapters that stay beside the weights."""
    from hf_transfer.final_weights import learned

    model = setup.model
    if setup.args.process_index or (setup.is_peft and not can_merge(model)):
        return {}, {}
    prefix = unwrapped(model)[1]
    plain = {
        name: name.removeprefix(prefix).replace(".base_layer.", ".") for name, _ in model.named_parameters()
    }
    groups = {plain[name]: g.name for g in setup.groups if g.name != HEAD for name in g.parameters}
    moving = set(plain) if setup.is_peft else learned(setup)
    weights = {
        plain[name]: parameter.detach().float().cpu().clone()
        for name, parameter in model.named_parameters()
        if name in moving and plain[name] in groups
    }
    if getattr(adapter_of(model), "init_lora_weights", True) not in (True, "gaussian"):
        for (
            name,
            layer,
        ) in model.named_modules():  # PiSSA and its like move a part of the weights into the adapter
            if hasattr(layer, "get_delta_weight"):
                start = layer.get_delta_weight(layer.active_adapters[0]).detach().float().cpu()
                weights[plain[f"{name}.base_layer.weight"]] += start
    return groups, weights


@contextmanager
def _same_draws() -> Iterator[None]:
    """Whatever is drawn within it, Python, numpy and torch go on afterwards from where they were."""
    import random

    import torch

    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(
            devices=range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
        ):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
