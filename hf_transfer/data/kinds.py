"""What a column holds, seen from its type and, where all is text, from its values."""

from __future__ import annotations

from hf_transfer.data.conventions import IDS, IMAGE_SUFFIXES
from hf_transfer.data.tables import Table, column_of

FEW = 0.5  # a column with more different values than this share of its rows is not a column of classes
NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


def kind(table: Table, column: str) -> str:
    """One of `image`, `class`, `text`, `number`, `list`, `other`."""
    import pyarrow as pa
    from datasets import ClassLabel, Image

    feature = table.rows.features[column]
    if isinstance(feature, Image):
        return "image"
    if isinstance(feature, ClassLabel):
        return "class"
    type_ = table.rows.data.schema.field(column).type
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "number" if not table.typed and _all_numbers(table, column) else "text"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_):
        return "number"
    if pa.types.is_struct(type_) and {field.name for field in type_} == {"bytes", "path"}:
        return "image"
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return "other" if pa.types.is_nested(type_.value_type) else "list"
    return "other"


def _all_numbers(table: Table, column: str) -> bool:
    import pyarrow.compute as pc

    values = column_of(table.rows, column)
    filled = pc.not_equal(pc.utf8_trim_whitespace(values), "")
    numbers = pc.or_(pc.invert(filled), pc.match_substring_regex(values, NUMBER))
    return bool(pc.all(numbers, min_count=0).as_py() and pc.any(filled).as_py())


def repeats(table: Table, column: str) -> bool:
    """Whether a column's values recur as those of classes do: at least two, at most half as many as rows."""
    import pyarrow.compute as pc

    values = column_of(table.rows, column)
    return bool(1 < pc.count_distinct(values).as_py() <= max(2, FEW * len(values)))


def names_images(table: Table, column: str) -> bool:
    """Whether a column of text starts with the name of an image file."""
    first = next((value for value in column_of(table.rows, column).slice(0, 100).to_pylist() if value), "")
    return str(first).lower().endswith(IMAGE_SUFFIXES)


def is_id(name: str) -> bool:
    """Whether a column is named like the number of a row."""
    return name.strip().lower() in IDS or name.strip().lower().endswith("_id")


def type_name(table: Table, column: str) -> str:
    """The type of a column as messages call it."""
    feature = table.rows.features[column]
    return str(getattr(feature, "dtype", None) or type(feature).__name__)
