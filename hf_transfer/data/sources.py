"""Where rows come from: a name, a path or a Python object becomes one table per split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_transfer.data.files import READERS, no_such_file, read_file
from hf_transfer.data.columns import IMAGE_SUFFIXES
from hf_transfer.data.folders import WHOLE, images_only, read_folder, split_of
from hf_transfer.data.hub import read_hub
from hf_transfer.data.tables import Table, joined, stream_to_dataset, table_of_columns, table_of_rows
from hf_transfer.problems import Problem, Problems, nearest


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
        return _from_name(str(dataset), config)
    tables = _from_object(dataset)
    hub_id, license_name = _origin(tables)
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
            name, found.splits, None, _card_license(path), found.files, found.ignored, found.warnings
        )
    if path.exists() and path.suffix.lower() in IMAGE_SUFFIXES:
        return Source(path.name, {WHOLE: images_only([path], path.name)}, files=[path.name])
    if path.exists():
        table = read_file(path)
        table = Table(table.rows, table.name, table.typed, path.parent, table.left_out)
        return Source(path.name, {WHOLE: table}, files=[path.name])
    if (
        path.suffix.lower() in (*READERS, *IMAGE_SUFFIXES)
        or path.is_absolute()
        or name.startswith((".", "~"))
        or name.count("/") > 1
    ):
        raise Problems(no_such_file(path))
    splits, license_name = read_hub(name, config)
    tables = {str(key): Table(rows, f"{name} ({key})") for key, rows in splits.items()}
    return Source(name, tables, hub_id=name, license=license_name or None)


def _card_license(folder: Path) -> str | None:
    """The licence in the header of a data set card (README.md), if there is one."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()[:200]
    if not lines or lines[0].strip() != "---":
        return None
    for line in lines[1:]:
        if line.strip() == "---":
            return None
        if line.startswith("license:") and line[8:].strip():
            return line[8:].strip().strip("'\"")
    return None


def _from_object(dataset: Any) -> dict[str, Table]:
    if isinstance(dataset, Mapping) and not _is_columns(dataset):
        return {str(key): _table(rows, str(key)) for key, rows in dataset.items()}
    return {WHOLE: _table(dataset, "data")}


def _is_columns(dataset: Mapping[Any, Any]) -> bool:
    """Whether a dict is columns of values rather than splits of rows."""
    plain = all(hasattr(value, "tolist") or isinstance(value, list) for value in dataset.values())
    rows = any(
        isinstance(value, list) and value and isinstance(value[0], Mapping) for value in dataset.values()
    )
    return plain and not rows and not any(split_of(str(key)) for key in dataset)


def _table(rows: Any, name: str) -> Table:
    import pandas as pd
    from datasets import Dataset, IterableDataset

    if isinstance(rows, Dataset):
        return Table(rows.with_format(None), name)
    if isinstance(rows, IterableDataset):
        return Table(stream_to_dataset(rows), name)
    if isinstance(rows, pd.DataFrame):
        return table_of_columns({str(column): _values(rows[column]) for column in rows.columns}, name)
    if isinstance(rows, Mapping):
        return table_of_columns({str(key): _values(value) for key, value in rows.items()}, name)
    if isinstance(rows, tuple) and len(rows) == 2:
        return _pair(_values(rows[0]), _values(rows[1]), name)
    if isinstance(rows, str | Path):
        return read_file(Path(rows).expanduser())
    if isinstance(rows, Sequence) and rows and isinstance(rows[0], Mapping):
        return table_of_rows(rows, name)
    if isinstance(rows, list) and rows:
        return _inputs(rows, name)
    what = f"{type(rows).__name__} is not understood as rows"
    mend = "give a Dataset, DataFrame, list of dicts, dict of splits, or a pair (texts, labels)"
    raise Problems(Problem(name, what, mend))


def _values(column: Any) -> list[Any]:
    """A column as Python values; NaN is a gap, and whole numbers that pandas made floats because of a gap stay whole."""
    values = column.tolist() if hasattr(column, "tolist") else list(column)
    gaps = [isinstance(value, float) and value != value for value in values]
    if not any(gaps):
        return values
    kept: list[Any] = [None if gap else value for value, gap in zip(values, gaps, strict=True)]
    if all(value is None or (isinstance(value, float) and value.is_integer()) for value in kept):
        return [None if value is None else int(value) for value in kept]
    return kept


