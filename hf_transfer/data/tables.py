"""A table of rows on its way in: Arrow in memory, and what a message about it should call it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.data.pixels import cells_of
from hf_transfer.problems import Problem, Problems

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


@dataclass(frozen=True)
class Table:
    """Rows of one split as they were found.

    Attributes:
        rows: all columns, nothing dropped.
        name: what messages call it, e.g. `reviews.csv`.
        typed: False where every value is text (csv), so that numbers have to be recognised.
        folder: where relative image paths start.
        left_out: columns that could not be read, and why.
    """

    rows: Dataset
    name: str
    typed: bool = True
    folder: Path | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self.rows.column_names)


def dataset_of(table: pa.Table, features: Any = None) -> Dataset:
    """An Arrow table as a `Dataset`, without hashing its content for a fingerprint nobody needs."""
    from datasets import Dataset, DatasetInfo
    from datasets.table import InMemoryTable

    info = DatasetInfo(features=features) if features is not None else None
    return Dataset(InMemoryTable(table), info=info, fingerprint=uuid.uuid4().hex[:16])


def arrow_of(rows: Dataset, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows as an Arrow table, in their order (a view where `rows` is not reordered)."""
    chosen = rows if columns is None else rows.select_columns(list(columns))
    return chosen.with_format("arrow")[:]


def column_of(rows: Dataset, column: str) -> pa.ChunkedArray:
    """One column in row order; other columns (images) are not touched."""
    return arrow_of(rows, [column]).column(column)


def pick(rows: Dataset, indices: Any) -> Dataset:
    """Some rows, in the order of `indices`. Texts are copied together, since that reads fastest; images stay put."""
    if "image" in rows.column_names:
        return rows.select(indices)
    return dataset_of(arrow_of(rows).take(indices), rows.features)


def table_of_columns(
    columns: Mapping[str, Sequence[Any]], name: str, lines: Sequence[int] | None = None
) -> Table:
    """Python columns as a table; one column must hold one type.

    Args:
        lines: line of each row in the file, so that messages name lines instead of rows.

    Raises:
        Problems: a column mixes text, numbers and booleans. Nested columns that do not fit Arrow are left out.
    """
    import pyarrow as pa

    arrays, problems, left_out = {}, [], {}
    for column, values in columns.items():
        try:
            arrays[str(column)] = pa.array(cells_of(values))
        except UnicodeEncodeError:
            problems.append(_half_character(str(column), values, name, lines))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
            if any(isinstance(value, (dict, list)) for value in values):
                left_out[str(column)] = f"its values do not have one form ({_first_line(error)})"
            else:
                problems.append(_mixed(str(column), values, name, lines))
    if problems:
        raise Problems(*problems)
    return Table(dataset_of(pa.table(arrays)), name, left_out=left_out)


def _mixed(column: str, values: Sequence[Any], name: str, lines: Sequence[int] | None) -> Problem:
    kinds = [type(value).__name__ for value in values]
    first = next((kind for kind in kinds if kind != "NoneType"), "NoneType")
    odd = next((i for i, kind in enumerate(kinds) if kind not in (first, "NoneType")), 0)
    found = f"{kinds[odd]} ({values[odd]!r}) in {_place(odd, lines)}"
    what = f"column {column!r} mixes types: {first} at first, {found}"
    return Problem(name, what, "give every row of a column the same type, e.g. all text")


def _place(row: int, lines: Sequence[int] | None) -> str:
    return f"row {row}" if lines is None else f"line {lines[row]}"


def _half_character(column: str, values: Sequence[Any], name: str, lines: Sequence[int] | None) -> Problem:
    """Half of a surrogate pair, as a text cut within an emoji leaves it in JSON."""
    row = next(i for i, value in enumerate(values) if value != str(value).encode("utf-8", "replace").decode())
    what = f"column {column!r} holds half a character (a lone surrogate) in {_place(row, lines)}"
    return Problem(name, what, "remove it: it cannot be written as UTF-8")


def table_of_rows(rows: Sequence[Any], name: str, lines: Sequence[int] | None = None) -> Table:
    """Dicts, one a row, as a table; keys that a row lacks are gaps."""
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            place = _place(i, lines)
            what = f"{place} is {type(row).__name__}, expected an object with named fields"
            raise Problems(Problem(name, what, 'write each row as {"text": ..., "label": ...}'))
    names = dict.fromkeys(key for row in rows for key in row)
    return table_of_columns({key: [row.get(key) for row in rows] for key in names}, name, lines)


def joined(tables: Sequence[Table]) -> Table:
    """Tables of the same columns, one after the other.

    Raises:
        Problems: their columns or types differ.
    """
    from datasets import concatenate_datasets

    first = tables[0]
    if len(tables) == 1:
        return first
    for other in tables[1:]:
        if set(other.columns) != set(first.columns):
            odd = sorted(set(other.columns) ^ set(first.columns))
            what = f"files of one split have different columns: {first.name} and {other.name} differ in {odd}"
            raise Problems(
                Problem(other.name, what, "give one file with --train_file, or make their columns equal")
            )
    try:
        rows = concatenate_datasets(
            [first.rows, *[table.rows.select_columns(first.columns) for table in tables[1:]]]
        )
    except (ValueError, TypeError) as error:
        where = ", ".join(table.name for table in tables)
        raise Problems(
            Problem(where, f"files of one split have different types: {_first_line(error)}")
        ) from error
    names = [table.name for table in tables]
    name = ", ".join(names) if len(names) <= 3 else f"{names[0]} .. {names[-1]} ({len(names)} files)"
    return Table(rows, name, first.typed, first.folder, {k: v for t in tables for k, v in t.left_out.items()})


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def stream_to_dataset(rows: Any) -> Dataset:
    """An `IterableDataset` written to Arrow once, memory-mapped, and deleted when Python ends."""
    import atexit
    import shutil
    import tempfile

    from datasets import Dataset

    folder = tempfile.mkdtemp(prefix="hf_transfer_stream_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

    def generate() -> Iterator[Any]:
        yield from rows

    # a stream has no fingerprint to trust: a fresh one, so that no earlier copy is taken for it
    return Dataset.from_generator(
        generate, features=rows.features, cache_dir=folder, fingerprint=uuid.uuid4().hex[:16]
    )
