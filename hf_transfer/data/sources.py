"""Where rows come from: a name, a path or a Python object becomes one table per split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_transfer.data.class_folders import images_only
from hf_transfer.data.conventions import IMAGE_SUFFIXES
from hf_transfer.data.files import READERS, no_such_file, read_file
from hf_transfer.data.folders import read_folder
from hf_transfer.data.hub import read_hub
from hf_transfer.data.objects import origin, tables_of_object
from hf_transfer.data.split_names import WHOLE
from hf_transfer.data.tables import Table
from hf_transfer.licenses import of_folder
from hf_transfer.problems import Problem, Problems


@dataclass
class Source:
    """What was found: tables by the source's own split names, and where they came from."""

    name: str
    tables: dict[str, Table]
    hub_id: str | None = None
    license: str | None = None
    files: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def find_source(
    dataset: Any = None,
    *,
    config: str | None = None,
    files: Mapping[str, str | Path | None] | None = None,
    default: Any = None,
) -> Source:
    """The tables of a data set, however it was given.

    Args:
        dataset: Hub id, file, folder, Dataset, DatasetDict, dict of those, IterableDataset, DataFrame, list of dicts,
            or a pair (inputs, labels).
        files: split -> file, instead of `dataset`.
        default: taken when neither is given.

    Raises:
        Problems: nothing given, both given, not found, not readable.
    """
    given = {split: Path(path).expanduser() for split, path in (files or {}).items() if path}
    if given and dataset is not None:
        mend = "leave one of them out"
        raise Problems(
            Problem("--dataset_name", "given together with --" + "_file, --".join(given) + "_file", mend)
        )
    if given:
        return _from_files(given)
    if dataset is None:
        dataset = default
    if dataset is None:
        raise Problems(
            Problem("data", "no data given", "give --dataset_name (Hub id, file, folder) or --train_file")
        )
    if isinstance(dataset, str | Path):
        source = _from_name(str(dataset), config)
        if config and source.hub_id is None:
            what = f"{config!r} has no effect: {source.name} is no data set of the Hub"
            source.warnings.append(Problem("--dataset_config_name", what, "leave it out"))
        return source
    tables = tables_of_object(dataset)
    hub_id, license_name = origin(tables)
    return Source(hub_id or "Python objects", tables, hub_id, license_name)


def _from_files(given: dict[str, Path]) -> Source:
    tables: dict[str, Table] = {}
    problems: list[Problem] = []
    if "train" not in given:
        problems.append(
            Problem("--train_file", f"missing: only {', '.join(given)} given", "give the training rows too")
        )
    for split, path in given.items():
        try:
            table = read_file(path)
            tables[split] = Table(table.rows, table.name, table.typed, path.parent, table.left_out)
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(*problems)
    if set(given) == {"train"}:
        tables = {WHOLE: tables["train"]}
    return Source(given["train"].name, tables, files=[path.name for path in given.values()])


def _from_name(name: str, config: str | None) -> Source:
    path = Path(name).expanduser()
    if path.is_dir():
        try:
            found = read_folder(path)
        except OSError as error:
            raise Problems(Problem(name, f"cannot be read: {error.strerror or error}")) from error
        name = path.resolve().name
        return Source(
            name,
            found.splits,
            None,
            of_folder(path).get("license"),
            found.files,
            found.ignored,
            found.warnings,
        )
    if path.exists() and path.suffix.lower() in IMAGE_SUFFIXES:
        return Source(path.name, {WHOLE: images_only([path], path.name)}, files=[path.name])
    if path.exists():
        table = read_file(path)
        table = Table(table.rows, table.name, table.typed, path.parent, table.left_out)
        return Source(path.name, {WHOLE: table}, files=[path.name])
    if names_a_path(name):
        raise Problems(no_such_file(path))
    splits, license_name = read_hub(name, config)
    tables = {str(key): Table(rows, f"{name} ({key})") for key, rows in splits.items()}
    return Source(name, tables, hub_id=name, license=license_name or None)


def names_a_path(name: str) -> bool:
    """Whether a name that is not here can be meant as a file or folder only, and not as an id of the Hub."""
    path = Path(name).expanduser()
    known = path.suffix.lower() in (*READERS, *IMAGE_SUFFIXES)
    return known or path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
