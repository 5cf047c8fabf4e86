"""What to predict on: a command line's words, files, folders or Python objects as the rows that a run's model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.data.conventions import IMAGE_SUFFIXES
from hf_transfer.problems import Problem, Problems

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_transfer.data.tables import Table


@dataclass(frozen=True)
class Trained:
    """The input roles that a run was trained on; all of them are needed again."""

    inputs: tuple[str, ...]
    optional: tuple[str, ...] = ()
    target: str = "label"


@dataclass(frozen=True)
class Inputs:
    """Rows to predict on, in the order given.

    Attributes:
        rows: the roles the model takes (`text`, `text_pair` or `image`) and `row`.
        table: all columns that were given.
        columns: role -> its column in `table`.
    """

    rows: Dataset
    table: Table
    columns: dict[str, str]


def read_inputs(record: Mapping[str, Any], given: Any, **flags: str | None) -> Inputs:
    """The rows to predict on; every row is kept, and labels are not needed.

    Args:
        record: the run's `run.json`.
        given: a file, folder or text; texts, pairs `(a, b)`, images or their paths, alone or in a list; dicts with the
            training columns; a Dataset or DataFrame.
        flags: text_column, text_pair_column, image_column. By default the columns trained on, where the table has
            them, and else those that are unambiguous.

    Raises:
        Problems: not found, not readable, columns not clear, inputs of another kind than trained on.
    """
    from hf_transfer.data.columns import find_columns
    from hf_transfer.data.standard import standard
    from hf_transfer.data.unlabelled import only_table

    if record["problem_type"] == "language_modeling":
        what = f"a language model ({record['task']}), which gives texts no label"
        mend = f'use transformers.pipeline("{record["task"]}", ...), or train a task from this folder'
        raise Problems(Problem("the run", what, mend))
    trained = {role: name for role, name in record["data"]["columns"].items() if role != "label"}
    roles = Trained(tuple(trained))
    _check_flags(flags, roles)
    if isinstance(given, str | Path):
        given = from_words([str(given)], record)
    elif _is_one(given):
        given = [given]
    _check_pairs(given, roles)
    table = only_table(given)
    columns = {
        role: flags.get(f"{role}_column") or (name if name in table.columns else None)
        for role, name in trained.items()
    }
    if len(table.columns) == len(roles.inputs) == 1:  # there is nothing to choose from
        columns = {role: name or table.columns[0] for role, name in columns.items()}
    found = find_columns(roles, table, columns, labelled=False)
    return Inputs(standard(table, found), table, found)


def from_words(words: Sequence[str], record: Mapping[str, Any]) -> Any:
    """What the words of a command line stand for: a file or folder, several files of one form, or texts.

    A word is a file if it is there, or has the suffix of one. Where a run was trained on pairs, two words are one.

    Raises:
        Problems: no words, no such file, a text without its pair, a text where the model takes images.
    """
    from hf_transfer.data.files import READERS, no_such_file

    if not words:
        raise Problems(Problem("INPUT", "nothing to predict on", "give a file, a folder, or texts in quotes"))
    images = "image" in record["data"]["columns"]
    paths = [_path(word) for word in words]
    known = (*READERS, *IMAGE_SUFFIXES)
    # the path of an empty text would be the current folder
    files = [
        bool(word) and (_exists(p) or p.suffix.lower() in known) for word, p in zip(words, paths, strict=True)
    ]
    if images or any(files):
        missing = [path for path in paths if not _exists(path)]
        if missing:
            raise Problems(*(no_such_file(path) for path in missing))
        return paths[0] if len(paths) == 1 else _several(paths)
    if "text_pair" not in record["data"]["columns"]:
        return list(words)
    if len(words) % 2:
        what = f"{len(words)} texts, but the model was trained on pairs of texts"
        raise Problems(Problem("INPUT", what, 'give both: "first text" "second text"'))
    return list(zip(words[::2], words[1::2], strict=True))


def empty_rows(inputs: Inputs) -> list[int]:
    """Positions of the rows whose text is empty: they get a prediction like all others, but it means nothing."""
    empty: set[int] = set()
    for role in inputs.columns.keys() - {"image"}:
        empty |= {i for i, text in enumerate(inputs.rows[role][:]) if not text.strip()}
    return sorted(empty)


def _path(word: str) -> Path:
    try:
        return Path(word).expanduser()
    except RuntimeError:  # "~so" is nobody's home, but perhaps a text
        return Path(word)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a text too long to be a path
        return False


def _is_one(given: Any) -> bool:
    """Whether this is a single input rather than many: an image, a pair of texts, a dict of one row."""
    if isinstance(given, tuple):
        return len(given) == 2 and all(isinstance(text, str) for text in given)
    row = isinstance(given, Mapping) and bool(given) and all(isinstance(v, str) for v in given.values())
    return row or hasattr(given, "convert")


def _several(paths: list[Path]) -> Any:
    """Several images, or files of rows one after the other."""
    from hf_transfer.data.class_folders import images_only
    from hf_transfer.data.files import read_file
    from hf_transfer.data.tables import joined

    if all(path.suffix.lower() in IMAGE_SUFFIXES for path in paths):
        return images_only(paths, "images").rows
    return joined([replace(read_file(path), folder=path.parent) for path in paths]).rows


def _check_flags(flags: Mapping[str, str | None], roles: Trained) -> None:
    known = [f"{role}_column" for role in roles.inputs]
    takes = " and ".join(roles.inputs)
    wrong = [flag for flag, name in flags.items() if name and flag not in known]
    if wrong:
        raise Problems(
            *(
                Problem(f"--{flag}", f"the model was trained on {takes} only", "leave it out")
                for flag in wrong
            )
        )


def _check_pairs(given: Any, roles: Trained) -> None:
    first = given[0] if isinstance(given, list) and given else None
    pairs, wanted = isinstance(first, list | tuple), "text_pair" in roles.inputs
    if pairs and not wanted:
        raise Problems(Problem("inputs", "pairs of texts, but the model was trained on single texts"))
    if isinstance(first, str) and wanted:
        raise Problems(
            Problem("inputs", "single texts, but the model was trained on pairs", "give (text, text) pairs")
        )
