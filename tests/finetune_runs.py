"""Arguments of short runs on a tiny BERT, and whether two runs are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hf_transfer import Run

ARGS: dict[str, Any] = {"max_steps": 4, "eval_steps": 2, "save_steps": 2, "eval_strategy": "steps"}


ARGS |= {"save_strategy": "steps", "report_to": "none", "disable_tqdm": True, "learning_rate": 1e-3}


FAST: dict[str, Any] = {"cpu_threads": 1, "skip_reload_check": True, "probe": False}


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(Path(run.output_dir) / "model.safetensors")


def same(a: Run, b: Run) -> bool:
    first, second = weights(a), weights(b)
    equal = first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    timed = ("runtime", "per_second")
    return equal and {k: v for k, v in a.metrics.items() if not k.endswith(timed)} == {
        k: v for k, v in b.metrics.items() if not k.endswith(timed)
    }
