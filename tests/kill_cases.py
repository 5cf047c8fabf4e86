"""Ways to train that kills.py interrupts: each a case, and the run as a recipe would start it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
from transformers import TrainingArguments, ViTConfig, ViTForImageClassification, ViTImageProcessor

from hf_transfer import IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION, finetune

QUIET = {"report_to": "none", "disable_tqdm": True, "logging_steps": 3, "use_cpu": True}
QUIET |= {"learning_rate": 2e-3, "dataloader_pin_memory": False, "per_device_eval_batch_size": 8}
SAVE: dict[str, Any] = {"save_strategy": "steps", "eval_strategy": "steps", "save_total_limit": 1}


@dataclass(frozen=True)
class Case:
    """One way to train: arguments of `finetune`, and on how many gloo ranks."""

    name: str
    args: dict[str, Any]
    ranks: int = 1
    images: bool = False
    lora: bool = False
    options: tuple[tuple[str, Any], ...] = ()


EVERY = {**SAVE, "load_best_model_at_end": True, "max_steps": 11, "save_steps": 2, "eval_steps": 2}
SMALL = {"per_device_train_batch_size": 8}
CASES = [
    # dropout, masked words, accumulation, grouping by length; logs and checkpoints out of step
    Case(
        "accumulation, lengths, masking",
        EVERY
        | {
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 3,
            "train_sampling_strategy": "group_by_length",
        },
    ),
    Case("two phases", EVERY | SMALL, options=(("strategy", "two-phase"), ("layer_decay", 0.8))),
    Case("LoRA", EVERY | SMALL, lora=True),
    Case("ViT, augmentation", EVERY | SMALL | {"max_steps": 7}, images=True),
    # evaluation and checkpoint at different times, which meet at the end of an epoch
    Case(
        "saved by steps, measured by epoch",
        SMALL
        | {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "epoch", "num_train_epochs": 2}
        | {"load_best_model_at_end": False, "save_total_limit": 2, "logging_strategy": "epoch"},
    ),  # fmt: skip
    Case(
        "early stopping",
        EVERY | SMALL | {"max_steps": 40, "learning_rate": 2e-2, "metric_for_best_model": "eval_loss"},
        options=(("early_stopping_patience", 2),),
    ),
    Case(
        "epochs",
        SMALL
        | {"save_strategy": "epoch", "eval_strategy": "epoch", "num_train_epochs": 3, "save_total_limit": 1},
    ),
    Case(
        "two ranks, lengths",
        EVERY | {"per_device_train_batch_size": 4, "train_sampling_strategy": "group_by_length"},
        ranks=2,
    ),
    Case(
        "two ranks, two phases, accumulation",
        EVERY | {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
        ranks=2,
        options=(("strategy", "two-phase"),),
    ),
    Case("two ranks, LoRA", EVERY | SMALL | {"per_device_train_batch_size": 4}, ranks=2, lora=True),
]


def masked(collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A collator that hides one word in five, at random."""

    def hide(rows: list[Any]) -> Any:
        batch = collate(rows)
        if "labels" in batch:
            hidden = torch.rand(batch["input_ids"].shape) < 0.2
            batch["input_ids"][hidden & (batch["input_ids"] > 4)] = 4
        return batch

    return hide


def augmented(collate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A collator that mirrors images and adds noise, from all three random states."""

    def change(rows: list[Any]) -> Any:
        batch = collate(rows)
        if "labels" in batch:
            pixels = batch["pixel_values"]
            pixels = torch.stack([p.flip(-1) if random.random() < 0.5 else p for p in pixels])
            batch["pixel_values"] = pixels * float(np.random.uniform(0.8, 1.2)) + 0.1 * torch.randn_like(
                pixels
            )
        return batch

    return change


def make_parts(folder: Path) -> None:
    """A tiny BERT and rows, a tiny ViT and images."""
    tiny.tiny_bert(folder)
    (folder / "rows.json").write_text(json.dumps(tiny.rows(60)))
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = ViTConfig(image_size=16, patch_size=8, num_labels=2, hidden_dropout_prob=0.1, **small)
    ViTForImageClassification(config).save_pretrained(folder / "vit")
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder / "vit")


def images() -> Any:
    """Forty images of noise, the second class brighter."""
    from datasets import Dataset, Features, Image, Value
    from PIL import Image as PillowImage

    generator = np.random.default_rng(0)
    rows = {
        "image": [
            PillowImage.fromarray(generator.integers(60 * (i % 2), 200, (16, 16, 3), dtype=np.uint8))
            for i in range(40)
        ],
        "label": [("dark", "bright")[i % 2] for i in range(40)],
    }
    return Dataset.from_dict(rows, features=Features({"image": Image(), "label": Value("string")}))


def start(case: Case, parts: Path, folder: Path, resume: bool) -> Any:
    """The run as a recipe would start it."""
    from peft import LoraConfig

    task = IMAGE_CLASSIFICATION if case.images else TEXT_CLASSIFICATION
    more = (augmented if case.images else masked)(task.collator(None)) if case.images else None
    if not case.images:
        plain = task.collator
        task = replace(task, collator=lambda processor: masked(plain(processor)))
    else:
        task = replace(task, collator=lambda processor: more)
    given = {**QUIET, **case.args, "output_dir": str(folder), "resume_from_checkpoint": resume or None}
    given = {"load_best_model_at_end": True, **given}
    args = TrainingArguments(**given, do_train=True, do_eval=True, do_predict=True)
    return finetune(
        task,
        str(parts / ("vit" if case.images else "tiny_bert")),
        images() if case.images else json.loads((parts / "rows.json").read_text()),
        args=args,
        peft_config=LoraConfig(r=2, lora_dropout=0.1) if case.lora else None,
        skip_reload_check=True,
        cpu_threads=1,
        **dict(case.options),
    )
