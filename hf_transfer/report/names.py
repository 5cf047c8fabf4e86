"""Names as they may be published: Hub ids, or what is left of a path without its folders."""

from __future__ import annotations

import re
from typing import Any

from .read import Record
from .wording import without_paths


def hub_id(name: Any) -> str | None:
    """The name if it has the form of a Hub id (`name` or `owner/name`), else None: a folder must not be published."""
    fits = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name)
    return str(name) if fits else None


def slug(text: str) -> str:
    """Letters, digits, dot, dash and underscore only: usable as a name on the Hub."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "data"


def data_name(record: Record) -> str:
    """The data's name without folders."""
    return (
        hub_id(record.data.get("hub_id"))
        or without_paths(str(record.data.get("name") or ""))
        or "unnamed data"
    )


def base_name(record: Record) -> str:
    """The base model's Hub id, or its name without folders."""
    return (
        hub_id(record.base.get("id"))
        or without_paths(str(record.base.get("name") or ""))
        or "an unnamed model"
    )


def model_name(record: Record, repo_id: str | None = None) -> str:
    """The last part of `repo_id`, else base model and data joined."""
    if repo_id:
        return repo_id.split("/")[-1]
    data = re.sub(r"\.(csv|tsv|jsonl?|parquet|txt)$", "", data_name(record).split("/")[-1])
    return f"{slug(base_name(record).split('/')[-1])}-{slug(data)}"
