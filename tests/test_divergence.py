"""Losses and scores that are no numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from architectures import make
from resumed_runs import go_on
from small_training import make_setup
from transformers import Trainer, TrainerCallback, default_data_collator

from hf_transfer.problems import Diverged
from hf_transfer.saved import newest_checkpoint
from hf_transfer.training.phase import phase_trainer
from hf_transfer.training.train import train


def poisoned(bad: int) -> Any:
    """An objective whose loss is no number where row `bad` (by its first token) is in the batch."""

    def objective(model: Any, inputs: Any) -> Any:
        outputs = model(**inputs)
        wrong = (inputs["input_ids"] == bad).any() if model.training else torch.tensor(False)
        return outputs["loss"] * (float("nan") if wrong else 1.0), outputs

    return objective


def test_a_loss_that_is_no_number_is_named_with_step_and_rows(tmp_path: Path) -> None:
    given = {"max_steps": 8, "logging_steps": 50, "n": 16, "per_device_train_batch_size": 2}
    given |= {"gradient_accumulation_steps": 2, "save_strategy": "steps", "save_steps": 2}
    setup = make_setup(make("bert"), "bert", tmp_path, **given)
    rows = setup.prepared.splits["train"].to_dict()
    rows["input_ids"] = [[3] * len(ids) for ids in rows["input_ids"]]
    rows["input_ids"][11][0] = 9
    setup.prepared.splits["train"] = type(setup.prepared.splits["train"]).from_dict(rows)
    order = list(phase_trainer(setup, 1)._get_train_sampler())
    place = order.index(11)
    step, pair = place // 4 + 1, order[place - place % 2 : place - place % 2 + 2]
    setup.objective = poisoned(9)
    with pytest.raises(Diverged, match=rf"\(nan\) at step {step} .*batch: {pair[0]}, {pair[1]}\.") as error:
        train(setup)
    assert "--learning_rate" in str(error.value)
    kept = newest_checkpoint(tmp_path)
    assert (kept.name if kept else None) == (f"checkpoint-{(step - 1) // 2 * 2}" if step > 2 else None)
    assert "same" not in error.value.safe or kept is None  # type: ignore[attr-defined]


def test_stock_hides_a_loss_that_is_no_number(tmp_path: Path) -> None:
    class Poison(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            torch.nn.init.constant_(next(model.parameters()), math.nan)

    setup = make_setup(make("bert"), "bert", tmp_path, max_steps=3)
    stock = Trainer(
        model=setup.model,
        args=setup.args,
        train_dataset=setup.prepared.splits["train"],
        data_collator=default_data_collator,
        callbacks=[Poison()],
    )
    stock.train()
    assert all(math.isfinite(row["loss"]) for row in stock.state.log_history if "loss" in row)


def test_a_learning_rate_out_of_bounds_ends_in_a_message(tmp_path: Path) -> None:
    tiny.save_tiny_bert(tmp_path / "model")
    for steps in (1, 4):  # diverged in evaluation after the only step, and in training
        args = {"output_dir": str(tmp_path / str(steps)), "learning_rate": 1e30, "max_steps": steps}
        with pytest.raises(Diverged, match="What to try: a lower --learning_rate"):
            go_on(tmp_path, args | {"do_predict": True, "warmup_steps": 0})
