"""The Trainer of a phase: batches, loss and rates, mended where stock is wrong; each mend names what it mends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import extract_model_from_parallel
from datasets import Dataset
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import IterableDataset, SequentialSampler
from transformers.loss.loss_utils import ForSequenceClassificationLoss
from transformers.trainer_pt_utils import find_batch_size

from hf_transfer.anatomy import LayerGroup
from hf_transfer.data.batching import EpochSampler, Shares
from hf_transfer.drawing import keyed
from hf_transfer.ranks import same_buffers
from hf_transfer.sharding import block_classes, gathered, skeleton
from hf_transfer.shift.pairing import PairedBatches, Partners
from hf_transfer.strategies.freezing import dropout_below, still_modules
from hf_transfer.strategies.phases import Phase
from hf_transfer.strategies.rates import optimizer_groups
from hf_transfer.tasks.task import IGNORED, countable
from hf_transfer.training.checkpoints import load_whole
from hf_transfer.training.last_round import IDLE, filled_up, own_rows, share_out, without_idle
from hf_transfer.training.prepared import unprepared
from hf_transfer.training.resumable import ResumableTrainer

if TYPE_CHECKING:
    from hf_transfer.shift.target import Target

Objective = Callable[[nn.Module, dict[str, Any]], tuple[torch.Tensor, Any]]


def stock_objective(model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
    """The model's own loss, a mean over the micro-batch; that of the problem type where its class has none (distilled DeiT, LeViT)."""
    outputs = model(**inputs)
    if not isinstance(outputs, dict):
        return outputs[0], outputs
    if outputs.get("loss") is None:
        config = extract_model_from_parallel(model).config
        return ForSequenceClassificationLoss(inputs["labels"], outputs["logits"], config), outputs
    return outputs["loss"], outputs


class PhaseTrainer(ResumableTrainer):
    """A Trainer for one phase: the right rates, frozen parts that stand still, an honest loss."""

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
        target: Target | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, phase=phase, **{"preprocess_logits_for_metrics": _logits_only, **kwargs})
        self.label_names = self.label_names or ["labels"]  # stock knows none where `forward` has none
        self.groups, self.lengths = groups, lengths
        self.objective: Objective = objective
        self.row_weights, self.train_collator = row_weights, train_collator
        self.target = target if self.alignment is not None else None
        # Makes the stock loop count `num_items_in_batch`; see compute_loss.
        self.model_accepts_loss_kwargs = True
        self._still: list[nn.Module] = []
        self._batch_norms: list[nn.Module] = []
        self._shares: Shares | None = None
        self._plain: nn.Module | None = None

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

    def create_accelerator_and_postprocess(self) -> None:
        """Stock's; DeepSpeed allows one Accelerator a process, and a run has a Trainer for its plan and each phase.

        Each tells transformers of ZeRO-3 anew, and models that are loaded later have to be whole all the same.
        """
        if self.args.deepspeed_plugin is not None:
            AcceleratorState._reset_state()
        super().create_accelerator_and_postprocess()
        load_whole()

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
        return (labels[..., 1:] if self._loss_shifts_labels else countable(labels)).ne(IGNORED).sum()

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> torch.Tensor | int | None:
        counted = batch_samples
        last = self._shares is not None and self.accelerator.gradient_state.end_of_dataloader
        if self._shares is not None and last and self._shares.idle(self.args.process_index):
            # This process has no row in the epoch's last round: what it got instead must not count.
            counted = without_idle(batch_samples)
        counted = [
            {**batch, "labels": countable(batch["labels"])} if "labels" in batch else batch
            for batch in counted
        ]
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
        still = still_modules(model)
        self._still = [*still, *dropout_below(model, still)]
        self._batch_norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            self._plain = skeleton(model)
        if self.accelerator.is_fsdp2 and not self.accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap:
            plugin = self.accelerator.state.fsdp_plugin
            plugin.transformer_cls_names_to_wrap = block_classes(model, self.groups)
        return super()._prepare_for_training(*args, **kwargs)

    def plain_model(self) -> Any:
        """The trained model whole in every process, without the wrapping it was trained in."""
        same_buffers(self.model)
        if self._plain is not None:
            trained = self.accelerator.unwrap_model(self.model_wrapped)
            return gathered(trained, self._plain, bool(self.is_deepspeed_enabled))
        return unprepared(self.accelerator.unwrap_model(self.model, keep_torch_compile=False))

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

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Stock's, of the same model in every process."""
        same_buffers(self.model)
        return super().evaluation_loop(*args, **kwargs)

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


def _logits_only(logits: Any, labels: Any) -> Any:
    """Classification keeps the scores and drops caches and hidden states that some models return beside them."""
    return logits[0] if isinstance(logits, (tuple, list)) else logits
