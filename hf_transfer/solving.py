"""A phase whose head is solved: features are read once, the best head the checkpoint's own class can hold is put in."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.anatomy import LayerGroup
from hf_transfer.predict import shared_scores
from hf_transfer.problems import Problem, Problems
from hf_transfer.ranks import from_first
from hf_transfer.strategies.features import Readout, find_readout, find_tokens, read_both
from hf_transfer.strategies.phases import HEAD_ONLY, Phase, called
from hf_transfer.strategies.selection import Rows, loss
from hf_transfer.strategies.solvers import Head, Solved, solve_head
from hf_transfer.training.divergence import check_scores
from hf_transfer.voting import check_voting, voting_notes

if TYPE_CHECKING:
    from hf_transfer.training.setup import Setup


MOST = 5_000  # training rows that a probe reads: more would cost time and change little
ROUNDING = 1e-6  # relative error of a forward pass in fp32


@dataclass(frozen=True)
class View:
    """One way through the readout: its dense layer as it stands or replaced, and what the scores then read."""

    name: str
    weight: np.ndarray | None  # of the dense layer, (H, D); None leaves it as it is
    bias: np.ndarray | None


def settle_solvers(setup: Setup) -> list[str]:
    """Find the readout for phases that solve; where there is none the head is trained instead.

    Returns:
        Sentences for the plan. `setup.readout` and `setup.phases` are changed.
    """
    if not any(phase.solve or phase.pairs for phase in setup.phases):
        return []
    problem_type = setup.model.config.problem_type
    check_voting(setup)
    setup.readout = readout_of(setup)
    for phase in setup.phases:
        if (phase.pairs or phase.solve == "prototypes") and problem_type != "single_label_classification":
            what = f"it needs one label a row, and this is {problem_type.replace('_', ' ')}"
            raise Problems(Problem(f"--strategy {called(phase)}", what, "use feature-extraction or lp-ft"))
    if setup.readout is not None:
        if problem_type == "regression":  # what stands for logistic regression there
            setup.phases = [replace(p, solve="ridge") if p.solve == "logistic" else p for p in setup.phases]
        return voting_notes(setup)
    for phase in setup.phases:
        if phase.pairs or (phase.solve and phase.solve != "logistic"):
            what = f"the scores of {type(setup.model).__name__} are not a linear function of features"
            raise Problems(Problem(f"--strategy {called(phase)}", what, "use --strategy feature-extraction"))
    # What was given is the head's rate where nothing else is trained.
    rate = None if len(setup.phases) == 1 and "learning_rate" in setup.asked else HEAD_ONLY
    setup.phases = [
        replace(p, solve=None, learning_rate=p.learning_rate or rate) if p.solve else p for p in setup.phases
    ]
    return [
        f"The scores of {type(setup.model).__name__} are not a linear function of features that could be found: "
        "its head is trained step by step."
    ]


def readout_of(setup: Setup) -> Readout | None:
    """The model's readout, found on three training rows."""
    return find_on(setup.model, setup.groups, setup.prepared.splits["train"], setup.collator)


def check_output(setup: Setup) -> None:
    """Refuse a model that gives no scores, as some classes of transformers do; seen on three training rows.

    Raises:
        Problems: see above.
    """
    import torch

    model, given = setup.model.to(setup.args.device), next(iter(setup.prepared.splits.values()))
    was_training = model.training
    with torch.no_grad():
        outputs = model.eval()(**first_rows(model, given, setup.collator))
    model.train(was_training)
    if isinstance(outputs, dict) and "logits" not in outputs:
        what = f"{type(model).__name__} gives no scores (logits), only {', '.join(outputs)}"
        raise Problems(Problem("--model_name_or_path", what, "choose a checkpoint of another kind"))


def first_rows(model: Any, rows: Any, collator: Any) -> dict[str, Any]:
    """A batch of the first three rows, without labels, on the model's device."""
    picked = collator([rows[i] for i in range(min(3, len(rows)))])
    device = next(model.parameters()).device
    return {
        name: value.to(device) for name, value in picked.items() if name != "labels" and hasattr(value, "to")
    }


