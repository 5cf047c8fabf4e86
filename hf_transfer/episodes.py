"""Few-shot evaluation of a frozen checkpoint: many small tasks drawn from one data set (Vinyals et al. 2016; Snell et al. 2017).

An episode has `ways` labels, `shots` rows of each to learn from and `queries` others of each to measure on. Features are read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.problems import Problem, Problems

if TYPE_CHECKING:
    from hf_transfer.tasks.task import Task

SOLVERS = ("prototypes", "knn", "ridge", "logistic")
SINGLE = "single_label_classification"


def evaluate_episodes(
    task: Task | str,
    model: Any,
    dataset: Any,
    *,
    processor: Any = None,
    ways: int = 5,
    shots: int | Sequence[int] = 1,
    queries: int = 15,
    episodes: int = 600,
    solvers: Sequence[str] = ("prototypes", "knn", "ridge"),
    pooling: str = "own",
    seed: int = 42,
    batch_size: int = 32,
    **data_options: Any,
) -> dict[str, float]:
    """How well heads solved on few rows tell labels apart by the features of a checkpoint that stays as it is.

    Args:
        task: a `Task`, or the Hub's pipeline tag.
        model: a Hub id, a folder, or a model as for `finetune`.
        dataset: as for `finetune`; the rows of all splits are taken together, as nothing is trained.
        ways: labels of an episode; shots: rows of each that are learned from, one number or several.
        queries: rows of each that are measured on; episodes: how many are drawn, the same for all solvers.
        solvers: of `prototypes`, `knn`, `ridge`, `logistic`.
        pooling: `own`, what the checkpoint's class reads, or `mean`, the mean over the tokens of a text.
        seed: of the episodes.
        **data_options: the keyword arguments of `load` (`label_column=...`).

    Returns:
        For each solver and number of shots `<solver>_<shots>shot_accuracy`, mean over episodes, and its 95 % interval
        (`..._ci95_low`, `_high`: 1.96 standard errors over the episodes). The interval says how well these labels and
        rows were sampled, not what other labels would give.

    Raises:
        Problems: too few labels with enough rows, or a model without such features.
    """
    from hf_transfer.data import Data, load
    from hf_transfer.tasks import find

    task = find(task) if isinstance(task, str) else task
    data = dataset if isinstance(dataset, Data) else load(task, dataset, seed=seed, **data_options)
    if data.problem_type != SINGLE:
        what = f"episodes need one label a row, and this is {data.problem_type.replace('_', ' ')}"
        raise Problems(Problem("labels", what, "give data with one label a row"))
    counts = [shots] if isinstance(shots, int) else list(shots)
    labels = np.concatenate([np.asarray(rows["label"][:]) for rows in data.splits.values()])
    for count in counts:  # before features are read
        enough(labels, ways, count + queries)
    features = read_features(task, model, data, processor, pooling, seed, batch_size)
    found: dict[str, float] = {}
    for count in counts:
        for solver in solvers:
            each = episode_accuracies(features, labels, solver, ways, count, queries, episodes, seed)
            mean, error = float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))
            key = f"{solver}_{count}shot_accuracy"
            found |= {
                key: mean,
                f"{key}_ci95_low": mean - 1.96 * error,
                f"{key}_ci95_high": mean + 1.96 * error,
            }
    return found


def episode_accuracies(
    features: np.ndarray,
    labels: np.ndarray,
    solver: str = "prototypes",
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    episodes: int = 600,
    seed: int = 42,
) -> np.ndarray:
    """Accuracy of each episode (episodes,).

    Args:
        features: (n, D); labels: (n,) whole numbers.
        solver: strengths and k are chosen on folds of the episode's own rows, where there are enough.
        seed: the same gives the same episodes, whatever the solver.

    Raises:
        Problems: too few labels have enough rows, or fewer than two episodes.
    """
    if episodes < 2:
        raise Problems(Problem("episodes", f"{episodes} give no interval", "give at least 2"))
    able = enough(labels, ways, shots + queries)
    rows = {label: np.flatnonzero(labels == label) for label in able}
    found = np.empty(episodes)
    for number in range(episodes):
        rng = np.random.default_rng([seed, number])
        drawn = [
            rng.permutation(rows[label])[: shots + queries] for label in rng.choice(able, ways, replace=False)
        ]
        support, query = (
            np.concatenate(part) for part in zip(*((d[:shots], d[shots:]) for d in drawn), strict=True)
        )
        guesses = _answers(
            solver, features[support], np.repeat(np.arange(ways), shots), features[query], ways
        )
        found[number] = np.mean(guesses == np.repeat(np.arange(ways), queries))
    return found


def enough(labels: np.ndarray, ways: int, rows: int) -> np.ndarray:
    """The labels that have so many rows.

    Raises:
        Problems: they are fewer than `ways`.
    """
    names, counts = np.unique(labels, return_counts=True)
    able = names[counts >= rows]
    if ways < 2:
        raise Problems(Problem("ways", f"{ways} labels are no choice", "give at least 2"))
    if len(able) < ways:
        what = f"{len(able)} of {len(names)} labels have the {rows} rows (shots and queries) of an episode with {ways} labels"
        raise Problems(Problem("dataset", what, "lower ways, shots or queries, or give more rows"))
    return able


def read_features(
    task: Task, model: Any, data: Any, processor: Any, pooling: str, seed: int, batch_size: int
) -> np.ndarray:
    """Features (n, D) of all rows of all splits, in eval mode and fp32.

    Raises:
        Problems: the model's scores are not a linear function of features; or it has no tokens to take the mean of.
    """
    import torch

    from hf_transfer.anatomy import layer_groups
    from hf_transfer.models import in_fp32, loaded
    from hf_transfer.predict import scores
    from hf_transfer.solving import find_on, own_width
    from hf_transfer.strategies.features import read_both

    model, processor = loaded(task, model, processor, data, seed)
    in_fp32(model)
    task.fit(processor, model)
    prepared, collator = task.prepare(data, processor, model, None), task.collator(processor)
    splits = {split: rows.remove_columns("labels") for split, rows in prepared.splits.items()}
    readout = find_on(model, layer_groups(model), next(iter(splits.values())), collator)
    if readout is None:
        what = f"the scores of {type(model).__name__} are not a linear function of features"
        raise Problems(Problem("model", what, "choose another checkpoint"))
    if pooling not in ("own", "mean") or (pooling == "mean" and readout.tokens is None):
        what = f"{pooling!r} is no way to read {type(model).__name__}"
        raise Problems(Problem("pooling", what, "choose own" + (" or mean" if readout.tokens else "")))
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    width = own_width(model, readout)
    both = np.concatenate(
        [
            scores(
                model,
                rows,
                collator,
                batch_size,
                True,
                lambda m, x: read_both(m, readout, x),
                "reading features",
            )
            for rows in splits.values()
        ]
    ).astype(np.float64)
    return both[:, :width] if pooling == "own" else both[:, width:]


def _answers(
    solver: str, support: np.ndarray, labels: np.ndarray, query: np.ndarray, ways: int
) -> np.ndarray:
    """The label (n,) that a head solved on the support gives each query."""
    from hf_transfer.strategies.selection import Rows
    from hf_transfer.strategies.solvers import solve_head

    rows = Rows(support, labels)
    if solver not in SOLVERS:
        raise Problems(Problem("solvers", f"there is no {solver!r}", f"choose of {', '.join(SOLVERS)}"))
    if solver == "knn":
        return _by_vote(rows, query, ways)
    found: np.ndarray = solve_head(solver, SINGLE, ways, rows).head(query).argmax(axis=1)
    return found


def _by_vote(rows: Any, query: np.ndarray, ways: int) -> np.ndarray:
    import torch

    from hf_transfer.strategies.neighbours import as_targets, choose_neighbours, nearest, vote

    k = choose_neighbours(SINGLE, ways, rows).k
    reference = torch.nn.functional.normalize(torch.from_numpy(rows.features), dim=1)
    scores = vote(
        SINGLE, *nearest(torch.from_numpy(query), reference, k), as_targets(SINGLE, rows.labels), ways
    )
    return np.asarray(scores.argmax(dim=1).numpy())
