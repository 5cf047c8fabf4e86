"""Moments at which a run kills itself: calls of what they name are counted inside it."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import accelerate.optimizer
import safetensors.torch
import torch
import transformers
from transformers import Trainer

# All that a run imports is imported before the forks, and not in every one of them.
import hf_transfer
import hf_transfer.assess
import hf_transfer.data.loading
import hf_transfer.finishing
import hf_transfer.record
import hf_transfer.report
import hf_transfer.report.plots
import hf_transfer.saving


@dataclass(frozen=True)
class Moment:
    """When a run kills itself: at call `number` of what `kind` names; `share` of a torn file is left."""

    kind: str
    number: float
    share: float = 0.5

    def __str__(self) -> str:
        unit = " s" if self.kind == "clock" else ""
        cut = f" ({self.share:.0%} left)" if self.kind == "torn" else ""
        return f"{self.kind} {self.number:g}{unit}{cut}"


class Watch:
    """Counts the calls of each kind, tells where the run was, and kills at the moment."""

    def __init__(self, folder: Path, moment: Moment | None, said: Path) -> None:
        self.folder, self.moment, self.said = str(folder), moment, said
        self.counts: Counter[str] = Counter()
        self.busy = False

    def call(self, kind: str, what: str, torn: str | None = None) -> None:
        """One more call of a kind."""
        self.counts[kind] += 1
        moment = self.moment
        if moment is not None and (kind, self.counts[kind]) == (moment.kind, moment.number):
            self.busy = True
            if torn is not None:
                os.truncate(torn, int(os.path.getsize(torn) * moment.share))
            self.said.write_text(what)
            os.kill(os.getpid(), signal.SIGKILL)

    def disk(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook: sees every file that Python opens, renames or deletes."""
        if self.busy or event not in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"):
            return
        path = arguments[0]
        if event == "open" and not (
            isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            return
        if isinstance(path, (str, os.PathLike)) and str(path).startswith(self.folder):
            self.call("disk", f"{event} {os.path.relpath(path, self.folder)}")


def watch(folder: Path, moment: Moment | None, said: Path) -> Watch:
    """Put the counters into this process."""
    found = Watch(folder, moment, said)
    sys.addaudithook(found.disk)

    def before(owner: Any, name: str, kind: str, what: Callable[..., str]) -> None:
        plain = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            found.call(kind, what(*args, **kwargs))
            return plain(*args, **kwargs)

        setattr(owner, name, counted)

    def after(owner: Any, name: str, place: int) -> None:
        plain = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            result = plain(*args, **kwargs)
            path = args[place] if len(args) > place else kwargs["filename"]
            if isinstance(path, (str, os.PathLike)):
                found.call("torn", os.path.relpath(path, folder), str(path))
            return result

        setattr(owner, name, counted)

    before(accelerate.optimizer.AcceleratedOptimizer, "step", "step", lambda *a, **k: "training")
    before(Trainer, "prediction_step", "batch", lambda *a, **k: "evaluation in training")
    before(hf_transfer.assess, "shared_scores", "batch", lambda *a, **k: "evaluation after training")
    after(torch, "save", 1)
    for module in (safetensors.torch, transformers.modeling_utils, sys.modules["peft.peft_model"]):
        for name in ("save_file", "safe_save_file"):
            if hasattr(module, name):
                after(module, name, 1)
    return found
