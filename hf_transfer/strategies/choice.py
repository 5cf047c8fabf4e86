"""Which strategy suits: from the rows, the size of the model, what it knows already, and the machine."""

from __future__ import annotations

from dataclasses import dataclass

FEW, MANY = 32, 1_000  # training rows a label
KNOWS = 0.6  # share of the way from the baseline to a perfect answer that the untouched checkpoint goes
LARGE = 150_000_000  # parameters that a CPU takes hours to train


@dataclass(frozen=True)
class Facts:
    """What the choice is made by.

    Attributes:
        rows: training rows, per label where there are labels.
        parameters: of the model.
        blocks: that it has.
        known: how far a solved head on the untouched checkpoint goes from the baseline (0) to a perfect answer (1) on
            held-out rows; None where it could not be measured.
        accelerator: whether there is one.
        is_peft: whether an adapter is trained.
        one_label: whether a row has one label of several (and not a number, or several labels).
    """

    rows: int
    parameters: int
    blocks: int
    known: float | None
    accelerator: bool
    is_peft: bool = False
    one_label: bool = True


def choose(facts: Facts) -> tuple[str, str]:
    """The strategy and the reason, in two sentences.

    Few rows of what the checkpoint knows: its features (Kumar et al. 2022: training distorts them), else pairs of rows; a
    middling number: the head first, then everything; many, or another matter than it was trained on: everything.
    """
    share = "not known" if facts.known is None else f"{max(0.0, facts.known):.0%}"
    told = (
        f"There are {facts.rows:,} training rows a label, and a head on the untouched checkpoint goes {share} of the way "
        "from the baseline to a perfect answer on held-out rows."
    )
    if facts.is_peft:
        return "full", f"{told} With an adapter everything that it adds learns."
    if not facts.accelerator and facts.parameters > LARGE and facts.blocks > 2:
        size = f"{facts.parameters / 1e6:,.0f} million parameters"
        return "partial:2", f"{told} {size} are too many to train whole on a CPU: the last two blocks learn."
    knows = facts.known is not None and facts.known >= KNOWS
    if facts.rows < FEW and knows:
        return "feature-extraction", f"{told} So few rows of what it knows are best read off its features."
    if facts.rows < FEW and facts.one_label:
        return (
            "contrastive",
            f"{told} Of so few rows, pairs teach more than single ones (Tunstall et al. 2022).",
        )
    if facts.rows < MANY and knows:
        return "lp-ft", f"{told} It starts from what it knows: the head is solved, then everything learns."
    if facts.rows < MANY:
        return "full", f"{told} Its features do not tell these labels apart: everything has to learn."
    return "full", f"{told} So many rows can teach the whole model."
