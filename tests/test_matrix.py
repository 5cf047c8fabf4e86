"""Every strategy on every architecture for every task, through the whole of `finetune`: tiny models, eight steps.

CI takes one cell of every second architecture, another strategy and task each time; `-m full` takes them all.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import image_runs
import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from architectures import make
from classifiers import IMAGES, TEXT
from transformers import AutoModel

from hf_transfer import Run, finetune
from hf_transfer.anatomy import HEAD, layer_groups
from hf_transfer.pooled import PooledClassifier
from hf_transfer.problems import Problems

STRATEGIES = (
    "full",
    "feature-extraction",
    "partial:1",
    "bitfit",
    "norms",
    "two-phase",
    "lp-ft",
    "gradual",
    "prototypes",
    "knn",
    "ridge",
    "contrastive",
    "auto",
)
TASKS = ("single", "multi", "regression", "pairs")
STILL = ("feature-extraction", "prototypes", "knn", "ridge")  # all but the head stays as it was
CLASSES = ("prototypes", "contrastive")  # need one class a row
FILE = ("split", "label", "image")  # an image's folders and name
SHORT = {
    "max_steps": 8,
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-3,
    "disable_tqdm": True,
    "report_to": "none",
    "use_cpu": True,
}


def cells() -> list[Any]:
    """(architecture, task, strategy), all that make sense; CI takes every second architecture, each with others."""
    found = []
    for i, name in enumerate((*TEXT, *IMAGES)):
        fitting = [
            (task, strategy)
            for strategy in STRATEGIES
            for task in (TASKS if name in TEXT else ("images",))
            if strategy not in CLASSES or task not in ("multi", "regression")
        ]
        for j, (task, strategy) in enumerate(fitting):
            marks = () if i % 2 == 0 and j == i * 5 // 2 % len(fitting) else pytest.mark.full
            found.append(pytest.param(name, task, strategy, id=f"{name}-{task}-{strategy}", marks=marks))
    return found


@pytest.mark.parametrize(("name", "task", "strategy"), cells())
def test_the_run_is_whole(name: str, task: str, strategy: str, tmp_path: Path, image_folder: Path) -> None:
    """What was not to learn stands as it was, and the saved model gives the answers that were measured."""
    base = image_runs.save(name, tmp_path) if task == "images" else saved(name, tmp_path)
    options = {
        "task": "image-classification" if task == "images" else "text-classification",
        "model": base,
        "dataset": image_folder if task == "images" else rows(task),
        "args": {**SHORT, "output_dir": str(tmp_path / "run")},
        "strategy": strategy,
        "cpu_threads": 1,
        "skip_reload_check": True,
    }
    if strategy == "bitfit" and not any(key.endswith("bias") for key in state(make(name))):
        with pytest.raises(Problems, match="no biases"):
            finetune(**options)
        return
    run = finetune(**options)
    assert all(math.isfinite(value) for value in run.metrics.values())
    opened = Run.open(run.output_dir)
    if strategy in STILL:
        pooled = isinstance(opened.model, PooledClassifier)  # the mean over the tokens was the better reading
        plain = opened.model.base if strategy == "knn" else opened.model
        after = opened.model.backbone.state_dict() if pooled else state(plain)
        kind = AutoModel if pooled else type(plain)
        before = state(kind.from_pretrained(base))
        assert before.keys() <= after.keys() and all(torch.equal(after[key], before[key]) for key in before)
    measured = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    paths = (
        [str(image_folder / s / c / n) for s, c, n in zip(*map(measured.get, FILE), strict=True)]
        if task == "images"
        else []
    )
    answers = opened.predict(paths or measured)
    if task == "regression":
        np.testing.assert_allclose([a["value"] for a in answers], measured["prediction"], atol=1e-4)
    for label in answers[0].get("probabilities", ()):
        found = [answer["probabilities"][label] for answer in answers]
        np.testing.assert_allclose(found, measured[f"probability_{label}"], atol=1e-4)


def saved(name: str, folder: Path) -> str:
    """The tiny model and its tokenizer in a folder."""
    make(name, pad_token_id=0).save_pretrained(str(folder / name))  # as the tokenizer has it
    tiny.tiny_tokenizer().save_pretrained(str(folder / name))
    return str(folder / name)


def rows(task: str) -> list[dict[str, Any]]:
    return tiny.rows(60, "single" if task == "pairs" else task, pairs=task == "pairs")


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers below the head, by name."""
    below = {
        name
        for group in layer_groups(model)
        if group.name != HEAD
        for name in (*group.parameters, *group.buffers)
    }
    return {name: tensor for name, tensor in model.state_dict().items() if name in below}
