"""A strategy is a list of phases; each phase runs in a Trainer of its own, or solves the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from hf_transfer.anatomy import HEAD, LayerGroup
from hf_transfer.problems import Problem, Problems, nearest

FULL, HEAD_ONLY, LORA, FEW = 5e-5, 1e-3, 5e-4, 1e-3
KINDS = ("all", "biases", "norms")
AUTO = ("auto",)  # names that become another strategy once model and data are known
SOLVERS = ("logistic", "ridge", "prototypes", "knn")


@dataclass(frozen=True)
class Phase:
    """What learns for one part of a run.

    Attributes:
        name: what the plan, the ledger and the report call it.
        learns: names of the layer groups that learn; the others are frozen, their statistics too.
        share: this phase's part of the run's epochs or steps, relative to the other phases' (default: equal parts).
        epochs: epochs of its own, in place of a share.
        learning_rate: that of the topmost learning group; default: the run's.
        layer_decay: each group below the head learns at this factor of the one above it.
        head_learning_rate: the head's own rate.
        only: what learns below the head: `all`, `biases` or `norms`.
        solve: the head is not trained but solved, on features that are read once: `logistic`, `ridge`, `prototypes`.
            Such a phase takes no part of the epochs. `knn`, in the last phase only, puts a vote in place of the head.
        pairs: the features before the head are tuned by pairs of rows (contrastive), not by the head's scores; it does not learn.
        loraplus_lr_ratio: LoRA's second matrices learn that much faster than the first (LoRA+).
    """

    name: str
    learns: tuple[str, ...]
    share: float = 1.0
    epochs: float | None = None
    learning_rate: float | None = None
    layer_decay: float | None = None
    head_learning_rate: float | None = None
    only: str = "all"
    solve: str | None = None
    pairs: bool = False
    loraplus_lr_ratio: float | None = None


def called(phase: Phase) -> str:
    """What users know the strategy by whose phase this is, where the phase's own name is not theirs."""
    return "contrastive" if phase.pairs else phase.name


def learning_rate_for(strategy: str, peft: bool) -> float:
    """The default rate by what learns: everything or the upper blocks 5e-5, LoRA 5e-4, the head or little else 1e-3."""
    if peft:
        return LORA
    name = strategy.replace("_", "-")
    if name in ("bitfit", "norms"):
        return FEW  # the middle of what Ben Zaken et al. tried: 1e-4 to 1e-3 and more for small sets
    return HEAD_ONLY if name == "feature-extraction" else FULL


def phases(strategy: str | Sequence[Phase | Mapping[str, Any]], groups: Sequence[LayerGroup]) -> list[Phase]:
    """The phases of a strategy by name (`full`, `partial:2`, ...), or a list of your own checked against the model.

    Args:
        strategy: a name, or phases, each a `Phase` or a mapping of its fields (as YAML gives them); `learns` may be
            `all`, one group, a list of groups, or a range of them such as `block.3 .. head`.

    Raises:
        Problems: an unknown strategy or group name, or a phase in which nothing learns.
    """
    from hf_transfer.strategies.named import STRATEGIES

    if isinstance(strategy, str):
        name, _, count = strategy.replace("_", "-").partition(":")
        check_name(strategy, beside=())
        return STRATEGIES[name](groups, count) if name == "partial" else STRATEGIES[name](groups)
    if not strategy:
        raise Problems(Problem("--strategy", "an empty list of phases", "give at least one Phase"))
    known_groups = [group.name for group in groups]
    own = [_phase(item, number, known_groups) for number, item in enumerate(strategy, 1)]
    own = [replace(p, learns=tuple(g for g in p.learns if g != HEAD)) if p.pairs else p for p in own]
    wrong = [problem for phase in own for problem in _problems(phase, known_groups)]
    if wrong:
        raise Problems(*wrong)
    return own


def check_name(strategy: Any, flag: str = "--strategy", beside: Sequence[str] = AUTO) -> None:
    """Stop at a strategy's name that there is not; anything but a text passes.

    Args:
        beside: names that are settled elsewhere.

    Raises:
        Problems: see above.
    """
    from hf_transfer.strategies.named import STRATEGIES

    if not isinstance(strategy, str):
        return
    name, _, count = strategy.replace("_", "-").partition(":")
    if name in (*STRATEGIES, *beside) and not (count and name != "partial"):
        return
    known = [n if n != "partial" else "partial:N" for n in (*STRATEGIES, *AUTO)]
    close = nearest(name, [*STRATEGIES, *AUTO]).replace("partial", f"partial:{count or 'N'}")
    raise Problems(
        Problem(flag, f"there is no strategy {strategy!r}{close}", f"choose one of {', '.join(known)}")
    )


def _phase(item: Phase | Mapping[str, Any], number: int, known: Sequence[str]) -> Phase:
    if isinstance(item, Phase):
        return item
    if not isinstance(item, Mapping):
        what = f"phase {number} is {item!r}, where its fields were expected"
        raise Problems(Problem("--strategy", what, "write it as {name: head, learns: head, epochs: 1}"))
    names = [field.name for field in fields(Phase)]
    unknown = [name for name in item if name not in names]
    if unknown or "learns" not in item:
        what = f"phase {number} has no field {unknown[0]!r}{nearest(str(unknown[0]), names)}" if unknown else (
            f"phase {number} does not say what learns"
        )  # fmt: skip
        raise Problems(Problem("--strategy", what, f"a phase has {', '.join(names)}"))
    given = {"name": f"phase {number}", **item}
    return Phase(**given | {"learns": _groups(item["learns"], known)})


def _groups(learns: Any, known: Sequence[str]) -> tuple[str, ...]:
    """`all`, `head`, `block.3 .. head` or a list of such, as names of groups."""
    found: list[str] = []
    for part in [learns] if isinstance(learns, str) else list(learns):
        first, dots, last = (piece.strip() for piece in str(part).partition(".. "))
        if part == "all":
            found += known
        elif dots and first in known and last in known:
            found += known[known.index(first) : known.index(last) + 1]
        else:
            found.append(str(part))
    return tuple(dict.fromkeys(found))


def _problems(phase: Phase, known: Sequence[str]) -> list[Problem]:
    where = f"phase {phase.name!r}"
    found = [
        Problem(where, f"the model has no layer group {name!r}{nearest(name, list(known))}",
                f"its groups are {', '.join(known)}")
        for name in phase.learns if name not in known
    ]  # fmt: skip
    if not phase.learns:
        found.append(Problem(where, "nothing learns in it", "name at least one layer group"))
    for value, choices, name in ((phase.only, KINDS, "only"), (phase.solve, (None, *SOLVERS), "solve")):
        if value not in choices:
            told = ", ".join(str(choice) for choice in choices if choice)
            found.append(Problem(where, f"{name} is {value!r}", f"choose one of {told}"))
    for name in ("layer_decay", "head_learning_rate"):
        if (rate := getattr(phase, name)) is not None and rate <= 0:
            found.append(
                Problem(where, f"{name} is {rate:g}, so nothing would learn by it", "give more than 0")
            )
    if phase.solve and phase.learns != ("head",):
        found.append(Problem(where, "only the head can be solved", "let it learn the head alone"))
    return found
