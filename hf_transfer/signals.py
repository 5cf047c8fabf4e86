"""Ctrl-C and SIGTERM end the step, save a checkpoint and stop; a second one stops at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from transformers import TrainerCallback

HEARD = b"\nStopping after this step, with a checkpoint. Once more stops at once.\n"
AGAIN = 1.0  # seconds; a launcher passes on to its processes, a moment later, what they had from the terminal already


class Stopped(KeyboardInterrupt):
    """Training was stopped by a signal after a checkpoint was saved; `code` is the exit code (130 or 143)."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class StopOnSignal(TrainerCallback):
    """Ask the Trainer to save and stop at the end of the step in which a signal came, to whichever process."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.since = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save and stop once a signal has come; all processes in the same step, or they would wait for each other."""
        if args.world_size > 1:
            self.number = _largest(self.number, args.device)
            self.since = self.since or (time.monotonic() if self.number is not None else 0.0)
        self._stop(control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A signal that came during an evaluation stops before another step is begun."""
        self.on_step_end(args, state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """In the middle of an epoch leave out what belongs to its end: the run that goes on would measure it twice."""
        if self.number is not None and state.epoch % 1 and state.global_step < state.max_steps:
            control.should_log = control.should_evaluate = control.should_save = False

    def _stop(self, control: Any) -> None:
        if self.number is not None:
            control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep what was just saved: at its end, stock with a limit of 1 deletes all but the best checkpoint."""
        if self.number is not None:
            args.save_total_limit, args.load_best_model_at_end = None, False

    def __call__(self, number: int, frame: Any) -> None:
        """The signal's handler."""
        if self.number is None:
            self.number, self.since = number, time.monotonic()
            if os.environ.get("RANK", "0") == "0":
                os.write(2, HEARD)  # as a handler may: print could have been interrupted itself
        elif time.monotonic() - self.since > AGAIN:
            raise KeyboardInterrupt


def _largest(number: int | None, device: Any) -> int | None:
    """The largest signal number that any process has caught."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        return number
    caught = torch.tensor(number or 0, device=device)
    dist.all_reduce(caught, op=dist.ReduceOp.MAX)
    return int(caught) or None


@contextlib.contextmanager
def stopping() -> Iterator[StopOnSignal]:
    """Catch SIGINT and SIGTERM while training; elsewhere than in the main thread signals cannot be caught."""
    callback = StopOnSignal()
    if threading.current_thread() is not threading.main_thread():
        yield callback
        return
    before = {number: signal.signal(number, callback) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield callback
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
