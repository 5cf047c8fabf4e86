"""What is recorded of the data: where the rows came from, what marks them, what the audit found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.data.audit import summary
from hf_transfer.data.labels import Labels
from hf_transfer.data.sources import Source
from hf_transfer.data.tables import column_of
from hf_transfer.problems import Problem

if TYPE_CHECKING:
    from datasets import Dataset


def fingerprint(rows: Mapping[str, Dataset], keys: Mapping[str, np.ndarray], labels: Labels | None) -> str:
    """sha256 over the splits' inputs (texts; digests of images) and labels, in order, before anything is dropped."""
    digest = hashlib.sha256()
    for split, data in rows.items():
        digest.update(f"{split} {len(data)}\n".encode())
        for role in ("text", "text_pair"):
            if role in data.column_names:
                digest.update("\x1f".join(column_of(data, role).to_pylist()).encode())
        digest.update(keys[split].tobytes())
        if labels is not None:
            digest.update(repr((labels.names, labels.values[split])).encode())
    return digest.hexdigest()


def source_record(
    source: Source, rows: Mapping[str, Dataset], how: Mapping[str, str], mark: str
) -> dict[str, Any]:
    """Where the rows came from and `how` each split came to be, as JSON; `mark` is their fingerprint."""
    return {
        "name": source.name,
        "hub_id": source.hub_id,
        "license": source.license,
        "files": source.files,
        "splits": {split: len(data) for split, data in rows.items()},
        "how": {split: how[split] for split in rows},
        "fingerprint": mark,
    }


def audit_record(
    rows: Mapping[str, Dataset], labels: Labels | None, source: Source, warnings: Sequence[Problem]
) -> dict[str, Any]:
    """What the audit found, as JSON: rows and lengths, warnings, and what of the source was left out."""
    told = [{"where": w.where, "what": w.what, "mend": w.mend} for w in warnings]
    return {**summary(rows, labels), "warnings": told, "ignored": source.ignored}
