"""`small_training` with a regularisation, and what two processes do with it (by two_ranks.py)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import architectures
import torch
from small_training import make_setup, state
from two_processes import replicas_alike

from hf_transfer.regularizing import regularize
from hf_transfer.strategies.regularization import Regularization
from hf_transfer.training.train import train

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
LABELS = ("a", "b", "c")
HEAD = ("classifier.weight", "classifier.bias", "classifier.1.weight", "classifier.1.bias")


def regular_setup(name: str, folder: Path, chosen: Regularization, *, seed: int = 0, **given: Any) -> Any:
    """The parts of a run with random rows of three labels; the head counts as new. `config`: of the model."""
    model = architectures.make(name, seed=seed, **given.pop("config", {}))
    setup = make_setup(model, name, folder, do_train=True, **given)
    rows = setup.prepared.splits["train"].rename_column("labels", "label")
    data: Any = SimpleNamespace(
        problem_type="single_label_classification", labels=LABELS, splits={"train": rows}
    )
    model.config.problem_type = data.problem_type
    head = [n for n, _ in model.named_parameters() if n.endswith(HEAD) and n.startswith("classifier")]
    regularize(setup, data, chosen, head)
    return setup


CASES: dict[str, tuple[Regularization, dict[str, Any]]] = {
    "ema, sampling, l2_sp": (Regularization(ema=0.9, weighted_sampling=True, l2_sp=0.1), {}),
    "class weights, soup": (
        Regularization(class_weights={"a": 4.0}, soup=3),
        {"eval_strategy": "steps", "eval_steps": 2},
    ),
    "mixout, r_drop": (Regularization(mixout=0.3, r_drop=1.0), {"config": {}}),
}


def trained(folder: Path, case: str, **sizes: Any) -> dict[str, Any]:
    """Three epochs of 13 rows, which no process count divides."""
    chosen, more = CASES[case]
    given = {"n": 13, "max_steps": -1, "num_train_epochs": 3, "optim": "sgd", "learning_rate": 0.1}
    setup = regular_setup("bert", folder, chosen, **(given | {"config": STILL} | more | sizes))
    ledger = train(setup)
    mine = state(setup.model)
    return {"state": mine, "alike": replicas_alike(mine), "soup": ledger[0].get("soup")}


def main(folder: Path) -> None:
    found = {
        case: trained(folder / str(i), case, per_device_train_batch_size=4) for i, case in enumerate(CASES)
    }
    assert torch.distributed.get_world_size() == 2
    if torch.distributed.get_rank() == 0:
        torch.save(found, folder / "found.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
