"""json and jsonl: a list of objects, objects line by line, or columns; a broken line is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hf_transfer.data.delimited import read_text
from hf_transfer.data.tables import Table, table_of_columns, table_of_rows
from hf_transfer.problems import Problem, Problems


def read_json_lines(path: Path) -> Table:
    """One object a line; empty lines are passed over."""
    return _json_lines(path, read_text(path))


def _json_lines(path: Path, text: str) -> Table:
    rows: list[Any] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        lines.append(number)
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise Problems(_broken(path, number, line, error)) from error
        if not isinstance(rows[-1], dict):
            what = f"line {number} is {type(rows[-1]).__name__}, expected an object with named fields"
            raise Problems(Problem(str(path), what, 'write each line as {"text": ..., "label": ...}'))
    return table_of_rows(rows, path.name, lines)


def _broken(path: Path, number: int, line: str, error: ValueError) -> Problem:
    start = line.strip()[:60]
    return Problem(
        str(path), f"line {number} is not valid JSON ({error}): {start}", "mend or remove that line"
    )


def read_json(path: Path) -> Table:
    """A list of objects, `{"data": [...]}`, an object of equally long lists, or objects line by line."""
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
