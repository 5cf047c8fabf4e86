"""One file of rows: csv, tsv, json, jsonl, parquet, arrow or txt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_transfer.data.delimited import read_delimited, read_text
from hf_transfer.data.tables import Table, dataset_of, table_of_columns, table_of_rows
from hf_transfer.problems import Problem, Problems

IN_MEMORY = 2**30  # bytes; a larger parquet file is written to the datasets cache once and memory-mapped


def read_file(path: Path) -> Table:
    """The rows of a file, its format told by its suffix.

    Raises:
        Problems: no such file, unknown suffix, unreadable, cut off, empty, wrongly encoded, or a line is broken.
    """
    if not path.exists():
        raise Problems(no_such_file(path))
    if path.is_dir():
        raise Problems(Problem(str(path), "is a folder, expected a file", "give folders with --dataset_name"))
    read = READERS.get(path.suffix.lower())
    if read is None:
        what = f"the suffix {path.suffix or '(none)'} is not known, expected one of {', '.join(READERS)}"
        raise Problems(Problem(str(path), what, "rename or convert it"))
    try:
        table = read(path)
    except OSError as error:
        raise Problems(Problem(str(path), f"cannot be read: {error.strerror or error}")) from error
    if not len(table.rows):
        raise Problems(Problem(str(path), "has no rows", "expected at least one row of data"))
    return table


def no_such_file(path: Path) -> Problem:
    """Says that `path` is not there, and what is there instead."""
    from hf_transfer.problems import nearest

    folder = path.parent
    if not folder.is_dir():
        return Problem(str(path), f"no such file, and no folder {folder}", "check the path")
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return Problem(
        str(path), f"no such file{nearest(path.name, names)}", f"check the path (looked in {folder})"
    )


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset

    try:
        if path.stat().st_size > IN_MEMORY:
            pq.read_schema(path)  # a cut file shows here, before anything is written
            return Table(Dataset.from_parquet(str(path)), path.name)
        content = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise Problems(_unreadable(path, "parquet", error)) from error
    index = [name for name in content.column_names if name.startswith("__index_level_")]
    content = content.drop_columns(index)
    try:
        return Table(dataset_of(content), path.name)
    except (ValueError, TypeError, KeyError):  # features written by another version: take Arrow's own types
        return Table(dataset_of(content.replace_schema_metadata(None)), path.name)


def _arrow(path: Path) -> Table:
    import pyarrow as pa
    from datasets import Dataset

    try:
        return Table(Dataset.from_file(str(path)), path.name)
    except (pa.ArrowException, OSError) as error:
        raise Problems(_unreadable(path, "arrow", error)) from error


def _unreadable(path: Path, kind: str, error: BaseException) -> Problem:
    what = f"not a readable {kind} file, perhaps cut off: {str(error).splitlines()[0][:200]}"
    return Problem(str(path), what, "copy or download it again")


def _jsonl(path: Path) -> Table:
    return _json_lines(path, read_text(path))


def _json_lines(path: Path, text: str) -> Table:
    rows: list[Any] = []
    blank = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            blank += 1
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise Problems(_broken(path, number, line, error)) from error
        if not isinstance(rows[-1], dict):
            what = f"line {number} is {type(rows[-1]).__name__}, expected an object with named fields"
            raise Problems(Problem(str(path), what, 'write each line as {"text": ..., "label": ...}'))
    return table_of_rows(rows, path.name, first_line=1 if blank <= 1 else None)


def _broken(path: Path, number: int, line: str, error: ValueError) -> Problem:
    start = line.strip()[:60]
    return Problem(
        str(path), f"line {number} is not valid JSON ({error}): {start}", "mend or remove that line"
    )


def _json(path: Path) -> Table:
    text = read_text(path)
    if not text.strip():
        raise Problems(Problem(str(path), "the file is empty", "expected a list of objects"))
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("{") and "\n" in text.strip():
            try:  # lines of objects in a file named .json
                json.loads(text.lstrip().split("\n", 1)[0])
            except ValueError:
                pass
            else:
                return _json_lines(path, text)
        where = f"line {error.lineno} is not valid JSON ({error.msg})"
        what = f"{where}; the file ends there: cut off?" if error.pos >= len(text.rstrip()) else where
        raise Problems(
            Problem(str(path), what, "mend that line, or write one object a line (.jsonl)")
        ) from error
    return _json_table(path, content)


def _json_table(path: Path, content: Any) -> Table:
    if isinstance(content, dict):
        lists = {key: value for key, value in content.items() if isinstance(value, list)}
        if lists and len(lists) == len(content) and not all(_objects(value) for value in lists.values()):
            sizes = {len(value) for value in lists.values()}
            if len(sizes) == 1:
                return table_of_columns(lists, path.name)
        tables = [value for value in lists.values() if _objects(value)]
        content = (
            tables[0] if len(tables) == 1 else [content]
        )  # {"data": [...]}, or the single line of a jsonl
    if not isinstance(content, list):
        what = f"holds {type(content).__name__}, expected a list of objects"
        raise Problems(Problem(str(path), what, 'write [{"text": ..., "label": ...}, ...]'))
    return table_of_rows(content, path.name)


def _objects(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, dict) for value in values)


def _txt(path: Path) -> Table:
    lines = read_text(path).split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return table_of_columns({"text": [line.rstrip("\r") for line in lines]}, path.name, first_line=1)


# In the order of preference where a folder holds a split in several formats.
READERS: dict[str, Callable[[Path], Table]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".txt": _txt,
}
