"""The small Trainer subclass that mends what is wrong in the stock one; each mend names what it mends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import rotate_checkpoints

from hf_transfer.anatomy import LayerGroup
from hf_transfer.data.batching import EpochSampler
from hf_transfer.strategies.freezing import still_modules
from hf_transfer.strategies.phases import Phase
from hf_transfer.strategies.rates import optimizer_groups

Objective = Callable[[nn.Module, dict[str, Any]], tuple[torch.Tensor, Any]]


def stock_objective(model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
    """The model's own loss: a mean over the micro-batch."""
    outputs = model(**inputs)
    return (outputs["loss"] if isinstance(outputs, dict) else outputs[0]), outputs


class PhaseTrainer(Trainer):
    """A Trainer for one phase: the right rates, frozen parts that stand still, an honest loss, whole checkpoints."""

    # The loss is normalised here over the whole accumulated batch, so the stock division must not happen again.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *args: Any,
        phase: Phase,
        groups: Sequence[LayerGroup],
        objective: Objective = stock_objective,
        lengths: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **{"preprocess_logits_for_metrics": _logits_only, **kwargs})
        self.phase, self.groups, self.lengths = phase, groups, lengths
        self.objective: Objective = objective
        self.model_accepts_loss_kwargs = (
            True  # makes the stock loop count `num_items_in_batch`; see compute_loss
        )
        self._still: list[nn.Module] = []
        self._staging: str | None = None

    # The loss. Stock passes num_items_in_batch to models that ignore it and then skips its own division, so that
    # accumulation and several processes multiply loss and gradients.

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The mean over the global batch, whatever the processes and accumulation steps it is computed in."""
        if model.training:
            for module in self._still:
                module.eval()  # Trainer calls model.train() before every step
        items = self._items(inputs) if model.training else None
        loss, outputs = self.objective(model, inputs)
        if model.training:
            if self.label_smoother is not None and "labels" in inputs:
                loss = self.label_smoother(outputs, inputs["labels"])
            if num_items_in_batch is None or items is None:
                loss = loss / self.current_gradient_accumulation_steps
            else:
                # A micro-batch's mean weighs as many items as it has; DDP then averages over the processes.
                counted = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
                loss = loss * (items / num_items_in_batch * counted)
        return (loss, outputs) if return_outputs else loss

    def _items(self, inputs: dict[str, Any]) -> torch.Tensor | None:
        labels = inputs.get("labels")
        if not isinstance(labels, torch.Tensor):
            return None
        return (labels[..., 1:] if self._loss_shifts_labels else labels).ne(-100).sum()

    # What learns, at which rate.

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """One optimizer group per layer group and decay; only what requires a gradient now."""
        if self.optimizer is None:
            target: Any = self.model if model is None else model
            groups = optimizer_groups(
                target, self.groups, self.phase, self.args.learning_rate, self.args.weight_decay
            )
            chosen, options = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(
                self.args, target
            )
            self.optimizer = chosen(groups, **options)
            held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
            learning = {id(p) for p in target.parameters() if p.requires_grad}
            if held != learning:
                raise RuntimeError(
                    "the optimizer does not hold exactly what learns: a layer group is incomplete"
                )
        return self.optimizer

    def _get_learning_rate(self) -> float:
        """For the log: the topmost group's rate; stock tells the first's, which is the lowest under layer decay."""
        if self.is_deepspeed_enabled or self.optimizer is None:
            return super()._get_learning_rate()
        return float(self.optimizer.param_groups[-1]["lr"])

    def _prepare_for_training(self, *args: Any, **kwargs: Any) -> Any:
        model: Any = self.model
        self._still = still_modules(model)
        return super()._prepare_for_training(*args, **kwargs)

    # The order of rows: a function of seed and epoch alone, so that a resumed run goes on exactly, and the same
    # for every number of processes. Stock length grouping draws from the global random state.

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        strategy = self.args.train_sampling_strategy
        if strategy not in ("random", "group_by_length"):
            return super()._get_train_sampler(train_dataset)
        args = self.args
        return EpochSampler(
            len(dataset),
            seed=args.data_seed if args.data_seed is not None else args.seed,
            lengths=self.lengths if strategy == "group_by_length" else None,
            batch_size=args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        )

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return SequentialSampler(eval_dataset)  # stock length grouping reorders predictions

    # Checkpoints: written beside, then renamed; loaded through from_pretrained, because stock matches the saved
    # names of vision models against the names in memory and silently skips what differs.

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(str(self.args.output_dir))
        final, staging = folder / f"checkpoint-{self.state.global_step}", folder / "checkpoint.partial"
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._staging = str(staging)
        try:
            with quiet():
                super()._save_checkpoint(model, trial)
        finally:
            self._staging = None
        if self.state.best_global_step == self.state.global_step:
            self.state.best_model_checkpoint = str(final)  # stock has found the one beside
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            self.state.save_to_json(str(staging / final.name / TRAINER_STATE_NAME))
            shutil.rmtree(final, ignore_errors=True)
            os.replace(staging / final.name, final)
            shutil.rmtree(staging, ignore_errors=True)
            rotate_checkpoints(
                output_dir=str(folder),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
            )
        self.accelerator.wait_for_everyone()

    def _get_output_dir(self, trial: Any) -> str:
        return self._staging or super()._get_output_dir(trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        target = self.model if model is None else model
        if self.is_fsdp_enabled or self.is_deepspeed_enabled or hasattr(target, "peft_config"):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            load_weights(target, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled or hasattr(self.model, "peft_config"):
            super()._load_best_model()
        else:
            load_weights(self.model, str(self.state.best_model_checkpoint))


def load_weights(model: Any, folder: str | Path) -> None:
    """Load a saved model of the same class into `model`, in place; every tensor must be there.

    Raises:
        RuntimeError: the folder lacks a tensor or holds one of another shape.
    """
    with quiet():
        fresh, info = type(model).from_pretrained(
            str(folder), config=model.config, dtype=model.dtype, output_loading_info=True
        )
    if info["missing_keys"] or info["mismatched_keys"]:
        raise RuntimeError(
            f"{folder} does not fit the model: {info['missing_keys'] or info['mismatched_keys']}"
        )
    model.load_state_dict(fresh.state_dict())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' bars and reports for every file it reads or writes."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def newest_checkpoint(folder: str | Path) -> Path | None:
    """The newest complete `checkpoint-N` below `folder`; torn ones are passed over."""
    found = [path for path in Path(folder).glob("checkpoint-*") if path.name.partition("-")[2].isdigit()]
    for path in sorted(found, key=lambda path: int(path.name.partition("-")[2]), reverse=True):
        if complete(path):
            return path
    return None


def complete(checkpoint: Path) -> bool:
    """Whether a checkpoint holds all that an exact resume reads: state, optimizer, schedule, random states, weights."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    weights = [
        *checkpoint.glob("*.safetensors"),
        *checkpoint.glob("pytorch_model_fsdp*"),
        *checkpoint.glob("global_step*"),
    ]
    named = all((checkpoint / name).is_file() for name in ("optimizer.pt", "scheduler.pt"))
    sharded = any(checkpoint.glob("optimizer_*")) or any(checkpoint.glob("global_step*"))
    return bool(weights) and (named or sharded) and any(checkpoint.glob("rng_state*.pth"))


def _logits_only(logits: Any, labels: Any) -> Any:
    """Classification keeps the scores and drops caches and hidden states that some models return beside them."""
    return logits[0] if isinstance(logits, (tuple, list)) else logits
