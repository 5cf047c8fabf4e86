"""Tables from Python objects: Datasets, DataFrames, lists, pairs of inputs and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_transfer.data.files import read_file
from hf_transfer.data.pixels import cells_of
from hf_transfer.data.split_names import WHOLE, split_of
from hf_transfer.data.tables import Table, stream_to_dataset, table_of_columns, table_of_rows
from hf_transfer.licenses import of_hub
from hf_transfer.problems import Problem, Problems


def tables_of_object(dataset: Any) -> dict[str, Table]:
    """Split -> table; WHOLE where the object has no splits.

    Raises:
        Problems: it is not understood as rows.
    """
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
    if isinstance(rows, list | tuple | dict) and not rows:
        raise Problems(Problem(name, "has no rows", "give at least a few of each class"))
    if isinstance(rows, list):
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
    images = [str(value) if isinstance(value, Path) else value for value in cells_of(values)]
    try:
        return Table(Dataset.from_dict({"image": images}, features=Features({"image": Image()})), name)
    except (TypeError, ValueError, AttributeError, OSError) as error:
        what = f"a list of {type(first).__name__} is not understood as inputs"
        raise Problems(Problem(name, what, "give texts, pairs of texts, images, or dicts")) from error


def origin(tables: dict[str, Table]) -> tuple[str | None, str | None]:
    """Hub id and licence that a `Dataset` remembers from its download."""
    for table in tables.values():
        info = table.rows.info
        for url in info.download_checksums or {}:
            if str(url).startswith("hf://datasets/"):
                hub_id = str(url).removeprefix("hf://datasets/").split("@")[0]
                return hub_id, info.license or of_hub(hub_id, "dataset").get("license")
    return None, None
