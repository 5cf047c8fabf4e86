"""A strategy is a function that returns a list of phases; each phase runs in a Trainer of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hf_transfer.anatomy import EMBEDDINGS, HEAD, LayerGroup
from hf_transfer.problems import Problem, Problems, nearest


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
        loraplus_lr_ratio: LoRA's second matrices learn that much faster than the first (LoRA+).
    """

    name: str
    learns: tuple[str, ...]
    share: float = 1.0
    epochs: float | None = None
    learning_rate: float | None = None
    layer_decay: float | None = None
    head_learning_rate: float | None = None
    loraplus_lr_ratio: float | None = None


def full(groups: Sequence[LayerGroup]) -> list[Phase]:
    """Everything learns."""
    return [Phase("full", tuple(group.name for group in groups))]


def feature_extraction(groups: Sequence[LayerGroup]) -> list[Phase]:
    """The head alone learns on a backbone that stands still."""
    return [Phase("feature-extraction", (_head(groups),))]


def partial(groups: Sequence[LayerGroup], count: str) -> list[Phase]:
    """The head and the last `count` blocks learn."""
    blocks = [group.name for group in groups if group.name not in (EMBEDDINGS, HEAD)]
    if not count.isdigit() or not 0 < int(count) <= len(blocks):
        raise Problems(
            Problem(
                "--strategy",
                f"partial:{count} does not fit: this model has {len(blocks)} blocks",
                f"give partial:1 to partial:{len(blocks)}",
            )
        )
    learns = [*blocks[-int(count) :], *(group.name for group in groups if group.name == HEAD)]
    return [Phase(f"partial:{count}", tuple(learns))]


def two_phase(groups: Sequence[LayerGroup]) -> list[Phase]:
    """First the head on a still backbone, then everything (Howard and Ruder 2018; fastai's `fine_tune`)."""
    first = Phase("head", (_head(groups),), share=1.0, learning_rate=HEAD_ONLY)
    return [first, Phase("full", tuple(group.name for group in groups), share=2.0)]


FULL, HEAD_ONLY, LORA = 5e-5, 1e-3, 5e-4
STRATEGIES: dict[str, Callable[..., list[Phase]]] = {
    "full": full,
    "feature-extraction": feature_extraction,
    "partial": partial,
    "two-phase": two_phase,
}


def learning_rate_for(strategy: str, peft: bool) -> float:
    """The default rate by what learns: everything or the upper blocks 5e-5, LoRA 5e-4, the head alone 1e-3."""
    if peft:
        return LORA
    return HEAD_ONLY if strategy.replace("_", "-") == "feature-extraction" else FULL


def phases(strategy: str | Sequence[Phase], groups: Sequence[LayerGroup]) -> list[Phase]:
    """The phases of a strategy by name (`full`, `partial:2`, ...), or a list of your own checked against the model.

    Raises:
        Problems: an unknown strategy or group name, or a phase in which nothing learns.
    """
    if isinstance(strategy, str):
        name, _, count = strategy.replace("_", "-").partition(":")
        if name not in STRATEGIES or (count and name != "partial"):
            known = [n if n != "partial" else "partial:N" for n in STRATEGIES]
            close = nearest(name, list(STRATEGIES)).replace("partial", f"partial:{count or 'N'}")
            what, mend = f"there is no strategy {strategy!r}{close}", f"choose one of {', '.join(known)}"
            raise Problems(Problem("--strategy", what, mend))
        return partial(groups, count) if name == "partial" else STRATEGIES[name](groups)
    known_groups = [group.name for group in groups]
    wrong = [
        Problem(
            f"phase {phase.name!r}",
            f"the model has no layer group {name!r}{nearest(name, known_groups)}",
            f"its groups are {', '.join(known_groups)}",
        )
        for phase in strategy
        for name in phase.learns
        if name not in known_groups
    ]
    wrong += [
        Problem(f"phase {phase.name!r}", "nothing learns in it", "name at least one layer group")
        for phase in strategy
        if not phase.learns
    ]
    if wrong or not strategy:
        raise Problems(*wrong or [Problem("strategy", "an empty list of phases", "give at least one Phase")])
    return list(strategy)


def _head(groups: Sequence[LayerGroup]) -> str:
    if any(group.name == HEAD for group in groups):
        return HEAD
    raise Problems(
        Problem(
            "--strategy", "this model has no head of its own (it is tied or absent)", "use --strategy full"
        )
    )
