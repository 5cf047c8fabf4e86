"""Self-training: target rows with the label that was predicted for them join the training rows of a further phase."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.evaluation.classification import probabilities
from hf_transfer.plan import console
from hf_transfer.predict import shared_scores
from hf_transfer.ranks import from_first
from hf_transfer.run_folder import read_json, write_json
from hf_transfer.strategies.shift import SINGLE

if TYPE_CHECKING:
    from hf_transfer.training.setup import Setup

FILE = "pseudo_labels.json"  # of the phase's folder: numbers of target rows, label ids, probabilities


@dataclass(frozen=True)
class Joined:
    """Training rows of the further phase: the labelled ones, and behind them the confident target rows."""

    rows: Any
    lengths: list[int] | None
    row_weights: Any
    facts: dict[str, Any]


def joined(setup: Setup, folder: Path, going_on: bool) -> Joined:
    """The rows of the phase of pseudo-labels, which are predicted with the weights as they are now.

    Args:
        folder: of the phase, where the labels are kept.
        going_on: a checkpoint of this phase is gone on from: the labels it was begun with are taken.
    """
    threshold = setup.shift.threshold
    assert setup.target is not None and threshold is not None
    found = from_first(setup.args, lambda: _kept(folder)) if going_on else None
    if found is None:
        found = _predicted(setup, threshold)
        if setup.args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / FILE, found)
    names = [setup.model.config.id2label[i] for i in range(setup.model.config.num_labels)]
    counts = np.bincount(np.asarray(found["label"], dtype=np.int64), minlength=len(names))
    facts: dict[str, Any] = {"threshold": threshold, "rows": len(found["row"]), "of": len(setup.target.rows)}
    facts["labels"] = dict(zip(names, counts.tolist(), strict=True))
    if setup.args.process_index == 0:
        console().print(_sentence(facts), markup=False)
    return _joined(setup, np.asarray(found["row"], np.int64), np.asarray(found["label"], np.int64), facts)


def _kept(folder: Path) -> dict[str, list[Any]] | None:
    return read_json(folder / FILE) if (folder / FILE).is_file() else None


def _predicted(setup: Setup, threshold: float) -> dict[str, list[Any]]:
    args = setup.args
    assert setup.target is not None
    logits = shared_scores(
        setup.model.to(args.device),
        setup.target.rows,
        setup.collator,
        args.per_device_eval_batch_size,
        (args.process_index, args.world_size),
        title="pseudo-labels",
    )
    shares = probabilities(SINGLE, logits)
    rows = np.flatnonzero(shares.max(axis=1) >= threshold)
    best = shares[rows].max(axis=1).astype(float)
    return {"row": rows.tolist(), "label": shares[rows].argmax(axis=1).tolist(), "probability": best.tolist()}


def _sentence(facts: dict[str, Any]) -> str:
    told = f"Pseudo-labels: {facts['rows']:,} of {facts['of']:,} target rows have one with a probability of "
    told += f"{facts['threshold']:g} or more"
    if not facts["rows"]:
        return f"{told}: the phase trains on the training rows alone."
    return f"{told}: {', '.join(f'{name} {count:,}' for name, count in facts['labels'].items())}."


def _joined(setup: Setup, places: np.ndarray, ids: np.ndarray, facts: dict[str, Any]) -> Joined:
    from hf_transfer.strategies.balance import row_weights

    train, lengths = setup.prepared.splits["train"], setup.prepared.lengths.get("train")
    assert setup.target is not None
    if not len(places):
        return Joined(train, lengths, setup.row_weights, facts)
    if lengths is not None and setup.target.lengths is not None:
        lengths = [*lengths, *(int(setup.target.lengths[i]) for i in places)]
    weights = setup.row_weights
    if weights is not None:
        weights = row_weights(np.concatenate([np.asarray(train["labels"]), ids]), len(facts["labels"]))
    return Joined(_both(train, setup.target.rows, places, ids), lengths, weights, facts)


def _both(train: Any, targets: Any, places: np.ndarray, ids: np.ndarray) -> Any:
    """Training rows and, behind them, these target rows with label ids."""
    import torch
    from datasets import Dataset, concatenate_datasets
    from torch.utils.data import ConcatDataset

    if isinstance(train, Dataset):
        more = targets.select(places).add_column("labels", list(ids))
        alike = more.features == train.features  # to cast would show a bar
        return concatenate_datasets([train, more if alike else more.cast(train.features)])
    labels = torch.zeros(len(targets), dtype=torch.int64)
    labels[torch.from_numpy(places)] = torch.from_numpy(ids)
    return ConcatDataset([train, targets.labelled(labels).select(places)])
