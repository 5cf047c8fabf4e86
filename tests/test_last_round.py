"""The last round of an evaluation on several processes, seen from one of them; test_trainer.py runs two."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from architectures import make
from small_training import make_setup, random_rows
from transformers import TrainingArguments, default_data_collator

from hf_transfer.training.last_round import filled_up
from hf_transfer.training.phase import phase_trainer


@pytest.mark.parametrize(("remainder", "rank", "own"), [(3, 0, 3), (6, 1, 2), (3, 1, 1), (8, 1, 4)])
def test_rows_that_fill_up_are_not_computed(
    remainder: int, rank: int, own: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row goes through the model once; scores and labels have as many rows as those of the other processes."""
    setup = make_setup(make("bert"), "bert", tmp_path, per_device_eval_batch_size=4)
    trainer, seen = phase_trainer(setup, 1), []
    monkeypatch.setattr(TrainingArguments, "world_size", 2)
    monkeypatch.setattr(TrainingArguments, "process_index", rank)
    state = SimpleNamespace(end_of_dataloader=True, remainder=remainder)
    monkeypatch.setattr(trainer.accelerator, "gradient_state", state)
    plain = trainer.objective

    def counted(model: Any, inputs: Any) -> Any:
        seen.append(len(inputs["labels"]))
        return plain(model, inputs)

    trainer.objective = counted
    trainer.model.eval()
    batch = default_data_collator([random_rows("bert", 4)[i] for i in range(4)])
    loss, logits, labels = trainer.prediction_step(trainer.model, dict(batch), False)
    assert seen == [own]
    with torch.no_grad():
        whole = trainer.model(**{key: value[:own] for key, value in batch.items()})
    assert loss == pytest.approx(float(whole.loss))
    assert logits.shape[0] == labels.shape[0] == 4
    torch.testing.assert_close(logits[:own], whole.logits)
    assert labels[:own].tolist() == batch["labels"][:own].tolist()


def test_what_is_no_row_of_scores_stays() -> None:
    found = filled_up((torch.tensor([[1.0], [2.0]]), None, torch.tensor(3.0)), 4)
    assert found[0].tolist() == [[1.0], [2.0], [2.0], [2.0]] and found[1] is None and found[2] == 3.0
