"""The small Trainer subclass that mends what is wrong in the stock one; each mend names what it mends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.state import AcceleratorState
from datasets import Dataset
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import IterableDataset, SequentialSampler
from transformers import EarlyStoppingCallback, Trainer
from transformers.trainer_pt_utils import find_batch_size

from hf_transfer.adapters import save_adapter
from hf_transfer.anatomy import LayerGroup
from hf_transfer.checkpoint_writing import recall_losses, write_checkpoint
from hf_transfer.data.batching import EpochSampler, Shares
from hf_transfer.divergence import LossWatch
from hf_transfer.drawing import ROWS, Keys, keyed
from hf_transfer.last_round import IDLE, filled_up, own_rows, share_out, without_idle
from hf_transfer.loading import load_weights, quiet
from hf_transfer.pairing import PairedBatches, Partners
from hf_transfer.sharding import block_classes, gathered, skeleton
from hf_transfer.strategies.alignment import Alignment
from hf_transfer.strategies.averaging import AveragedWeights
from hf_transfer.strategies.freezing import still_modules
from hf_transfer.strategies.phases import Phase
from hf_transfer.strategies.rates import optimizer_groups

if TYPE_CHECKING:
    from hf_transfer.target import Target

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
        row_weights: Any = None,
        train_collator: Any = None,
        averaged: AveragedWeights | None = None,
        alignment: Alignment | None = None,
        target: Target | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **{"preprocess_logits_for_metrics": _logits_only, **kwargs})
        self.phase, self.groups, self.lengths = phase, groups, lengths
        self.objective: Objective = objective
        self.row_weights, self.train_collator, self.averaged = row_weights, train_collator, averaged
        self.alignment, self.target = alignment, target if alignment is not None else None
        for watching in (averaged, alignment):
            if watching is not None:
                self.add_callback(watching)
        # Makes the stock loop count `num_items_in_batch`; see compute_loss.
        self.model_accepts_loss_kwargs = True
        self._still: list[nn.Module] = []
        self._batch_norms: list[nn.Module] = []
        self._staging: str | None = None
        self._shares: Shares | None = None
        self._plain: nn.Module | None = None
        self._watch = LossWatch()
        self._seen, self._ending, self._save_later = -1, False, False
        self._keys: Keys | None = None
        self._recalled: Path | None = None  # the checkpoint whose losses are still to be taken up
        self.recalled = False  # whether it had them

    # Batches: each under a random state of its own, and with the numbers of its rows.

    def _get_dataloader(
        self,
        dataset: Any,
        description: str,
        batch_size: int,
        sampler_fn: Any = None,
        is_training: bool = False,
        dataloader_key: str | None = None,
    ) -> Any:
        make: Any = super()._get_dataloader
        whole_batches = self.args.train_sampling_strategy == "batch_rebalance"
        if not is_training or isinstance(dataset, IterableDataset) or whole_batches:
            return make(dataset, description, batch_size, sampler_fn, is_training, dataloader_key)
        plain, only_used = self.data_collator, self.args.remove_unused_columns
        collate = self.train_collator or plain
        if isinstance(dataset, Dataset):
            dataset = self._remove_unused_columns(dataset, description)
        else:
            collate = self._get_collator_with_removed_columns(collate, description)
        rows, collate, keys = keyed(dataset, collate, sampler_fn(dataset), self._data_seed)
        self._keys, self.args.remove_unused_columns = keys, False
        self.data_collator = collate if self.target is None else self._paired(collate, len(dataset))
        try:
            return make(rows, description, batch_size, lambda _: keys, is_training, dataloader_key)
        finally:
            self.data_collator, self.args.remove_unused_columns = plain, only_used

    def _paired(self, collate: Any, rows: int) -> PairedBatches:
        """A collator of training batches that puts as many target rows beside the training rows."""
        assert self.target is not None
        targets, lengths = self.target.rows, None
        if isinstance(targets, Dataset):
            targets = self._remove_unused_columns(targets, "target")
        if self.args.train_sampling_strategy == "group_by_length" and self.lengths and self.target.lengths:
            lengths = self.lengths, self.target.lengths
        partners = Partners(rows, len(targets), seed=self._data_seed, lengths=lengths)
        return PairedBatches(collate, targets, partners)

    @property
    def _data_seed(self) -> int:
        return self.args.data_seed if self.args.data_seed is not None else self.args.seed

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """One micro-batch; its loss and rows are kept for `_watch` without waiting for the device."""
        rows = inputs.pop(ROWS, None)
        loss = super().training_step(model, inputs, *args, **kwargs)
        if self.alignment is not None and self.accelerator.sync_gradients:
            self.alignment.average_gradients(self.accelerator.num_processes)
        self._watch.add(self.state.global_step + 1, loss, rows)
        return loss

    def create_accelerator_and_postprocess(self) -> None:
        """Stock's; DeepSpeed allows one Accelerator a process, and a run has a Trainer for its plan and each phase."""
        if self.args.deepspeed_plugin is not None:
            AcceleratorState._reset_state()
        super().create_accelerator_and_postprocess()

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
            if self.args.train_batch_size > 1 and find_batch_size(inputs) == 1:
                for module in self._batch_norms:
                    module.eval()  # one row left over has no statistics: torch fails where maps are 1 x 1
        idle = inputs.pop(IDLE, False)
        items = self._items(inputs) if model.training else None
        loss, outputs = self.objective(model, inputs)
        if model.training:
            # Any other objective does its own smoothing.
            if self.label_smoother is not None and self.objective is stock_objective and "labels" in inputs:
                loss = self.label_smoother(outputs, inputs["labels"])
            if num_items_in_batch is None or items is None:
                loss = loss / self.current_gradient_accumulation_steps
            else:
                # A micro-batch's mean weighs as many items as it has; DDP then averages over the processes.
                counted = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
                loss = loss * (0 if idle else items / num_items_in_batch * counted)
        return (loss, outputs) if return_outputs else loss

    def _items(self, inputs: dict[str, Any]) -> torch.Tensor | None:
        labels = inputs.get("labels")
        if not isinstance(labels, torch.Tensor):
            return None
        return (labels[..., 1:] if self._loss_shifts_labels else labels).ne(-100).sum()

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> torch.Tensor | int | None:
        counted = batch_samples
        last = self._shares is not None and self.accelerator.gradient_state.end_of_dataloader
        if self._shares is not None and last and self._shares.idle(self.args.process_index):
            # This process has no row in the epoch's last round: what it got instead must not count.
            counted = without_idle(batch_samples)
        return super()._get_num_items_in_batch(counted, device)

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
            beside = []
            if (
                self.alignment is not None
            ):  # first, so that the log tells the rate of the model's topmost group
                groups = [self.alignment.optimizer_group(self.args.learning_rate), *groups]
                beside = list(self.alignment.parameters())
            self.optimizer = chosen(groups, **options)
            held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
            learning = {id(p) for p in [*target.parameters(), *beside] if p.requires_grad}
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
        self._batch_norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            self._plain = skeleton(model)
        if self.accelerator.is_fsdp2 and not self.accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap:
            plugin = self.accelerator.state.fsdp_plugin
            plugin.transformer_cls_names_to_wrap = block_classes(model, self.groups)
        return super()._prepare_for_training(*args, **kwargs)

    def plain_model(self) -> Any:
        """The trained model whole in every process, without the wrapping it was trained in."""
        if self._plain is not None:
            trained = self.accelerator.unwrap_model(self.model_wrapped)
            return gathered(trained, self._plain, bool(self.is_deepspeed_enabled))
        return self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)

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
            seed=self._data_seed,
            lengths=self.lengths if strategy == "group_by_length" else None,
            batch_size=args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            weights=self.row_weights,
        )

    def get_train_dataloader(self) -> Any:
        """Stock's, but several processes get every row once."""
        loader = super().get_train_dataloader()
        self._shares = share_out(loader, self._train_batch_size)
        return loader

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Stock's, of the averaged weights where there are any."""
        with self.averaged.standing_in() if self.averaged is not None else nullcontext():
            return super().evaluate(*args, **kwargs)

    def prediction_step(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Stock's, but rows that only fill up the last round of several processes are no part of the loss."""
        own = own_rows(self.args, self.accelerator.gradient_state)
        if own is None:
            return super().prediction_step(model, inputs, *args, **kwargs)
        mine = {key: value[:own] for key, value in inputs.items()}
        loss, logits, labels = super().prediction_step(model, mine, *args, **kwargs)
        rows = find_batch_size(inputs)
        return loss, filled_up(logits, rows), filled_up(labels, rows)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return SequentialSampler(eval_dataset)  # stock length grouping reorders predictions

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


def _logits_only(logits: Any, labels: Any) -> Any:
    """Classification keeps the scores and drops caches and hidden states that some models return beside them."""
    return logits[0] if isinstance(logits, (tuple, list)) else logits
