"""One file of rows: csv, tsv, json, jsonl, parquet, arrow or txt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hf_transfer.data.delimited import read_delimited, read_text
from hf_transfer.data.json_files import read_json, read_json_lines
from hf_transfer.data.tables import Table, dataset_of, table_of_columns
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
        raise Problems(
            Problem(
                str(path),
                "is a folder, expected a file",
                "give its files, or the whole folder with --dataset_name",
            )
        )
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
    if path.is_symlink():
        return Problem(str(path), f"a link to {path.readlink()}, which is not there", "mend the link")
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return Problem(
        str(path), f"no such file{nearest(path.name, names)}", f"check the path (looked in {folder})"
    )


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset

    try:
        names = pq.read_schema(path).names  # a cut file shows here, before anything is written
        if twice := sorted({name for name in names if names.count(name) > 1}):
            what = f"names a column twice: {', '.join(twice)}"
            raise Problems(Problem(str(path), what, "give each column a name of its own"))
        if path.stat().st_size > IN_MEMORY:
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


def _txt(path: Path) -> Table:
    lines = read_text(path).split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return table_of_columns({"text": [line.rstrip("\r") for line in lines]}, path.name)


# In the order of preference where a folder holds a split in several formats.
READERS: dict[str, Callable[[Path], Table]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".txt": _txt,
}
