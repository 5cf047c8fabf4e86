"""A phase that puts a vote of the nearest training rows in place of the head (`--strategy knn`)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.anatomy import HEAD, LayerGroup
from hf_transfer.problems import Problem, Problems
from hf_transfer.ranks import from_first
from hf_transfer.strategies.neighbours import (
    COUNTS,
    TEMPERATURE,
    USUAL,
    Neighbours,
    as_targets,
    choose_neighbours,
)

if TYPE_CHECKING:
    from hf_transfer.strategies.selection import Rows
    from hf_transfer.training.setup import Setup

INSIDE = "base"  # name of the backbone's class in a model that votes


def votes(setup: Setup) -> bool:
    """Whether the run ends with a vote."""
    return setup.phases[-1].solve == "knn"


def check_voting(setup: Setup) -> None:
    """Refuse a vote that is not the end of a run, or of a model with an adapter.

    Raises:
        Problems: see above.
    """
    if any(phase.solve == "knn" for phase in setup.phases[:-1]):
        what = "a vote of neighbours has no head that a later phase could go on from"
        raise Problems(Problem("--strategy", what, "let knn be the last phase"))
    if votes(setup) and setup.is_peft:
        what = "an adapter is saved for the checkpoint's own class, and a vote is none"
        raise Problems(Problem("--strategy knn", what, "leave out --peft, or choose another strategy"))


def voting_notes(setup: Setup) -> list[str]:
    """For the plan: who votes, and how large that makes the model."""
    if not votes(setup) or not setup.args.do_train:
        return []
    from hf_transfer.solving import own_width

    assert setup.readout is not None
    rows, width = len(setup.prepared.splits["train"]), own_width(setup.model, setup.readout)
    counts = ", ".join(str(k) for k in COUNTS if k < rows)
    return [
        f"The {rows:,} training rows are the reference: the model keeps their features ({width} numbers each, "
        f"{4 * rows * width / 1e6:,.1f} MB) and labels. The k most similar by cosine vote with weight exp(similarity / "
        f"{TEMPERATURE:g}); k is one of {counts or USUAL}. It is loaded after `import hf_transfer.knn`."
    ]


def voting_rows(setup: Setup, split: str) -> Rows | None:
    """Features that the vote compares; None where the split is not there."""
    from hf_transfer.solving import feature_rows, mean_rows

    if split not in setup.prepared.splits:
        return None
    return mean_rows(setup, split) if setup.pooling == "mean" else feature_rows(setup, split)


def solve_by_vote(setup: Setup) -> tuple[dict[str, Any], np.ndarray | None]:
    """Make `setup.model` a model that votes; layer groups and what may learn follow its names.

    Returns:
        Facts for the ledger (k, temperature, scale, rows, width, loss, seconds), and the validation rows' logits.

    Raises:
        RuntimeError: the model does not read the features that vote.
    """
    from hf_transfer.solving import ROUNDING
    from hf_transfer.strategies.selection import loss, picked

    started = time.monotonic()
    train, validation = voting_rows(setup, "train"), voting_rows(setup, "validation")
    assert train is not None and setup.readout is not None
    config = setup.model.config
    problem, size = config.problem_type, config.num_labels

    def choose() -> Neighbours:
        return replace(choose_neighbours(problem, size, train, validation), held=None)

    found = from_first(setup.args, choose)
    facts: dict[str, Any] = {
        "solver": "knn",
        "k": found.k,
        "temperature": TEMPERATURE,
        "scale": found.scale,
        "chosen_on": found.chosen_on,
        "rows": len(train.labels),
        "width": int(train.features.shape[1]),
        "loss": found.loss if np.isfinite(found.loss) else None,
        "view": "features",
        "pooling": setup.pooling,
    }
    _put(setup, train, found)
    _check(setup, train, ROUNDING)
    some = picked(train, np.unique(np.linspace(0, len(train.labels) - 1, 1_000, dtype=int)))
    facts["train_loss"] = loss(
        problem, voted(setup.model, some), some.labels
    )  # each row votes for itself, too
    logits = None if validation is None else voted(setup.model, validation)
    if validation is not None and logits is not None:
        facts["eval_loss"] = loss(problem, logits, validation.labels)
    facts["seconds"] = round(time.monotonic() - started, 3)
    return facts, logits


def voted(model: Any, rows: Rows) -> np.ndarray:
    """Logits (n, C) of rows whose features have been read."""
    import torch

    with torch.no_grad():
        found = model.logits_of(torch.from_numpy(rows.features).to(model.reference_features))
    return np.asarray(found.cpu().numpy())


@contextmanager
def all_vote(model: Any) -> Iterator[None]:
    """Within it every reference row votes: of two that are equally near rounding chooses one, and this does not hang on it."""
    k, model.config.k = model.config.k, model.config.reference_rows
    try:
        yield
    finally:
        model.config.k = k


def take_up(setup: Setup, folder: Path) -> None:
    """Put the saved model of a finished vote into `setup`, where a run goes on behind it."""
    from hf_transfer.knn import load

    images = getattr(setup.model, "main_input_name", "") == "pixel_values"
    device = next(setup.model.parameters()).device
    model = load(folder, "image" if images else "text")
    model.config._name_or_path = setup.model.config._name_or_path
    _take(setup, model.to(device))


def _put(setup: Setup, train: Rows, found: Neighbours) -> None:
    import torch

    from hf_transfer.knn import voting_model

    assert setup.readout is not None
    name, problem = setup.model.config._name_or_path, setup.model.config.problem_type
    model = voting_model(
        setup.model,
        setup.readout,
        setup.pooling,
        torch.from_numpy(train.features),
        as_targets(problem, train.labels),
        k=found.k,
        scale=found.scale,
    )
    model.config._name_or_path = name
    _take(setup, model)


def _take(setup: Setup, model: Any) -> None:
    """The model in its place, with the groups under its names; nothing learns in it."""
    setup.model = model.requires_grad_(False)
    parameters = {name for name, _ in model.named_parameters()}
    buffers = {name for name, _ in model.named_buffers()}

    def names(old: tuple[str, ...], there: set[str]) -> tuple[str, ...]:
        return tuple(f"{INSIDE}.{name}" for name in old if f"{INSIDE}.{name}" in there)

    setup.groups = [
        LayerGroup(group.name, names(group.parameters, parameters), names(group.buffers, buffers))
        for group in setup.groups
    ]
    head = next(i for i, group in enumerate(setup.groups) if group.name == HEAD)
    own = ("reference_features", "reference_labels")
    setup.groups[head] = replace(setup.groups[head], buffers=(*setup.groups[head].buffers, *own))
    setup.trainable = frozenset()


def _check(setup: Setup, train: Rows, rounding: float) -> None:
    """The whole model must read the features that were kept: on some rows, within what fp32 allows.

    Features, not votes: of two rows that are equally near, rounding chooses one.
    """
    from hf_transfer.predict import shared_scores

    rows = setup.prepared.splits["train"].select(range(min(8, len(train.labels))))
    given = shared_scores(
        setup.model,
        rows.remove_columns("labels"),
        setup.collator,
        len(rows),
        (0, 1),
        read=lambda model, inputs: model.features(inputs),
    )
    wanted = train.features[: len(rows)]
    if not np.allclose(given, wanted, rtol=1e-3, atol=1e3 * rounding * max(1.0, float(np.abs(wanted).max()))):
        raise RuntimeError(
            f"the model's features differ from those that were read by {np.abs(given - wanted).max():.2g}"
        )
