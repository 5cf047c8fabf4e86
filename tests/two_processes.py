"""Run by test_trainer.py, once in each of two processes: what they log, the final weights and what evaluation finds.

python -m torch.distributed.run --nproc_per_node 2 tests/two_processes.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import architectures
import torch
from small_training import make_setup

from hf_transfer.data.batching import EpochSampler
from hf_transfer.strategies.phases import Phase
from hf_transfer.tasks.task import Prepared
from hf_transfer.training import phase_trainer, train

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


def main(folder: Path) -> None:
    found = trained(folder / "run", per_device_train_batch_size=4)
    found["replicas"] = two_phases(folder / "phases")
    assert torch.distributed.get_world_size() == 2
    if torch.distributed.get_rank() == 0:
        torch.save(found.pop("weights"), folder / "weights.pt")
        found["order"] = list(EpochSampler(32, seed=42, lengths=LENGTHS, batch_size=8))
        (folder / "found.json").write_text(json.dumps(found))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()  # or gloo's threads may abort a process that ends before the other


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
