"""Ctrl-C and SIGTERM end the step, save a checkpoint and stop; a second one stops at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from transformers import TrainerCallback


class Stopped(KeyboardInterrupt):
    """Training was stopped by a signal after a checkpoint was saved; `code` is the exit code (130 or 143)."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class StopOnSignal(TrainerCallback):
    """Ask the Trainer to save and stop at the end of the step in which a signal came."""

    def __init__(self) -> None:
        self.number: int | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save and stop once a signal has come."""
        if self.number is not None:
            control.should_save = control.should_training_stop = True

    def __call__(self, number: int, frame: Any) -> None:
        """The signal's handler."""
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number


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
