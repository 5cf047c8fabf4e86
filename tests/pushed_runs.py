"""A run folder to push, and what of it came to the stand-in."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from example_runs import SECRET, write_run
from hub_memory import WRITE, Hub
from hub_runs import hft

MODEL = {
    "config.json": b'{"_name_or_path": "/home/someone/base", "architectures": ["BertForSequenceClassification"]}',
    "model.safetensors": b"weights" * 1000,
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b'{"model_max_length": 16}',
    "training_args.bin": b"a pickle",
    "optimizer.pt": b"another",
}


def make_run(folder: Path, kind: str = "single") -> Path:
    write_run(folder, kind, files=[*MODEL, "predictions.parquet", "history.jsonl"])
    for name, data in MODEL.items():
        (folder / name).write_bytes(data)
    (folder / "data.txt").write_text(SECRET)  # the user's own, which the run did not write
    (folder / "checkpoint-1").mkdir()
    (folder / "checkpoint-1" / "model.safetensors").write_bytes(b"older")
    return folder


def push(
    hub: Hub, folder: Path, *flags: str, token: str | None = WRITE, wait: str = "2"
) -> subprocess.CompletedProcess[str]:
    done = hft(hub, folder.parent, "push", "run", *flags, token=token, HF_TRANSFER_HUB_PATIENCE=wait)
    assert "Traceback" not in done.stderr and "X-Signature" not in done.stderr, done.stderr
    assert not re.search(r"hf_[a-zA-Z]*\d{5}", done.stderr + done.stdout)
    return done


def pushed(hub: Hub, repo_id: str = "me/run") -> dict[str, bytes]:
    return hub.repos["model", repo_id].files
