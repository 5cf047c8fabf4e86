"""What a phase shows while it runs, and the time that its evaluations take."""

from __future__ import annotations

import time
from typing import Any

from transformers import ProgressCallback, TrainerCallback


class Progress(ProgressCallback):
    """One bar with loss and last metric, in place of a printed dict at every log."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self.shown: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Name the bar after the phase."""
        super().on_train_begin(args, state, control, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description(self.title)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Show loss and the metric that chooses the best model on the bar."""
        wanted = {
            "loss": "loss",
            args.metric_for_best_model or "": (args.metric_for_best_model or "").removeprefix("eval_"),
        }
        for key, shown in wanted.items():
            if key and key in (logs or {}):
                self.shown[shown] = f"{float(logs[key]):.3f}"
        if self.training_bar is not None:
            self.training_bar.set_postfix(self.shown)


class EvaluationClock(TrainerCallback):
    """Seconds spent in evaluation and saving, which `train_runtime` leaves out."""

    def __init__(self) -> None:
        self.seconds, self._since = 0.0, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The next thing may be an evaluation (`eval_on_start`)."""
        self._since = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The next thing may be an evaluation."""
        self._since = time.monotonic()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The next thing may be an evaluation."""
        self._since = time.monotonic()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An evaluation has ended."""
        self._lap()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A save has ended."""
        self._lap()

    def _lap(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
