"""A run of two processes in which one fails; run by test_processes_end.py under a launcher.

python tests/failing.py STAGE RANK FOLDER
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import launching
import pandas as pd
import tiny
from transformers import TrainerCallback, TrainingArguments

import hf_transfer.assess
import hf_transfer.saving
from hf_transfer import Problems, command, finetune
from hf_transfer.hardware import on_cpu

WHAT = "the moon is full"


def fail(folder: Path) -> None:
    (folder / "failed_at").write_text(str(time.time()))
    raise RuntimeError(WHAT)


class FailAt(TrainerCallback):
    """Raise in a step or an evaluation."""

    def __init__(self, stage: str, folder: Path) -> None:
        self.stage, self.folder = stage, folder

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.stage == "step" and state.global_step == 3:
            fail(self.folder)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.stage == "evaluation":
            fail(self.folder)


def main(stage: str, rank: int, folder: Path) -> None:
    given = launching.TRAINING | on_cpu() | {"output_dir": str(folder / "run"), "max_steps": 50}
    args = TrainingArguments(**given)
    rows: Any = pd.DataFrame(tiny.rows(61))
    mine = args.process_index == rank
    if mine and stage == "preparation":
        rows = str(folder / "not there.csv")
    if mine and stage == "assessment":
        hf_transfer.assess.shared_scores = lambda *given: fail(folder)  # type: ignore[assignment]
    if mine and stage == "saving":
        hf_transfer.saving.save = lambda *given: fail(folder)  # type: ignore[assignment]
    callbacks = [FailAt(stage, folder)] if mine else []
    base = folder / "base"
    try:
        finetune("text-classification", base, rows, args=args, callbacks=callbacks, skip_reload_check=True)
    except Problems:
        (folder / "failed_at").write_text(str(time.time()))
        raise


if __name__ == "__main__":
    code = command(lambda: main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
    (Path(sys.argv[3]) / f"ended_{os.environ['RANK']}").write_text(str(time.time()))
    sys.exit(code)
