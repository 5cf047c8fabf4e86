"""What of two run folders is not the same to the bit, but for times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from hf_transfer.run_folder import read_json

TIMES = ("seconds", "samples", "runtime", "per_second")


def without_times(entry: Any) -> Any:
    """Metrics, ledger or history without what a clock measured."""
    if isinstance(entry, dict):
        return {k: without_times(v) for k, v in entry.items() if not any(word in k for word in TIMES)}
    return [without_times(item) for item in entry] if isinstance(entry, list) else entry


def differences(a: Path, b: Path) -> list[str]:
    """What of two run folders is not the same to the bit, but for times."""
    found = []
    for folder in ("", "adapter"):
        one, two = (sorted(p.name for p in (root / folder).glob("*") if p.is_file()) for root in (a, b))
        if one != two:
            found.append(f"files of /{folder}: {sorted(set(one) ^ set(two))}")
    weights = [p.relative_to(a) for p in [*a.glob("*.safetensors"), *a.glob("adapter/*.safetensors")]]
    found += [
        str(p) for p in weights if not (b / p).is_file() or (a / p).read_bytes() != (b / p).read_bytes()
    ]
    for name in ("all_results.json", "phases.json", "config.json"):
        one, two = (without_times(read_json(root / name)) for root in (a, b))
        if one != two:
            keys = [k for k in one if one[k] != two.get(k)] if isinstance(one, dict) else [f"{one} / {two}"]
            found.append(f"{name}: {keys}")
    logs = [
        [without_times(json.loads(line)) for line in (root / "history.jsonl").read_text().splitlines()]
        for root in (a, b)
    ]
    if logs[0] != logs[1]:
        found.append(
            f"history.jsonl: {[(x, y) for x, y in zip(*logs, strict=False) if x != y][:2] or 'length'}"
        )
    if not pd.read_parquet(a / "predictions.parquet").equals(pd.read_parquet(b / "predictions.parquet")):
        found.append("predictions.parquet")
    leftover = [str(p.relative_to(b)) for p in b.rglob("*.partial*")]
    return found + ([f"left over: {leftover}"] if leftover else [])
