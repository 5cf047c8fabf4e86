"""The strategies by name: functions from a model's layer groups to the phases of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hf_transfer.anatomy import EMBEDDINGS, HEAD, LayerGroup
from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.phases import HEAD_ONLY, Phase

STEPS = 4  # of gradual unfreezing: more phases only make each of them shorter
FACTOR = 2.6  # by which a layer of ULMFiT learns slower than the one above it


def full(groups: Sequence[LayerGroup]) -> list[Phase]:
    """Everything learns."""
    return [Phase("full", _all(groups))]


def feature_extraction(groups: Sequence[LayerGroup]) -> list[Phase]:
    """The head alone, on a backbone that stands still: solved as logistic regression on features read once."""
    return [Phase("feature-extraction", (_head(groups),), solve="logistic")]


def partial(groups: Sequence[LayerGroup], count: str) -> list[Phase]:
    """The head and the last `count` blocks learn."""
    blocks = _blocks(groups)
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


def bitfit(groups: Sequence[LayerGroup]) -> list[Phase]:
    """Biases learn, and the head whole (Ben Zaken et al. 2021)."""
    return [Phase("bitfit", _all(groups), only="biases")]


def norms(groups: Sequence[LayerGroup]) -> list[Phase]:
    """Weights and biases of the norms learn, and the head whole (Frankle et al. 2020; Zhao et al. 2023)."""
    return [Phase("norms", _all(groups), only="norms")]


def two_phase(groups: Sequence[LayerGroup]) -> list[Phase]:
    """First the head on a still backbone, then everything (Howard and Ruder 2018; fastai's `fine_tune`)."""
    first = Phase("head", (_head(groups),), share=1.0, learning_rate=HEAD_ONLY)
    return [first, Phase("full", _all(groups), share=2.0)]


def lp_ft(groups: Sequence[LayerGroup]) -> list[Phase]:
    """First the head is solved, then everything learns, from exactly those predictions (Kumar et al. 2022)."""
    return [Phase("probe", (_head(groups),), solve="logistic"), Phase("full", _all(groups))]


def gradual(groups: Sequence[LayerGroup]) -> list[Phase]:
    """The head first, then more and more blocks from the top, lower ones slower (ULMFiT, Howard and Ruder 2018).

    ULMFiT has four layers, one more of which learns in each phase, each at 1/2.6 of the rate of the one above. Here the
    blocks join in at most three parts, and the rates fall by as much from the head to the embeddings as theirs do.
    """
    blocks, parts = _blocks(groups), min(STEPS - 1, len(_blocks(groups)))
    decay = FACTOR ** (-(STEPS - 1) / (len(groups) - 1))
    found = [Phase("head", (_head(groups),), learning_rate=HEAD_ONLY)]
    for part in range(1, parts + 1):
        first = len(blocks) - round(len(blocks) * part / parts)
        learns = (*blocks[first:], HEAD) if part < parts else _all(groups)
        name = f"from {blocks[first]}" if part < parts else "full"
        found.append(Phase(name, learns, layer_decay=decay))
    return found


def prototypes(groups: Sequence[LayerGroup]) -> list[Phase]:
    """The head becomes the labels' mean directions: the nearest class mean by cosine (Snell et al. 2017)."""
    return [Phase("prototypes", (_head(groups),), solve="prototypes")]


def ridge(groups: Sequence[LayerGroup]) -> list[Phase]:
    """The head is solved by least squares, in closed form."""
    return [Phase("ridge", (_head(groups),), solve="ridge")]


def knn(groups: Sequence[LayerGroup]) -> list[Phase]:
    """The most similar training rows vote, in place of the head (Wu et al. 2018; Caron et al. 2021)."""
    return [Phase("knn", (_head(groups),), solve="knn")]


def contrastive(groups: Sequence[LayerGroup]) -> list[Phase]:
    """The backbone is tuned by pairs of rows, then the head is solved (SetFit, Tunstall et al. 2022)."""
    below = tuple(name for name in _all(groups) if name != _head(groups))
    return [Phase("pairs", below, pairs=True), Phase("head", (_head(groups),), solve="logistic")]


STRATEGIES: dict[str, Callable[..., list[Phase]]] = {
    "full": full,
    "feature-extraction": feature_extraction,
    "partial": partial,
    "bitfit": bitfit,
    "norms": norms,
    "two-phase": two_phase,
    "lp-ft": lp_ft,
    "gradual": gradual,
    "prototypes": prototypes,
    "knn": knn,
    "ridge": ridge,
    "contrastive": contrastive,
}


def _all(groups: Sequence[LayerGroup]) -> tuple[str, ...]:
    return tuple(group.name for group in groups)


def _blocks(groups: Sequence[LayerGroup]) -> list[str]:
    return [group.name for group in groups if group.name not in (EMBEDDINGS, HEAD)]


def _head(groups: Sequence[LayerGroup]) -> str:
    if any(group.name == HEAD for group in groups):
        return HEAD
    raise Problems(
        Problem(
            "--strategy", "this model has no head of its own (it is tied or absent)", "use --strategy full"
        )
    )