def find_on(model: Any, groups: list[LayerGroup], rows: Any, collator: Any) -> Readout | None:
    """The readout of a model, found on the first three of some rows."""
    given = first_rows(model, rows, collator)
    found = find_readout(model, groups, given)
    if found is None:
        return None
    tokens, width = find_tokens(model, given) or (None, None)
    return replace(found, tokens=tokens, width=width)


def reading_limit(setup: Setup) -> int | None:
    """How many training rows are read before training; all of them where they will be read whole anyway."""
    return None if all(phase.solve for phase in setup.phases) else MOST


def feature_rows(setup: Setup, split: str, limit: int | None = None) -> Rows:
    """Features and labels of a split, shared out over the processes; kept for as long as the weights stay.

    Args:
        limit: at most so many rows, evenly spaced.
    """
    return _rows(setup, split, limit)["own"]


def mean_rows(setup: Setup, split: str, limit: int | None = None) -> Rows | None:
    """As `feature_rows`, the mean over the tokens; None where there are none. One forward pass gives both."""
    return _rows(setup, split, limit).get("mean")


def _rows(setup: Setup, split: str, limit: int | None) -> dict[str, Rows]:
    readout, key = setup.readout, (split, limit)
    assert readout is not None
    if key not in setup.features:
        rows = setup.prepared.splits[split]
        if limit is not None and len(rows) > limit:
            rows = rows.select(np.linspace(0, len(rows) - 1, limit, dtype=int))
        labels = np.stack([np.asarray(value) for value in rows["labels"]])
        found = shared_scores(
            setup.model.to(setup.args.device),
            rows.remove_columns("labels"),
            setup.collator,
            setup.args.per_device_eval_batch_size,
            (setup.args.process_index, setup.args.world_size),
            read=lambda model, inputs: read_both(model, readout, inputs),
            title="reading features",
        )
        check_scores(found, f"{split} (features)")
        width = own_width(setup.model, readout)
        parts = {"own": found[:, :width]} | ({"mean": found[:, width:]} if readout.tokens else {})
        setup.features[key] = {
            name: Rows(part.astype(np.float64), labels, ROUNDING * float(np.sqrt(np.mean(np.square(part)))))
            for name, part in parts.items()
        }
    return dict(setup.features[key])


def own_width(model: Any, readout: Readout) -> int:
    """Of the features that the model's own head reads."""
    return int(model.get_submodule(readout.dense or readout.scores).weight.shape[1])


def solve(setup: Setup, phase: Phase) -> tuple[dict[str, Any], np.ndarray | None]:
    """Solve the head of `setup.model` in place.

    Returns:
        Facts for the ledger (solver, strength, view, loss, rows, seconds), and the validation rows' logits.

    Raises:
        RuntimeError: the model does not give the scores that were solved for.
    """
    assert setup.readout is not None and phase.solve is not None
    started = time.monotonic()
    train = weighted(setup, feature_rows(setup, "train"))
    validation = None
    if "validation" in setup.prepared.splits:
        validation = weighted(setup, feature_rows(setup, "validation"))
    solver, last = phase.solve, phase is setup.phases[-1]
    view, solved = from_first(setup.args, lambda: _sent(best_head(setup, solver, train, validation, last)))
    put(setup.model, setup.readout, view, solved.head)
    _check(setup, train, view, solved)
    problem, facts = (
        setup.model.config.problem_type,
        solved.facts | {"view": view.name, "pooling": setup.pooling},
    )
    facts["train_loss"] = loss(problem, solved.head(through(setup, view, train).features), train.labels)
    logits = None if validation is None else solved.head(through(setup, view, validation).features)
    if validation is not None and logits is not None:
        facts["eval_loss"] = loss(problem, logits, validation.labels)
    facts["seconds"] = round(time.monotonic() - started, 3)
    return facts, logits


def weighted(setup: Setup, rows: Rows) -> Rows:
    """The rows with the weights of their labels, where class weights were asked for."""
    if setup.class_weights is None:
        return rows
    if rows.labels.ndim == 2:
        yes, no = map(np.asarray, setup.class_weights)
        return replace(rows, weights=np.where(rows.labels == 1, yes, no))
    return replace(rows, weights=np.asarray(setup.class_weights)[rows.labels])


