"""What a solved head reads: the features that the checkpoint's own class reads, or the mean over the tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hf_transfer.anatomy import HEAD, LayerGroup
from hf_transfer.evaluation.compared import Compared, compared
from hf_transfer.problems import Problem, Problems
from hf_transfer.ranks import from_first
from hf_transfer.solving import View, best_head, feature_rows, mean_rows, reading_limit
from hf_transfer.strategies.features import Readout
from hf_transfer.strategies.neighbours import choose_neighbours
from hf_transfer.strategies.phases import Phase
from hf_transfer.strategies.selection import ENOUGH, Rows
from hf_transfer.strategies.solvers import Solved, solve_head
from hf_transfer.voting import votes

if TYPE_CHECKING:
    from hf_transfer.tasks.task import Task
    from hf_transfer.training.setup import Setup

POOLINGS = ("own", "mean", "auto")
FEW = (
    "prototypes",
    "knn",
    "ridge",
    "contrastive",
    "auto",
)  # for few rows: what they read is chosen by default
HEAD_OF_THE_MEAN = ("classifier.weight", "classifier.bias")  # of a `PooledClassifier`
TAKE_IT = "feature-extraction, prototypes, knn, ridge or contrastive"


def check_pooling(pooling: str | None, task: Task) -> None:
    """Refuse what is no pooling, and any for images.

    Raises:
        Problems: see above.
    """
    if pooling is not None and pooling not in POOLINGS:
        raise Problems(Problem("--pooling", f"is {pooling!r}", f"choose one of {', '.join(POOLINGS)}"))
    if pooling is not None and "text" not in task.inputs:
        what = "images have no tokens to take the mean of: their classes pool by themselves"
        raise Problems(Problem("--pooling", what, "leave it out"))


def settle_pooling(setup: Setup, asked: str | None, strategy: Any, begun: Any = None) -> list[str]:
    """Choose what the solved head reads; for the mean over the tokens `setup.model` becomes a `PooledClassifier`.

    Called after `settle_solvers`, on the untouched checkpoint.

    Args:
        asked: `own`, `mean`, `auto`; None is `auto` for strategies for few rows, else `own`.
        strategy: as given to `finetune`.
        begun: the settings that a resumed run was begun with; its choice holds.

    Returns:
        Sentences for the plan.

    Raises:
        Problems: `mean` where it cannot be.
    """
    from hf_transfer.pooled import made_for_the_mean

    usual = "auto" if isinstance(strategy, str) and strategy.replace("_", "-") in FEW else "own"
    wanted = asked or usual
    if wanted == "own" or not setup.args.do_train:
        return []
    if against := _against(setup):
        if wanted == "mean":
            what, mend = against
            raise Problems(Problem("--pooling mean", what, mend))
        return [f"--pooling auto is own: {against[0]}."] if asked else []
    before = begun.get("--pooling", "own") if begun else wanted
    if "mean" in (wanted, before):
        return ["The head reads the mean over the tokens.", *_take_the_mean(setup)]
    if before == "own":
        return []
    solver = next(phase.solve for phase in setup.phases if phase.solve)
    found, made = _choice(setup, solver), made_for_the_mean(setup.model.config._name_or_path)
    if found is None and not made:
        return ["The head reads the features of the checkpoint's own class: too few rows to choose on."]
    if len(setup.prepared.splits.get("validation", ())) >= ENOUGH:
        setup.chosen.append("pooling")
    reader, measured = (
        ("The vote goes by", "the vote") if votes(setup) else ("The head reads", "a solved head")
    )
    told = words(found, measured) if found else "there are too few rows to choose on"
    # A checkpoint that was made for the mean gets it unless that is worse, any other one only where it is better.
    if found is None or found.better or (made and found.first - found.second <= found.error):
        where = _take_the_mean(setup)
        why = ", as the checkpoint was made to be read" if made else ""
        return [f"{reader} the mean over the tokens{why}: {told}.", *where]
    return [f"{reader} the features of the checkpoint's own class: {told}."]


def _take_the_mean(setup: Setup) -> list[str]:
    """And a sentence on what that makes of the run folder."""
    if votes(setup):  # whose model reads it by itself
        setup.pooling = "mean"
        return []
    read_the_mean(setup)
    return [
        "So the run folder is a sentence-transformers model: `hft predict` reads it, `pipeline` does not (the card has the lines)."
    ]


def words(found: Compared, of: str = "a solved head") -> str:
    """The two poolings in figures, as measured with `of`."""
    return (
        f"on held-out rows {found.metric.replace('_', ' ')} of {of} is {found.second:.3f} with the mean over the "
        f"tokens, {found.first:.3f} with the class's own features (standard error of the difference {found.error:.3f})"
    )


def _against(setup: Setup) -> tuple[str, str] | None:
    """Why the head cannot read the mean, and what to do; None if it can."""
    from hf_transfer.pooled import pools

    if not takes_mean(setup.phases):
        return "this strategy trains the head step by step", f"use it with --strategy {TAKE_IT}"
    if setup.is_peft:
        return "an adapter is saved for the checkpoint's own class", "leave out --peft or --pooling"
    tokens = setup.readout.tokens if setup.readout else None
    if votes(setup):
        return _against_a_vote(setup, tokens)
    if not pools(setup.model, tokens):
        what = f"{type(setup.model).__name__} has no backbone, as AutoModel loads it, that gives a vector for each token by itself"
        return what, "leave it out"
    return None


def _against_a_vote(setup: Setup, tokens: str | None) -> tuple[str, str] | None:
    if len(setup.phases) > 1:
        what = "behind other phases the neighbours are compared by what the checkpoint's class reads"
        return what, "use it with --strategy knn"
    what = f"{type(setup.model).__name__} has no backbone with a vector for each token"
    return None if tokens else (what, "leave it out")


def takes_mean(phases: Sequence[Phase]) -> bool:
    """Whether the head is solved, once and at the end: what is trained step by step is read as its class reads it."""
    *first, last = phases
    return bool(last.solve) and all(phase.pairs for phase in first)


def _choice(setup: Setup, solver: str | None) -> Compared | None:
    limit = reading_limit(setup)
    train = feature_rows(setup, "train", limit)
    held = feature_rows(setup, "validation") if "validation" in setup.prepared.splits else None

    def choose() -> Compared | None:
        if solver == "knn":
            return _choice_of_a_vote(setup, train, held)
        own = best_head(setup, str(solver), train, held)[1]
        return choice(setup, own, mean_head(setup, str(solver), limit))

    return from_first(setup.args, choose)


def _choice_of_a_vote(setup: Setup, train: Rows, held: Rows | None) -> Compared | None:
    means = mean_rows(setup, "train")
    means_held = mean_rows(setup, "validation") if held is not None else None
    problem, size = setup.model.config.problem_type, setup.model.config.num_labels
    if means is None:
        return None
    own = choose_neighbours(problem, size, train, held).held
    mean = choose_neighbours(problem, size, means, means_held).held
    return None if own is None or mean is None else compared(problem, own[0], mean[0], own[1])


def mean_head(setup: Setup, solver: str, limit: int | None = None) -> Solved | None:
    """The best head on the mean over the tokens, which have been read already; None where there are none.

    Args:
        limit: as for `solving.feature_rows`.
    """
    train = mean_rows(setup, "train", limit)
    if train is None:
        return None
    validation = mean_rows(setup, "validation") if "validation" in setup.prepared.splits else None
    config = setup.model.config
    return solve_head(solver, config.problem_type, config.num_labels, train, validation)


def untouched_head(setup: Setup) -> tuple[View, Solved, Compared | None]:
    """Logistic regression (ridge for values) on at most 5,000 training rows, its penalty chosen on validation or folds.

    It reads what the model's class reads, or the mean over the tokens where that is better by more than a standard error.

    Returns:
        The way through the class's own readout, the better head, and the two compared where both were tried.

    Raises:
        Problems, ValueError: labels that no head fits.
    """
    limit = reading_limit(setup)
    train = feature_rows(setup, "train", limit)
    held = feature_rows(setup, "validation") if "validation" in setup.prepared.splits else None

    def solved() -> tuple[View, Solved, Compared | None]:
        view, own = best_head(setup, "logistic", train, held)
        mean = mean_head(setup, "logistic", limit)
        found = choice(setup, own, mean)
        return view, (mean if mean and found and found.better else own), found

    return from_first(setup.args, solved)


def choice(setup: Setup, own: Solved, mean: Solved | None) -> Compared | None:
    """The two compared on the rows that both were chosen on; None where nothing was held out."""
    if mean is None or own.held is None or mean.held is None:
        return None
    return compared(setup.model.config.problem_type, own.held[0], mean.held[0], own.held[1])


def read_the_mean(setup: Setup) -> None:
    """Put a `PooledClassifier` of the model's backbone in its place; groups and features go along."""
    from hf_transfer.pooled import PooledClassifier

    readout, old = setup.readout, setup.model
    assert readout is not None and readout.tokens is not None and readout.width is not None
    model = PooledClassifier(old.get_submodule(readout.tokens), old.config, readout.width, readout.scores)
    setup.model = model.to(next(old.parameters()).device)
    setup.groups = _renamed(setup.groups, readout.tokens)
    unused = {name for group in setup.groups if group.name == HEAD for name in group.parameters[:-2]}
    setup.trainable = frozenset(_within(readout.tokens, setup.trainable)) - unused | {*HEAD_OF_THE_MEAN}
    setup.readout, setup.pooling = Readout("classifier"), "mean"
    setup.features = {key: {"own": rows["mean"]} for key, rows in setup.features.items() if "mean" in rows}


def _renamed(groups: list[LayerGroup], tokens: str) -> list[LayerGroup]:
    """The groups of the backbone under its new name; its pooler, which nobody reads, stays with the new head."""

    found = {
        group.name: LayerGroup(group.name, _within(tokens, group.parameters), _within(tokens, group.buffers))
        for group in groups
    }
    pooler = found.pop(HEAD, LayerGroup(HEAD, (), ()))
    return [
        *found.values(),
        LayerGroup(HEAD, (*pooler.parameters, *HEAD_OF_THE_MEAN), pooler.buffers),
    ]


def _within(tokens: str, names: Iterable[str]) -> tuple[str, ...]:
    """Those of the backbone, as they are called in a `PooledClassifier`."""
    begins = f"{tokens}."
    return tuple(f"backbone.{name.removeprefix(begins)}" for name in names if name.startswith(begins))
