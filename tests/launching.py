"""Running a script through `accelerate launch` and looking at what it leaves."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tiny
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "accelerate_configs"
RECIPE = ROOT / "recipes" / "sentiment.py"
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
# SGD, because what AdamW makes of rounding errors is no measure; 48 training rows in batches of 16 over all processes.
TRAINING: dict[str, Any] = {
    "max_steps": 5,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_strategy": "steps",
    "save_steps": 2,
    "optim": "sgd",
    "learning_rate": 0.1,
    "report_to": "none",
    "disable_tqdm": True,
    "logging_steps": 1,
}


def material(folder: Path) -> tuple[Path, Path]:
    """A tiny BERT without dropout, and a csv of 61 rows: 49 to train on, so that the last round is uneven."""
    table = folder / "rows.csv"
    pd.DataFrame(tiny.rows(61)).to_csv(table, index=False)
    return tiny.save_tiny_bert(folder / "base", **STILL), table


def flags(base: Path, table: Path, out: Path, batch: int, **changes: Any) -> list[str]:
    """The recipe's command line."""
    given = {"model_name_or_path": base, "dataset_name": table, "output_dir": out, "cpu_threads": 1}
    given |= TRAINING | {"per_device_train_batch_size": batch} | changes
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def environment(**changes: str) -> dict[str, str]:
    """One thread, no network, and no trace of an outer launcher."""
    outer = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_MIXED_PRECISION")
    kept = {name: value for name, value in os.environ.items() if name not in outer}
    where = os.pathsep.join([str(ROOT), str(ROOT / "tests"), kept.get("PYTHONPATH", "")])
    return kept | {"PYTHONPATH": where, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | changes


def command(config: str, *words: Any, script: Path = RECIPE, python: str = sys.executable) -> list[str]:
    """`accelerate launch` with a file of ours; words before `--` are for the launcher, the others for the script."""
    given = [str(word) for word in words]
    cut = given.index("--") if "--" in given else 0
    launcher = [python, "-m", "accelerate.commands.launch", "--quiet", "--config_file", str(CONFIGS / config)]
    return [*launcher, *given[:cut], str(script), *given[cut + bool("--" in given) :]]


def launch(config: str, *words: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `command` to its end, at most ten minutes."""
    env = options.pop("env", None) or environment()
    call = command(config, *words, **options)
    return subprocess.run(call, capture_output=True, text=True, env=env, timeout=600)


def largest_difference(one: Path, other: Path) -> float:
    """Of any weight of two run folders."""
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)
