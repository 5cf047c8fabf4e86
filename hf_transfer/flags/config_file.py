"""One YAML or JSON file of flags."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_transfer.flags.command_line import Given
from hf_transfer.flags.names import find
from hf_transfer.flags.values import Flag, read
from hf_transfer.problems import Problem, Problems, nearest

YAML = "write one flag a line, as in `learning_rate: 3e-5`"
JSON = 'write an object of flags, as in {"learning_rate": 3e-5}'


def read_config_file(
    file: str, flags: dict[str, Flag], hidden: tuple[str, ...] = ()
) -> tuple[dict[str, Given], list[Problem]]:
    """Flags given in `file` and all that is wrong with it; the origin of each value is the file's name."""
    path, given, problems = Path(file), dict[str, Given](), list[Problem]()
    try:
        items = list(_items(path))
    except Problems as error:
        return {}, list(error.problems)
    for key, where, value in items:
        flag = find(key.lstrip("-"), f"{where}: {key}", flags, hidden)
        if isinstance(flag, Problem):
            problems.append(flag)
        elif flag.name in given:
            problems.append(Problem(f"{where}: {key}", "is given twice", "give it once"))
        else:
            try:
                given[flag.name] = Given(read(flag, value), path.name)
            except ValueError as error:
                given[flag.name] = Given(None, path.name)
                problems.append(Problem(f"{where}: {key}", str(error)))
    return given, problems


def _items(path: Path) -> Iterator[tuple[str, str, Any]]:
    """(key, where it stands, value) of the mapping in the file; Problems when there is none."""
    if path.is_dir():
        raise Problems(Problem(str(path), "is a folder, expected a config file", "check the path"))
    if not path.is_file():
        beside = [file.name for file in path.parent.glob("*") if file.suffix == path.suffix]
        raise Problems(
            Problem(str(path), f"no such config file{nearest(path.name, beside)}", "check the path")
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Problems(Problem(str(path), f"is not UTF-8 (byte {error.start})", "save it as UTF-8")) from None
    except OSError as error:
        raise Problems(
            Problem(str(path), f"cannot be read: {error.strerror}", "check who may read it")
        ) from None
    yield from (_json_items if path.suffix.lower() == ".json" else _yaml_items)(text, path)


def _json_items(text: str, path: Path) -> Iterator[tuple[str, str, Any]]:
    pairs: list[tuple[str, Any]] = []

    def keep(found: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs[:] = found  # objects close from the inside out: the last call holds the outermost pairs
        return dict(found)

    try:
        value = json.loads(text, object_pairs_hook=keep)
    except json.JSONDecodeError as error:
        raise Problems(Problem(f"{path}, line {error.lineno}", f"is no JSON: {error.msg}", JSON)) from None
    if not isinstance(value, dict):
        raise _not_flags(path, value)
    for key, item in pairs:
        yield key, str(path), item


def _yaml_items(text: str, path: Path) -> Iterator[tuple[str, str, Any]]:
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return
        if not isinstance(node, yaml.MappingNode):
            raise _not_flags(path, loader.construct_object(node, deep=True))
        for key, value in node.value:
            where = f"{path}, line {key.start_mark.line + 1}"
            yield (
                str(loader.construct_object(key, deep=True)),
                where,
                loader.construct_object(value, deep=True),
            )
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise Problems(
            Problem(f"{path}{line}", f"is no YAML: {error.problem or error.context}", YAML)
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, Problems):
            raise
        raise Problems(Problem(str(path), f"is no YAML: {' '.join(str(error).split())}", YAML)) from None


def _not_flags(path: Path, value: Any) -> Problems:
    found = f"holds {type(value).__name__} and not flags"
    return Problems(Problem(str(path), found, JSON if path.suffix.lower() == ".json" else YAML))
