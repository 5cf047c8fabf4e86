"""Run by two_ranks.py, once in each of two processes: what they log, the final weights and what evaluation finds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import architectures
import torch
from peft import LoraConfig
from small_training import changed, make_setup, random_rows, state

from hf_transfer.data.batching import EpochSampler
from hf_transfer.solving import settle_solvers
from hf_transfer.strategies.lora import adapt
from hf_transfer.strategies.phases import Phase
from hf_transfer.tasks.task import Prepared
from hf_transfer.training.ledger import train_loss
from hf_transfer.training.phase import phase_trainer
from hf_transfer.training.train import train

STEPS = 20
LENGTHS = [(7 * i) % 23 for i in range(32)]


def trained(folder: Path, **arguments: Any) -> dict[str, Any]:
    """Twenty steps of eight rows without dropout, rows grouped by length: logged losses and gradient norms, weights."""
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = architectures.make("bert", **still)
    given = {"max_steps": STEPS, "optim": "sgd", "learning_rate": 0.1, "weight_decay": 0.01, "n": 32}
    given |= {"train_sampling_strategy": "group_by_length"}
    setup = make_setup(model, "bert", folder, **(given | arguments))
    setup.prepared = Prepared(setup.prepared.splits, {"train": LENGTHS})
    trainer = phase_trainer(setup, 1)
    trainer.train()
    rows = setup.prepared.splits["train"]
    uneven = trainer.evaluate(rows.select(range(11)))  # does not divide by two
    log = [row for row in trainer.state.log_history if "grad_norm" in row]
    return {
        "loss": [row["loss"] for row in log],
        "grad_norm": [row["grad_norm"] for row in log],
        "weights": {n: p.detach().clone() for n, p in model.named_parameters()},
        "eval_accuracy": uneven["eval_accuracy"],
        "eval_loss": trainer.evaluate(rows)["eval_loss"],
    }


def two_phases(folder: Path) -> list[list[float]]:
    """A head, then everything: checksums of the weights after each phase, of every process."""
    model = architectures.make("bert")
    everything = ("embeddings", "block.1", "block.2", "block.3", "head")
    strategy = [Phase("head", ("head",)), Phase("full", everything)]
    setup = make_setup(model, "bert", folder, strategy, max_steps=6, learning_rate=1e-2)
    sums: list[list[float]] = []
    for phase in strategy:
        setup.phases = [phase]
        train(setup)
        mine = torch.tensor(
            [sum(float(p.double().abs().sum()) for p in model.parameters())], dtype=torch.float64
        )
        both = [torch.zeros_like(mine), torch.zeros_like(mine)]
        torch.distributed.all_gather(both, mine)
        sums.append([float(value) for value in both])
    return sums


def uneven(folder: Path, name: str = "bert", **arguments: Any) -> dict[str, Any]:
    """Thirteen rows (or `n`), which no process count divides, over three epochs: losses and weights."""
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = architectures.make(name, **(still if name == "bert" else {}))
    strategy = arguments.pop("strategy", "full")
    if arguments.pop("lora", False):
        torch.manual_seed(0)
        model = adapt(model, LoraConfig(r=2))
    given = {"n": 13, "max_steps": -1, "num_train_epochs": 3, "optim": "sgd", "learning_rate": 0.1}
    setup = make_setup(model, name, folder, strategy, **(given | arguments))
    trainer = phase_trainer(setup, 1)
    trainer.train(resume_from_checkpoint=arguments.get("resume_from_checkpoint"))
    evaluated = trainer.evaluate(random_rows(name, 11, seed=2))
    mine = state(model)
    return {
        "loss": [row["loss"] for row in trainer.state.log_history if "grad_norm" in row],
        "train_loss": train_loss(trainer, 0),
        "eval": {key: evaluated[key] for key in ("eval_loss", "eval_accuracy")},
        "state": mine,
        "alike": replicas_alike(mine),
    }


def replicas_alike(mine: dict[str, torch.Tensor]) -> bool:
    """Whether all processes hold these tensors to the bit."""
    if not torch.distributed.is_initialized():
        return True
    sums = {name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in mine.items()}
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, sums)
    return all(other == sums for other in everyone)


# The rows that are left for the last round: 5 of 8, 1 of 8 (a process is idle), and with accumulation 1 of 16.
CASES: dict[str, dict[str, Any]] = {
    "uneven": {},
    "idle": {"n": 9, "logging_steps": 4},  # of 6: the last losses are in no log
    "accumulation": {"n": 25, "gradient_accumulation_steps": 2},
    "lora": {"lora": True},
    "frozen statistics": {"name": "resnet", "strategy": [Phase("head", ("head",), learning_rate=1e-3)]},
}


def solved(folder: Path, strategy: str, **sizes: Any) -> dict[str, Any]:
    """A strategy that solves its head, on thirteen rows and a few steps where it trains too."""
    model = architectures.make("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model.config.problem_type = "single_label_classification"
    folder.mkdir(parents=True, exist_ok=True)
    given = {"n": 13, "max_steps": 3, "optim": "sgd", "learning_rate": 0.1}
    setup = make_setup(model, "bert", folder, strategy, **(given | sizes))
    settle_solvers(setup)
    train(setup)
    mine = state(setup.model)
    return {"state": mine, "alike": replicas_alike(mine)}


SOLVED = ("ridge", "lp-ft", "contrastive")
SAVED: dict[str, Any] = {"n": 25, "save_strategy": "steps", "save_steps": 6}


def interrupted(folder: Path, **arguments: Any) -> list[bool]:
    """Whether a run that goes on from the middle of its second epoch ends with the weights of the whole run."""
    whole = uneven(folder / "whole", **SAVED, **arguments)
    checkpoint = folder / "whole" / "checkpoint-6"  # of 12 steps, 4 an epoch
    again = uneven(folder / "again", resume_from_checkpoint=str(checkpoint), **SAVED, **arguments)
    return [again["loss"] == whole["loss"], not changed(whole["state"], again["state"])]


def learning_statistics(folder: Path) -> dict[str, Any]:
    """Batch norm that learns, on rows of its own in each process: what is held after the phase, and what was measured."""
    model = architectures.make("resnet")
    setup = make_setup(model, "resnet", folder, max_steps=4, learning_rate=1e-2)
    trainer = phase_trainer(setup, 1)
    trainer.train()
    rows = random_rows("resnet", 8, seed=5)
    measured = trainer.predict(rows).predictions
    mine = state(trainer.plain_model())
    with torch.no_grad():
        again = model.eval()(pixel_values=torch.tensor(rows["pixel_values"])).logits.numpy()
    return {"alike": replicas_alike(mine), "difference": float(abs(measured - again).max())}


def main(folder: Path) -> None:
    cases = {key: uneven(folder / key, per_device_train_batch_size=4, **CASES[key]) for key in CASES}
    heads = {key: solved(folder / key, key, per_device_train_batch_size=4) for key in SOLVED}
    resumed = interrupted(folder / "interrupted", per_device_train_batch_size=4, save_total_limit=2)
    found = trained(folder / "run", per_device_train_batch_size=4)
    found["replicas"] = two_phases(folder / "phases")
    found["statistics"] = learning_statistics(folder / "statistics")
    assert torch.distributed.get_world_size() == 2
    if torch.distributed.get_rank() == 0:
        torch.save(found.pop("weights"), folder / "weights.pt")
        torch.save({"cases": cases, "resumed": resumed, "solved": heads}, folder / "uneven.pt")
        found["order"] = list(EpochSampler(32, seed=42, lengths=LENGTHS, batch_size=8))
        (folder / "found.json").write_text(json.dumps(found))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()  # or gloo's threads may abort a process that ends before the other
