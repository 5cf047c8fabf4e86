"""Which strategy suits: from the rows, the size of the model, what it knows already, and the machine."""

from __future__ import annotations

from dataclasses import dataclass

FEW, MANY = 100, 1_000  # training rows a label
KNOWS = 0.6  # share of the way from the baseline to a perfect answer that the untouched checkpoint goes
KNOWS_ALL = 0.9  # the same, where little is left to learn
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
        pairs: whether the model can be tuned by pairs: a row has one label of several (and not a number, or several
            labels), and the scores are read off features.
        by_row: whether something was asked for that acts on the loss of single rows, and so needs a head that is trained.
    """

    rows: int
    parameters: int
    blocks: int
    known: float | None
    accelerator: bool
    is_peft: bool = False
    pairs: bool = True
    by_row: bool = False


def choose(facts: Facts) -> tuple[str, str]:
    """The strategy and the reason, in two sentences.

    Little is left to learn: the features as they are, solved in seconds. Few rows: pairs of them, ahead of or level with all
    others at 8 and 64 rows a label (docs/strategies.md). A middling number of what the checkpoint knows: the head first, then everything
    (Kumar et al. 2022: it keeps most of what holds beyond the training rows' own kind). Else everything.
    """
    told = f"There are {facts.rows:,} training rows a label (the median), and "
    if facts.known is None:
        told += "what the checkpoint knows could not be measured (a label with one row, or a head that is not linear)."
    else:
        told += (
            f"a head on the untouched checkpoint goes {max(0.0, facts.known):.0%} of the way from the baseline to a perfect "
            "answer on held-out rows."
        )
    if facts.is_peft:
        return "full", f"{told} With an adapter everything that it adds learns."
    known = 0.0 if facts.known is None else facts.known
    if known >= KNOWS_ALL and facts.rows < MANY and not facts.by_row:
        return (
            "feature-extraction",
            f"{told} So little is left to learn that its features are read as they are.",
        )
    if not facts.accelerator and facts.parameters > LARGE and facts.blocks > 2:
        size = f"{facts.parameters / 1e6:,.0f} million parameters"
        return "partial:2", f"{told} {size} are too many to train whole on a CPU: the last two blocks learn."
    if facts.rows < FEW and facts.pairs and not facts.by_row:
        return (
            "contrastive",
            f"{told} Of so few rows, pairs teach more than single ones (Tunstall et al. 2022).",
        )
    if facts.rows < MANY and known >= KNOWS:
        return "lp-ft", f"{told} It starts from what it knows: the head is solved, then everything learns."
    if facts.known is None and facts.rows < MANY:
        return "full", f"{told} So everything learns."
    if facts.rows < MANY:
        return "full", f"{told} Its features do not tell these labels apart: everything has to learn."
    return "full", f"{told} So many rows can teach the whole model."
