"""Learning rates that were meant to differ and do not, and schedulers that drive something else."""

from __future__ import annotations

from typing import Any

from hf_transfer.checking.subject import Subject, names_of
from hf_transfer.problems import Problem
from hf_transfer.strategies.rates import decay_names

FLATTEN = ("OneCycleLR", "CyclicLR")
MEND = "give each group its real rate, lr=learning_rate * decay**(top - depth): schedulers multiply a group's own rate"
_RATES = ("params", "param_names", "name", "lr", "initial_lr", "max_lr", "min_lr")


def rate(group: dict[str, Any]) -> float:
    """The rate that a schedule multiplies; a warmup may have set the present one to zero."""
    return float(group.get("initial_lr", group["lr"]))


def scales_without_effect(subject: Subject) -> list[Problem]:
    """`lr_scale` (timm, BEiT, MAE), which timm's schedulers read and torch's and transformers' do not."""
    groups = _scaled(subject)
    if len({group["lr_scale"] for group in groups}) < 2 or len({rate(group) for group in groups}) > 1:
        return []
    if any(type(scheduler).__module__.startswith("timm.") for scheduler in subject.schedulers):
        return []
    low, high = min(g["lr_scale"] for g in groups), max(g["lr_scale"] for g in groups)
    what = (
        f"{len(groups)} groups have an lr_scale from {low:.3g} to {high:.3g}, which no scheduler here reads: all learn at "
        f"{rate(groups[0]):g}"
    )
    mend = "set group['lr'] *= group['lr_scale'] before a torch scheduler is made, or use one of timm's"
    return [Problem("optimizer", what, mend)]


def one_rate(subject: Subject) -> list[Problem]:
    """Layer-wise decay that was asked for, or groups that were made for rates of their own, with one rate for all."""
    groups = [group for group in subject.groups if any(p.requires_grad for p in group["params"])]
    if not groups or _scaled(subject):
        return []
    asked = _asked(subject.trainer)
    if asked not in (None, 1, 1.0):
        if len({rate(group) for group in groups}) > 1 or _one_layer(subject):
            return []
        what = (
            f"a layer-wise decay of {asked:g} was asked for, but all parameters learn at {rate(groups[0]):g}"
        )
        return [Problem("optimizer", what, MEND)]
    alike = [] if subject.is_ours else _alike(subject, groups)
    flat = [type(s).__name__ for s in subject.schedulers if type(s).__name__ in FLATTEN]
    if len(alike) < 2 or not (flat or _many(alike)):
        return []
    what = f"{len(alike)} groups differ in nothing: all learn at {rate(alike[0]):g}"
    if not flat:
        return [Problem("optimizer", what, f"{MEND}; one group is enough where one rate is meant")]
    mend = f"give {flat[0]} a list, max_lr=[group['lr'] for group in optimizer.param_groups]"
    return [Problem("scheduler", f"{flat[0]} with one number has flattened the groups' rates: {what}", mend)]


def schedulers_astray(subject: Subject) -> list[Problem]:
    """A scheduler of an optimizer that does not train the model, or one that does not know all groups."""
    found = []
    ours = {id(optimizer) for optimizer in subject.optimizers}
    for scheduler in subject.schedulers:
        name, optimizer = type(scheduler).__name__, getattr(scheduler, "optimizer", None)
        if optimizer is None or not ours:
            continue
        optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate's wrapper
        if id(optimizer) not in ours:
            what = (
                f"{name} drives another optimizer than the one that trains the model: the rate never changes"
            )
            found.append(
                Problem("scheduler", what, "make the scheduler after the optimizer, of that optimizer")
            )
        elif len(getattr(scheduler, "base_lrs", optimizer.param_groups)) != len(optimizer.param_groups):
            what = f"{name} was made before groups were added to the optimizer: it does not know them"
            found.append(Problem("scheduler", what, "make the scheduler anew after add_param_group"))
    return found


def _scaled(subject: Subject) -> list[dict[str, Any]]:
    return [group for group in subject.groups if group.get("lr_scale") is not None]


def _asked(trainer: Any) -> float | None:
    """The layer decay in our phase, or in training arguments of the user's own."""
    for holder in (getattr(trainer, "phase", None), getattr(trainer, "args", None)):
        asked = getattr(holder, "layer_decay", None)
        if isinstance(asked, (int, float)):
            return float(asked)
    return None


def _one_layer(subject: Subject) -> bool:
    """Whether what learns lies in one layer group: there is nothing to decay to."""
    from hf_transfer.anatomy import layer_groups

    try:
        groups = layer_groups(subject.model)
    except Exception:  # any torch model may come here
        return False
    learning = subject.learning()
    return sum(any(name in learning for name in group.parameters) for group in groups) < 2


def _alike(subject: Subject, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The most groups that agree in rate, in all other options, and in whether weight decay belongs on them.

    (Two groups, one for what decays and one for what does not, are usual, and alike where the decay is 0.)
    """
    decays = decay_names(subject.model)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for group in groups:
        names = names_of(subject, group["params"])
        share = sum(name in decays for name in names)
        kind = "all" if share == len(names) else "some" if share else "none"
        options = {key: value for key, value in group.items() if key not in _RATES}
        kinds.setdefault(f"{kind} {rate(group)} {options!r}", []).append(group)
    return max(kinds.values(), key=len)


def _many(groups: list[dict[str, Any]]) -> bool:
    """Three groups of several parameters each: nobody makes them for one rate (one a parameter is some libraries' habit)."""
    return sum(len(group["params"]) > 1 for group in groups) >= 3
