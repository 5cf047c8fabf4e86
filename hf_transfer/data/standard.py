"""Rows under the names that everything after relies on: the task's inputs, `label`, `row`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.data.labels import MULTI, REGRESSION, Labels
from hf_transfer.data.tables import Table, arrow_of, dataset_of
from hf_transfer.problems import Problem, Problems

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def label_feature(labels: Labels) -> Any:
    """The feature of column `label`: int64 ids, a list of them, or a float."""
    from datasets import List, Value

    if labels.problem_type == MULTI:
        return List(Value("int64"))
    return Value("float64" if labels.problem_type == REGRESSION else "int64")


def standard(
    table: Table, columns: Mapping[str, str], labels: Sequence[Any] | None = None, feature: Any = None
) -> Dataset:
    """The rows of `table` with the columns `text`, `text_pair` or `image`, then `label` if given, and `row`.

    Missing texts become empty ones. Image columns of paths are looked up from the file's folder.

    Raises:
        Problems: image files that are not there.
    """
    import pyarrow as pa
    from datasets import Features, Image, Value

    source = arrow_of(table.rows, list(dict.fromkeys(columns.values())))
    arrays: dict[str, Any] = {}
    features: dict[str, Any] = {}
    for role, name in columns.items():
        if role == "image":
            arrays[role], features[role] = _images(source.column(name), table), Image()
        else:
            arrays[role], features[role] = (
                source.column(name).cast(pa.string()).fill_null(""),
                Value("string"),
            )
    if labels is not None:
        type_ = Features({"label": feature}).arrow_schema.field("label").type
        arrays["label"], features["label"] = pa.array(list(labels), type_), feature
    arrays["row"], features["row"] = pa.array(range(source.num_rows), pa.int64()), Value("int64")
    return dataset_of(pa.table(arrays), Features(features))


def _images(column: pa.ChunkedArray, table: Table) -> pa.ChunkedArray:
    """Paths or encoded images as the storage of an `Image` feature."""
    import pyarrow as pa
    from datasets import Image

    storage = Image().pa_type
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        return column.cast(storage)
    folder = table.folder or Path()
    paths = [None if not name else str(folder / name) for name in column.to_pylist()]
    missing = [path for path in paths if path and not Path(path).is_file()]
    if missing:
        listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        what = f"{len(missing)} of {len(paths)} image files are not there: {listed}"
        raise Problems(Problem(table.name, what, "give paths relative to that file's folder"))
    cells = [None if path is None else {"bytes": None, "path": path} for path in paths]
    return pa.chunked_array([pa.array(cells, storage)])
