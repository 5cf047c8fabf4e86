"""A Trainer's checkpoints on disk: written beside and renamed when whole, with the losses that stock forgets."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import rotate_checkpoints

from hf_transfer.loading import quiet
from hf_transfer.saved import name_full_disk, seal

BESIDE = "checkpoint.partial"
LOSSES = "losses.json"  # of a checkpoint: what was summed up since the last log, by process


def write_checkpoint(trainer: Any, save_into: Callable[[Path], None]) -> None:
    """Write a checkpoint of the present step beside, and rename it: under its own name it is whole.

    All processes call it at the same step.

    Args:
        trainer: what is saved; its `state` and `args` say where.
        save_into: lets the Trainer save itself as `checkpoint-N` in a folder.

    Raises:
        OSError: what was half written is gone; a full disk is named.
    """
    args, state, wait = trainer.args, trainer.state, trainer.accelerator.wait_for_everyone
    folder = Path(str(args.output_dir))
    final, beside = folder / f"checkpoint-{state.global_step}", folder / BESIDE
    if args.should_save:
        shutil.rmtree(beside, ignore_errors=True)
    wait()
    try:
        with quiet():
            save_into(beside)
        save_losses(trainer, beside / final.name)
    except Exception as error:
        if args.should_save:
            _give_up(error, folder, beside)
        raise
    if state.best_global_step == state.global_step:
        state.best_model_checkpoint = str(final)  # stock has found the one beside
    wait()
    if args.should_save:
        state.save_to_json(str(beside / final.name / TRAINER_STATE_NAME))
        _put_in_place(beside, final)
        tidy(trainer)
    wait()


def tidy(trainer: Any) -> None:
    """Delete what a write that was killed has left, and the checkpoints above the limit; for the first process alone.

    A phase that goes on from its last step writes no checkpoint any more, so it is called at a phase's end too.
    """
    shutil.rmtree(Path(trainer.args.output_dir) / BESIDE, ignore_errors=True)
    rotate_checkpoints(
        output_dir=str(trainer.args.output_dir),
        save_total_limit=trainer.args.save_total_limit,
        best_model_checkpoint=trainer.state.best_model_checkpoint,
    )


def _give_up(error: Exception, folder: Path, beside: Path) -> None:
    try:
        name_full_disk(error, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(beside: Path, final: Path) -> None:
    seal(beside / final.name)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(beside / final.name, final)


def save_losses(trainer: Any, checkpoint: Path) -> None:
    """Keep the loss since the last log, and over the run: stock forgets both when it resumes."""
    mine = trainer._tr_loss.detach().reshape(1).float()
    since = trainer.accelerator.gather(mine).tolist()
    if trainer.args.should_save:
        total, logged = trainer._total_loss_scalar, trainer._globalstep_last_logged
        kept = {"since_log": since, "total": total, "logged": logged}
        (checkpoint / LOSSES).write_text(json.dumps(kept))


def recall_losses(trainer: Any, checkpoint: Path) -> bool:
    """Take up the losses that a checkpoint holds; whether it holds them. Each process takes up its own."""
    if not (checkpoint / LOSSES).is_file():
        return False
    kept = json.loads((checkpoint / LOSSES).read_text())
    since, args = kept["since_log"], trainer.args
    same = len(since) == args.world_size
    trainer._tr_loss += since[args.process_index] if same else sum(since) / len(since)
    trainer._total_loss_scalar, trainer._globalstep_last_logged = kept["total"], kept["logged"]
    return True
