"""`small_training` with rows of a target domain, and what two processes do with them (by two_ranks.py)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import architectures
import torch
from small_training import make_setup, random_rows, state
from two_processes import replicas_alike

from hf_transfer.regularizing import regularize
from hf_transfer.shift.settling import settle_shift
from hf_transfer.shift.target import Target
from hf_transfer.strategies.regularization import Regularization
from hf_transfer.strategies.shift import Shift
from hf_transfer.training.train import train

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
DANN, CORAL = Shift("dann"), Shift("coral")


def shifted_setup(
    name: str,
    folder: Path,
    chosen: Shift,
    regular: Regularization | None = None,
    *,
    targets: Any = 10,
    seed: int = 0,
    model: Any = None,
    train_rows: Any = None,
    **given: Any,
) -> Any:
    """The parts of a run with random rows of three labels beside target rows (their number, or the rows themselves)."""
    model = model or architectures.make(name, seed=seed, **given.pop("config", {}))
    setup = make_setup(model, name, folder, do_train=True, **given)
    if train_rows is not None:
        setup.prepared.splits["train"] = train_rows
    model.config.problem_type = "single_label_classification"
    rows = (
        random_rows(name, targets, seed=9).remove_columns("labels") if isinstance(targets, int) else targets
    )
    settle_shift(setup, chosen, Target(rows, None, "random"))
    labelled = setup.prepared.splits["train"].rename_column("labels", "label")
    data: Any = SimpleNamespace(
        problem_type="single_label_classification", labels=("a", "b", "c"), splits={"train": labelled}
    )
    regularize(setup, data, regular or Regularization(), [])
    return setup


def trained(folder: Path, chosen: Shift, **sizes: Any) -> dict[str, Any]:
    """Three epochs of 13 rows, which no process count divides, without dropout."""
    given = {"n": 13, "max_steps": -1, "num_train_epochs": 3, "optim": "sgd", "learning_rate": 0.1}
    setup = shifted_setup("bert", folder, chosen, **(given | {"config": STILL} | sizes))
    ledger = train(setup)
    mine = state(setup.model) | {f"domain {n}": p for n, p in state(setup.alignment.classifier).items()}
    return {"state": mine, "alike": replicas_alike(mine), "align": ledger[-1]["align"]}


def main(folder: Path) -> None:
    found = trained(folder, DANN, per_device_train_batch_size=4)
    assert torch.distributed.get_world_size() == 2
    if torch.distributed.get_rank() == 0:
        torch.save(found, folder / "found.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
