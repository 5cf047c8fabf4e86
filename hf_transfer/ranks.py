"""What one process does for all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from hf_transfer.problems import NotPushed, Problems

T = TypeVar("T")


def from_first(args: Any, function: Callable[[], T]) -> T:
    """What `function` returns in the first process, in all of them; they all end alike where it finds Problems.

    Args:
        args: the training arguments, which know the processes.
        function: called in the first process only; its result is small and can be pickled.
    """
    if args.world_size == 1:
        return function()
    from accelerate.utils import broadcast_object_list

    said: list[Any] = [None, (), None]  # result, problems, push that failed
    if args.process_index == 0:
        try:
            said[0] = function()
        except Problems as error:
            said[1] = error.problems
        except NotPushed as error:
            said[2] = str(error)
    broadcast_object_list(said)
    if said[1]:
        raise Problems(*said[1])
    if said[2] is not None:
        raise NotPushed(said[2])
    result: T = said[0]
    return result


def same_buffers(model: Any) -> None:
    """Give every process the first one's buffers, running statistics among them: those are saved.

    DDP does so only before the next step, so that evaluation, and what comes after a phase, would use each process's own.
    """
    import torch.distributed as dist
    from accelerate import PartialState
    from accelerate.utils import broadcast

    if dist.is_available() and dist.is_initialized():
        where = PartialState().device.type  # what lies elsewhere no backend can send
        broadcast([b for b in model.buffers() if b.is_contiguous() and b.device.type == where])


def wait(args: Any) -> None:
    """Until every process has come here."""
    if args.world_size > 1 and "RANK" in os.environ:
        import torch.distributed as dist

        dist.barrier()
