"""Which target rows join with which label, and that an interrupted run keeps them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from shifted_training import shifted_setup
from small_training import changed, state
from test_target_rows import TEXTS, run

from hf_transfer.shift.pseudo_labels import FILE, joined
from hf_transfer.strategies.regularization import Regularization
from hf_transfer.strategies.shift import Shift
from hf_transfer.training.train import train

BOTH = {"max_steps": 8, "save_strategy": "steps", "save_steps": 1}


def probabilities(setup: Any) -> np.ndarray:
    rows = setup.target.rows
    with torch.no_grad():
        ids = torch.tensor(rows["input_ids"][:])
        return setup.model.eval()(ids, torch.ones_like(ids))["logits"].softmax(-1).numpy()


def test_rows_at_or_above_the_threshold_join_with_their_label(tmp_path: Path) -> None:
    setup = shifted_setup("bert", tmp_path, Shift(pseudo_labels=0.5), targets=20)
    with torch.no_grad():
        setup.model.classifier.weight.mul_(40)  # surer of some than of others
    shares = probabilities(setup)
    threshold = float(np.sort(shares.max(axis=1))[8])  # passed by the row itself and eleven others
    setup.shift = Shift(pseudo_labels=threshold - 1e-6)
    found = joined(setup, tmp_path / "phase-2", going_on=False)
    sure = np.flatnonzero(shares.max(axis=1) >= threshold - 1e-6)
    assert len(sure) == 12 and len(found.rows) == 16 + 12
    assert found.rows["labels"][16:] == shares[sure].argmax(axis=1).tolist()
    assert found.rows["input_ids"][16:] == setup.target.rows.select(sure)["input_ids"][:]
    assert found.rows["labels"][:16] == setup.prepared.splits["train"]["labels"][:]
    assert found.facts["rows"] == sum(found.facts["labels"].values()) == 12


def test_an_interrupted_run_keeps_its_labels(tmp_path: Path) -> None:
    """Stopped in the further phase, with the labels that it was begun with, and predicted anew if it was stopped before."""
    chosen = Shift("dann", pseudo_labels=0.35)
    whole = shifted_setup("bert", tmp_path, chosen, **BOTH)
    ledger = train(whole)
    facts = ledger[1]["pseudo_labels"]
    assert 0 < facts["rows"] <= 10
    kept = tmp_path / "phase-2" / FILE
    for last in (3, None):  # the newest checkpoint of the phase, none
        for folder in (tmp_path / "phase-2").glob("checkpoint-*"):
            if last is None or int(folder.name.split("-")[1]) > last:
                shutil.rmtree(folder)
        if last is None:
            kept.write_text(json.dumps({"row": [0], "label": [0], "probability": [1.0]}))  # of another try
        (tmp_path / "phases.json").write_text(json.dumps(ledger[:1]))
        again = shifted_setup("bert", tmp_path, chosen, seed=5, **BOTH)
        assert train(again, resume=True)[1]["pseudo_labels"] == facts
        assert not changed(state(whole.model), state(again.model))


def test_sampling_counts_the_joined_rows(tmp_path: Path) -> None:
    setup = shifted_setup("bert", tmp_path, Shift(pseudo_labels=0.34), Regularization(weighted_sampling=True))
    found = joined(setup, tmp_path / "phase-2", going_on=False)
    labels = np.asarray(found.rows["labels"][:])
    sums = [found.row_weights[labels == label].sum() for label in set(labels.tolist())]
    assert len(found.row_weights) == 16 + found.facts["rows"] and np.allclose(sums, sums[0])


def test_no_row_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said when it is known and again at the end; the phase has its steps all the same."""
    base = tiny.tiny_bert(tmp_path)
    found = run(base, tmp_path, pseudo_labels=0.9999, target_file=TEXTS)
    said = " ".join(capsys.readouterr().out.split())
    assert "Pseudo-labels: 0 of 30 target rows have one with a probability of 0.9999 or more" in said
    assert "no target row was predicted with a probability of 0.9999: nothing joined" in said
    ledger = json.loads((Path(found.output_dir) / "phases.json").read_text())
    assert [entry["steps"] for entry in ledger] == [2, 2]
    warnings = found.record["data"]["audit"]["warnings"]
    assert any(warning["where"] == "--pseudo_labels" for warning in warnings)
