"""The parts of a run (`Setup`) for a small architecture on random rows, without `finetune` around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import architectures
import torch
from datasets import Dataset
from transformers import TrainingArguments, default_data_collator

from hf_transfer.anatomy import layer_groups
from hf_transfer.evaluation.classification import compute
from hf_transfer.strategies.phases import phases
from hf_transfer.tasks.task import Prepared
from hf_transfer.training.setup import Setup


class NoProcessor:
    """Stands for a tokenizer where rows are made already: saves nothing."""

    def save_pretrained(self, folder: str) -> None: ...


def random_rows(name: str, n: int, seed: int = 0) -> Dataset:
    """Inputs for the architecture `name`, with labels 0, 1, 2 in turn."""
    columns = {key: value.tolist() for key, value in architectures.inputs(name, n, seed).items()}
    return Dataset.from_dict(columns | {"labels": [i % 3 for i in range(n)]})


def training_arguments(folder: Path, **changes: Any) -> TrainingArguments:
    """Quiet, on the CPU, four rows a step, AdamW at 1e-3 without schedule; `changes` replaces any of it."""
    given: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "report_to": "none",
        "disable_tqdm": True,
        "per_device_train_batch_size": 4,
        "max_steps": 4,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "optim": "adamw_torch",
        "restore_callback_states_from_checkpoint": True,
    }
    return TrainingArguments(**(given | changes))


def make_setup(
    model: Any, name: str, folder: Path, strategy: Any = "full", n: int = 16, **arguments: Any
) -> Setup:
    """All that the phases of a run share; validation rows are there when an evaluation is asked for."""
    groups = layer_groups(model)
    splits = {"train": random_rows(name, n)}
    if arguments.get("eval_strategy", "no") != "no":
        splits["validation"] = random_rows(name, 8, seed=1)
    return Setup(
        model=model,
        groups=groups,
        phases=phases(strategy, groups),
        trainable=frozenset(n for n, parameter in model.named_parameters() if parameter.requires_grad),
        args=training_arguments(folder, **arguments),
        prepared=Prepared(splits),
        collator=default_data_collator,
        processor=None,
        compute_metrics=lambda found: compute(
            "single_label_classification", found.predictions, found.label_ids, num_labels=3
        ),
    )


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every parameter and buffer, those that are not saved too."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in tensors}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Names of what is not bit-identical."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}
