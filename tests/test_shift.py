"""A shift on which training rows alone mislead: alignment mends it, on rows whose labels nothing reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from shifted_training import STILL, shifted_setup

from hf_transfer.strategies.shift import Shift
from hf_transfer.training.train import train

CUE, HINT, NEUTRAL, FILLER = (30, 40), (10, 15), (20, 20), (50, 50)  # first of a few tokens, by label
STEPS = {"per_device_train_batch_size": 16, "max_steps": 160, "learning_rate": 1e-3, "logging_steps": 40}


def sentences(n: int, seed: int, target: bool) -> Dataset:
    """Three words in random order. A cue gives the label in both domains, in one of ten training rows the other's.

    Beside it stands a word of the domain: in training rows one that gives the label away, in target rows one that does not.
    So a model that learns from training rows goes by a word that the target has not.
    """
    generator = np.random.default_rng(seed)
    labels = generator.integers(2, size=n)
    wrong = (generator.random(n) < 0.1) & (not target)
    words = [
        np.asarray(CUE)[labels ^ wrong] + generator.integers(4, size=n),
        np.asarray(NEUTRAL if target else HINT)[labels] + generator.integers(3, size=n),
        np.asarray(FILLER)[labels] + generator.integers(8, size=n),
    ]
    mixed = generator.permuted(np.stack(words, axis=1), axis=1)
    ids = np.concatenate([np.ones((n, 1), dtype=np.int64), mixed], axis=1)
    return Dataset.from_dict(
        {"input_ids": ids.tolist(), "attention_mask": np.ones_like(ids).tolist(), "labels": labels.tolist()}
    )


def accuracies(folder: Path, chosen: Shift) -> dict[str, float]:
    """Of a tiny BERT from random weights, on new rows of both domains."""
    setup = shifted_setup(
        "bert",
        folder,
        chosen,
        train_rows=sentences(480, 0, target=False),
        targets=sentences(480, 1, target=True).remove_columns("labels"),
        config=STILL | {"num_hidden_layers": 2, "num_labels": 2},
        **STEPS,
    )
    train(setup)
    found = {}
    for name, target in (("training domain", False), ("target", True)):
        rows = sentences(300, 2, target)
        with torch.no_grad():
            scores = setup.model.eval()(torch.tensor(rows["input_ids"][:]))["logits"]
        found[name] = float((scores.argmax(-1) == torch.tensor(rows["labels"][:])).float().mean())
    return found


@pytest.mark.parametrize(
    "chosen", [Shift("dann"), pytest.param(Shift("coral"), marks=pytest.mark.full)], ids=["dann", "coral"]
)
def test_the_target_gains(chosen: Shift, tmp_path: Path) -> None:
    assert accuracies(tmp_path, chosen)["target"] > 0.9


def test_training_rows_alone_mislead(tmp_path: Path) -> None:
    found = accuracies(tmp_path, Shift())
    assert found["training domain"] > 0.95 and found["target"] < 0.7
