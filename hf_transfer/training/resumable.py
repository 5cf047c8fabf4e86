"""A Trainer that can be interrupted: its loop goes on exactly where it was, its checkpoints are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import EarlyStoppingCallback, Trainer

from hf_transfer.adapters import save_adapter
from hf_transfer.drawing import ROWS, Keys
from hf_transfer.loading import load_weights, quiet
from hf_transfer.strategies.alignment import Alignment
from hf_transfer.strategies.averaging import AveragedWeights
from hf_transfer.strategies.phases import Phase
from hf_transfer.training.divergence import LossWatch
from hf_transfer.training.writing import recall_losses, write_checkpoint


class ResumableTrainer(Trainer):
    """Stock's, but a resumed run ends as one that was not interrupted, and one that diverges stops.

    Args:
        phase: for messages.
        averaged, alignment: what learns beside the model, watches the loop and goes along in checkpoints.
    """

    def __init__(
        self,
        *args: Any,
        phase: Phase,
        averaged: AveragedWeights | None = None,
        alignment: Alignment | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.phase, self.averaged, self.alignment = phase, averaged, alignment
        for watching in (averaged, alignment):
            if watching is not None:
                self.add_callback(watching)
        self._watch = LossWatch()
        self._keys: Keys | None = None  # under which the rows of an epoch are drawn
        self._staging: str | None = None
        self._seen, self._ending, self._save_later = -1, False, False
        self._recalled: Path | None = None  # the checkpoint whose losses are still to be taken up
        self.recalled = False  # whether it had them

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """One micro-batch; its loss and rows are kept for `_watch` without waiting for the device."""
        rows = inputs.pop(ROWS, None)
        loss = super().training_step(model, inputs, *args, **kwargs)
        if self.alignment is not None and self.accelerator.sync_gradients:
            self.alignment.average_gradients(self.accelerator.num_processes)
        self._watch.add(self.state.global_step + 1, loss, rows)
        return loss

    # The loop: what stock does at a step's or an epoch's end, or after an interruption, that a resumed run would not.

    def _init_training_state(self, *args: Any, **kwargs: Any) -> Any:
        with quiet():  # stock warns of flags that are compared, and said, before training
            found = super()._init_training_state(*args, **kwargs)
        checkpoint = args[3] if len(args) > 3 else kwargs["resume_from_checkpoint"]
        if checkpoint is not None:
            self._recalled = Path(checkpoint)
            # Stock goes on with the old logging_steps.
            self.state.compute_steps(self.args, self.state.max_steps)
            if self.state.best_global_step:  # beside this one: the run folder may have been moved
                best = Path(checkpoint).parent / f"checkpoint-{self.state.best_global_step}"
                self.state.best_model_checkpoint = str(best) if best.is_dir() else None
        return found

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        self._recall_losses()
        # Stock takes one step more where a run was interrupted after its last one.
        if self.state.global_step >= self.state.max_steps or self._had_stopped():
            self.control.should_training_stop = True
        if self.control.should_training_stop:
            return
        if (
            self._keys is not None
        ):  # with several processes stock does not reach it through the batches it skips
            self._keys.set_epoch(kwargs["epoch"])
        super()._run_epoch(*args, **kwargs)

    def _had_stopped(self) -> bool:
        """Whether early stopping had ended the phase when the checkpoint was saved."""
        stopping = [c for c in self.callback_handler.callbacks if isinstance(c, EarlyStoppingCallback)]
        return any(c.early_stopping_patience_counter >= c.early_stopping_patience for c in stopping)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        control, step = self.control, self.state.global_step
        if control.should_log or control.should_evaluate or control.should_save or self._watch.long:
            self._watch.check(self._where())
        self._ending = self._seen == step  # called once more for this step: the epoch ends, or the training
        self._seen = step
        if self._ending and self._save_later:
            control.should_save, self._save_later = True, False
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        self._recall_losses()
        self._watch.check(self._where())
        if (
            self.args.world_size > 1
        ):  # stock adds this process's losses since the last log to the mean of all before it
            self._tr_loss = self.accelerator.reduce(self._tr_loss, "mean")
        return super()._finalize_training(*args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Stock's, with the domain accuracy beside the training loss where domains are aligned."""
        if self.alignment is not None and "loss" in logs:
            logs |= self.alignment.told(self.summed)
        super().log(logs, *args, **kwargs)

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """Their sum over the processes; all of them call it."""
        found: torch.Tensor = self.accelerator.reduce(values, "sum")
        return found

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        found = super()._get_grad_norm(model, grad_norm)
        if not self.args.fp16:  # under its scaling an infinite one is normal: the step is left out
            self._watch.norm(found)
        return found

    def _where(self) -> str:
        return f"phase {self.phase.name}, learning rate {self.args.learning_rate:g}"

    def _recall_losses(self) -> None:
        if self._recalled is not None and recall_losses(self, self._recalled):
            self._recalled, self.recalled = None, True

    # Checkpoints: written whole, or not at all; loaded through from_pretrained, because stock matches the saved names
    # of vision models against the names in memory and silently skips what differs.

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        epoch = self.state.epoch or 0.5
        if not self._ending and (epoch == int(epoch) or self.control.should_training_stop):
            self._save_later = True  # an evaluation or a log may follow, which a resumed run would leave out
            return
        save = super()._save_checkpoint

        def save_into(folder: Path) -> None:
            self._staging = str(folder)
            try:
                save(model, trial)
                beside = folder / f"checkpoint-{self.state.global_step}"
                if self.averaged is not None and self.args.should_save:
                    self.averaged.save(beside)
                if self.alignment is not None:
                    watched = self.summed(self.alignment.watched)
                    if self.args.should_save:
                        self.alignment.save(beside, watched)
            finally:
                self._staging = None

        write_checkpoint(self, save_into)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Of equal metrics the one with the lower loss is better.

        Accuracy on few rows often ties; stock keeps the earliest, whose weights have hardly been trained.
        """
        before = self.state.best_metric
        if super()._determine_best_metric(metrics, trial):
            return True
        chosen = f"eval_{str(self.args.metric_for_best_model).removeprefix('eval_')}"
        best = [row for row in self.state.log_history if row.get("step") == self.state.best_global_step]
        loss = next((row["eval_loss"] for row in best if "eval_loss" in row), None)
        if before is None or metrics.get(chosen) != before or loss is None or "eval_loss" not in metrics:
            return False
        if metrics["eval_loss"] >= loss or self.state.best_global_step == self.state.global_step:
            return False
        self.state.best_global_step = self.state.global_step
        return True

    def _get_output_dir(self, trial: Any) -> str:
        return self._staging or super()._get_output_dir(trial)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Stock's; of bottleneck adapters, which sit in a model that stays as it is, they and the head alone."""
        if not self.args.should_save or getattr(self.model, "bottleneck_config", None) is None:
            super()._save(output_dir, state_dict)
        else:
            save_adapter(self.model, str(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        target = self.model if model is None else model
        if self.is_fsdp_enabled or self.is_deepspeed_enabled or hasattr(target, "peft_config"):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            load_weights(target, resume_from_checkpoint)
        if self.averaged is not None:
            self.averaged.load(resume_from_checkpoint)
        if self.alignment is not None:
            self.alignment.load(resume_from_checkpoint, first=self.args.process_index == 0)

    def _load_best_model(self) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled or hasattr(self.model, "peft_config"):
            super()._load_best_model()
        else:
            load_weights(self.model, str(self.state.best_model_checkpoint))
        if self.averaged is not None:
            self.averaged.load(str(self.state.best_model_checkpoint))