def best_head(
    setup: Setup, solver: str, train: Rows, validation: Rows | None, calibrated: bool = True
) -> tuple[View, Solved]:
    """The view and head with the least loss on validation (or on folds of the training rows); `calibrated` as in `solve_head`."""
    assert setup.readout is not None
    scores = setup.model.get_submodule(setup.readout.scores)
    problem, size = setup.model.config.problem_type, scores.weight.shape[0]
    found = [
        (view, solve_head(solver, problem, size, through(setup, view, train),
                          None if validation is None else through(setup, view, validation), scores.bias is not None, calibrated))
        for view in views(setup, train)
    ]  # fmt: skip
    return min(found, key=lambda pair: pair[1].loss)


def _sent(found: tuple[View, Solved]) -> tuple[View, Solved]:
    """Without the rows that it was chosen on, which other processes have no use for."""
    return found[0], replace(found[1], held=None)


def views(setup: Setup, train: Rows) -> list[View]:
    """The ways through the readout that the checkpoint's own class can express.

    A dense layer may stand as it is, or become a scaled identity, small enough for its activation to let the features
    through almost as they are (tanh), or shifted to where it does (ReLU, GELU): a pooler that was made for another
    task otherwise hides what the backbone knows.
    """
    readout = setup.readout
    assert readout is not None
    found = [View("as it stands" if readout.dense else "features", None, None)]
    if readout.dense is None:
        return found
    dense = setup.model.get_submodule(readout.dense)
    high, wide = dense.weight.shape
    if high >= wide and dense.bias is not None:
        scale = 0.25 / (float(train.features.std()) or 1.0)
        middle = train.features.mean(axis=0)
        for shift in (0.0, 1.0):
            bias = np.zeros(high)
            bias[:wide] = shift - scale * middle
            name = "dense layer as a scaled identity" + (" shifted by one" if shift else "")
            found.append(View(name, scale * np.eye(high, wide), bias))
    return found


def through(setup: Setup, view: View, rows: Rows) -> Rows:
    """What the last layer reads of these features."""
    import torch
    from transformers.activations import ACT2FN

    readout = setup.readout
    if readout is None or readout.dense is None:
        return rows
    dense = setup.model.get_submodule(readout.dense)
    own = [
        np.zeros(1) if part is None else part.detach().cpu().double().numpy()
        for part in (dense.weight, dense.bias)
    ]
    weight = own[0] if view.weight is None else view.weight
    bias = own[1] if view.bias is None else view.bias
    activation = ACT2FN[readout.activation]

    def mapped(features: np.ndarray) -> np.ndarray:
        found: np.ndarray = activation(torch.from_numpy(features @ weight.T + bias)).numpy()
        return found

    features, some = mapped(rows.features), rows.features[:64]
    noise = np.random.default_rng(0).normal(scale=rows.error, size=some.shape)
    error = float(np.sqrt(np.mean(np.square(mapped(some + noise) - features[:64]))))
    return replace(rows, features=features, error=error)


def put(model: Any, readout: Readout, view: View, head: Head) -> None:
    """Write a solved head, and the dense layer of its view, into the model."""
    import torch

    def write(name: str, weight: np.ndarray, bias: np.ndarray) -> None:
        layer = model.get_submodule(name)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            if layer.bias is not None:
                layer.bias.copy_(torch.from_numpy(bias))

    if readout.dense is not None and view.weight is not None and view.bias is not None:
        write(readout.dense, view.weight, view.bias)
    write(readout.scores, head.weight, head.bias)


def _check(setup: Setup, train: Rows, view: View, solved: Solved) -> None:
    """The whole model must give the scores of the solved head: on some rows, within what fp32 allows."""
    rows = setup.prepared.splits["train"].select(range(min(8, len(train.labels))))
    given = shared_scores(setup.model, rows.remove_columns("labels"), setup.collator, len(rows), (0, 1))
    wanted = solved.head(through(setup, view, Rows(train.features[: len(rows)], train.labels)).features)
    if not np.allclose(given, wanted, rtol=1e-3, atol=1e-3 * max(1.0, float(np.abs(wanted).max()))):
        raise RuntimeError(
            f"the model's scores differ from the solved head's by {np.abs(given - wanted).max():.2g}"
        )