def _pair(inputs: list[Any], labels: list[Any], name: str) -> Table:
    from datasets import concatenate_datasets

    if len(inputs) != len(labels):
        what = f"{len(inputs)} inputs but {len(labels)} labels"
        raise Problems(Problem(name, what, "give one label for each input"))
    targets = table_of_columns({"label": labels}, name)
    return Table(concatenate_datasets([_inputs(inputs, name).rows, targets.rows], axis=1), name)


def _inputs(values: list[Any], name: str) -> Table:
    """A list of texts, pairs of texts, images or paths of images."""
    from datasets import Dataset, Features, Image

    first = next((value for value in values if value is not None), None)
    if isinstance(first, list | tuple) and len(first) == 2:
        return table_of_columns({"text": [a for a, _ in values], "text_pair": [b for _, b in values]}, name)
    if first is None or isinstance(first, str):
        return table_of_columns({"text": values}, name)
    images = [str(value) if isinstance(value, Path) else value for value in values]
    try:
        return Table(Dataset.from_dict({"image": images}, features=Features({"image": Image()})), name)
    except (TypeError, ValueError, AttributeError, OSError) as error:
        what = f"a list of {type(first).__name__} is not understood as inputs"
        raise Problems(Problem(name, what, "give texts, pairs of texts, images, or dicts")) from error


def _origin(tables: dict[str, Table]) -> tuple[str | None, str | None]:
    """Hub id and licence that a `Dataset` remembers from its download."""
    for table in tables.values():
        info = table.rows.info
        for url in info.download_checksums or {}:
            if str(url).startswith("hf://datasets/"):
                return str(url).removeprefix("hf://datasets/").split("@")[0], info.license or None
    return None, None


def choose_splits(source: Source, wanted: Mapping[str, str | None]) -> dict[str, Table]:
    """The tables as train, validation and test; WHOLE rows are train. Others are left out, and named.

    Args:
        wanted: split -> name in the source, or a slice of it such as `train[:10%]`.

    Raises:
        Problems: a wanted split is not there, no train, or several could be one split.
    """
    chosen: dict[str, Table] = {}
    problems: list[Problem] = []
    names = [name for name in source.tables if name != WHOLE]
    for split in ("train", "validation", "test"):
        given = wanted.get(split)
        if given:
            try:
                chosen[split] = _slice(source.tables, given, f"--{split}_split")
            except Problems as error:
                problems += error.problems
            continue
        fitting = [name for name in names if name == split] or [
            name for name in names if split_of(name) == split
        ]
        if len(fitting) > 1:
            what = f"several splits could be {split}: {', '.join(fitting)}"
            problems.append(Problem(source.name, what, f"choose one with --{split}_split"))
        elif fitting and fitting[0] not in [value for value in wanted.values() if value]:
            chosen[split] = source.tables[fitting[0]]
    if "train" not in chosen and not problems:
        if len(source.tables) == 1:
            chosen["train"] = next(iter(source.tables.values()))
        else:
            what = f"no training split among {', '.join(names)}"
            problems.append(Problem(source.name, what, "choose one with --train_split"))
    if problems:
        raise Problems(*problems)
    for name, table in source.tables.items():
        used = any(table is other for other in chosen.values()) or any(
            name in (w or "") for w in wanted.values()
        )
        if not used:
            source.ignored.append(name)
            source.warnings.append(
                Problem(name, "this split is left out: its name is none of train, validation, test")
            )
    return chosen


def _slice(tables: Mapping[str, Table], spec: str, flag: str) -> Table:
    from datasets import ReadInstruction

    sizes = {("train" if name == WHOLE else name): len(table.rows) for name, table in tables.items()}
    by_name = {("train" if name == WHOLE else name): table for name, table in tables.items()}
    if spec in by_name:
        return by_name[spec]
    try:
        parts = ReadInstruction.from_spec(spec).to_absolute(sizes)
    except (ValueError, AssertionError) as error:
        what = f"there is no split {spec!r}{nearest(spec, list(sizes))}; there are {', '.join(sizes)}"
        raise Problems(Problem(flag, what, "choose one of them, or a slice such as train[:80%]")) from error
    tables_ = []
    for part in parts:
        table = by_name[part.splitname]
        start, stop = part.from_ or 0, sizes[part.splitname] if part.to is None else part.to
        rows = table.rows.select(range(start, stop))
        tables_.append(
            Table(rows, f"{table.name} [{start}:{stop}]", table.typed, table.folder, table.left_out)
        )
    return joined(tables_)
