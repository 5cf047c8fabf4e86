"""The last round of several processes, for which there are too few rows: accelerate fills it up, here each row counts once."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.data_loader import BatchSamplerShard

from hf_transfer.data.batching import Shares
from hf_transfer.drawing import Keys

IDLE = "idle"  # marks a batch that must not count


def share_out(loader: Any, batch_size: int) -> Shares | None:
    """Let accelerate's training loader give out every row once; None where one process alone takes all."""
    shard = getattr(loader, "batch_sampler", None)
    sampler = getattr(getattr(shard, "batch_sampler", None), "sampler", None)
    if not isinstance(shard, BatchSamplerShard) or not isinstance(sampler, Keys):
        return None
    if shard.drop_last or shard.split_batches:
        return None
    shares = Shares(sampler, batch_size, shard.num_processes)
    shard.batch_sampler, shard.batch_size = shares, None
    return shares


def without_idle(batches: list[Any]) -> list[Any]:
    """Mark the last of a process's micro-batches as `IDLE`; the batches with nothing to count in that one."""
    batches[-1][IDLE] = True
    return [*batches[:-1], {**batches[-1], "labels": batches[-1]["labels"][:0]}]


def own_rows(args: Any, state: Any) -> int | None:
    """How many rows of an evaluation's batch are this process's own, one at least; None where all are.

    Args:
        args: `TrainingArguments`.
        state: accelerate's `GradientState`.
    """
    if args.world_size == 1 or not state.end_of_dataloader or state.remainder <= 0:
        return None
    return max(1, min(args.eval_batch_size, state.remainder - args.process_index * args.eval_batch_size))


def filled_up(found: Any, rows: int) -> Any:
    """Scores or labels of the own rows, with the last one repeated up to `rows`: all processes gather as many."""
    if isinstance(found, (list, tuple)):
        return type(found)(filled_up(part, rows) for part in found)
    if not isinstance(found, torch.Tensor) or found.ndim == 0:
        return found
    return torch.cat([found, found[-1:].expand(rows - len(found), *found.shape[1:])])
