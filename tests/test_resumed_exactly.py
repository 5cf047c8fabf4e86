"""Where stock does not go on exactly, and this does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import make
from resumed_runs import STEPS
from small_training import changed, make_setup, state
from transformers import Trainer, default_data_collator

from hf_transfer.training.phase import phase_trainer


def learned(setup: Any, stock: bool, checkpoint: Path | None = None) -> Any:
    """The trainer of a setup after training, ours or stock's."""
    if stock:
        rows = setup.prepared.splits["train"]
        trainer: Any = Trainer(setup.model, setup.args, setup.collator, train_dataset=rows)
    else:
        trainer = phase_trainer(setup, 1)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return trainer


@pytest.mark.parametrize("stock", [False, True])
def test_a_run_cut_off_after_its_last_step_takes_no_further_one(stock: bool, tmp_path: Path) -> None:
    given = {**STEPS, "max_steps": 6, "n": 16}  # four steps an epoch
    setup = make_setup(make("bert"), "bert", tmp_path, **given)
    learned(setup, stock)
    again = make_setup(make("bert", seed=5), "bert", tmp_path, **given)
    trainer = learned(again, stock, tmp_path / "checkpoint-6")
    assert (trainer.state.global_step == 6) == (not stock)
    assert bool(changed(state(setup.model), state(again.model))) == stock


@pytest.mark.parametrize("stock", [False, True])
def test_random_collators_go_on_exactly(stock: bool, tmp_path: Path) -> None:
    def masked(rows: list[Any]) -> Any:
        batch = default_data_collator(rows)
        batch["input_ids"][torch.rand(batch["input_ids"].shape) < 0.3] = 1
        return batch

    whole, again = (
        make_setup(make("bert", seed=seed), "bert", tmp_path, **STEPS, max_steps=6, n=16) for seed in (0, 5)
    )
    whole.collator = again.collator = masked
    learned(whole, stock)
    learned(again, stock, tmp_path / "checkpoint-2")
    assert bool(changed(state(whole.model), state(again.model))) == stock


@pytest.mark.parametrize("stock", [False, True])
def test_a_loss_logged_after_resuming_counts_the_steps_before(stock: bool, tmp_path: Path) -> None:
    given = {**STEPS, "max_steps": 4, "logging_steps": 4}
    whole, again = (make_setup(make("bert", seed=seed), "bert", tmp_path, **given) for seed in (0, 5))
    first = learned(whole, stock)
    second = learned(again, stock, tmp_path / "checkpoint-3")
    logged = [[row["loss"] for row in t.state.log_history if "loss" in row] for t in (first, second)]
    assert (logged[0] == logged[1]) == (not stock)


def test_the_order_of_rows_reaches_later_epochs_where_batches_are_skipped(tmp_path: Path) -> None:
    """As one of two processes resumes in its second epoch; accelerate's loader tells the epoch to no sampler then."""
    from accelerate import skip_first_batches
    from accelerate.data_loader import BatchSamplerShard, DataLoaderShard
    from torch.utils.data import BatchSampler

    trainer = phase_trainer(make_setup(make("bert"), "bert", tmp_path, n=16), 1)
    trainer.get_train_dataloader()
    assert trainer._keys is not None
    shard = BatchSamplerShard(BatchSampler(trainer._keys, 4, False), num_processes=2, process_index=0)
    loader = skip_first_batches(DataLoaderShard(range(64), batch_sampler=shard), 1)
    loader.set_epoch(1)
    assert trainer._keys.epoch == 0  # when this fails the mend in `_run_epoch` can go


def test_the_best_checkpoint_is_found_where_the_run_was_moved_to(tmp_path: Path) -> None:
    given = STEPS | {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "load_best_model_at_end": True,
        "max_steps": 3,
    }
    given |= {"metric_for_best_model": "eval_loss", "greater_is_better": True, "learning_rate": 3e-3}
    setup = make_setup(make("bert"), "bert", tmp_path / "a", **given)
    trainer = phase_trainer(setup, 1)
    trainer.train()
    assert trainer.state.best_global_step < 3
    (tmp_path / "a").rename(tmp_path / "b")
    again = make_setup(make("bert", seed=5), "bert", tmp_path / "b", **given)
    learned(again, False, tmp_path / "b" / "checkpoint-3")
    assert not changed(state(setup.model), state(again.model))
