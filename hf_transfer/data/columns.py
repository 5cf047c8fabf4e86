"""Which column is the text, the image, the label: taken when unambiguous, asked for otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from hf_transfer.data.tables import Table, column_of
from hf_transfer.problems import Problem, Problems, nearest


class Roles(Protocol):
    """The part of a `Task` that finding columns needs."""

    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def optional(self) -> tuple[str, ...]: ...
    @property
    def target(self) -> str: ...


# Names people give, in groups: the first group that holds exactly one column wins, several in one are ambiguous.
CONVENTIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "text": (
        ("text", "texts"),
        (
            "sentence",
            "content",
            "review",
            "tweet",
            "body",
            "review_text",
            "review_body",
            "comment_text",
            "string",
        ),
        ("comment", "message", "document", "question", "query", "utterance", "headline", "post", "abstract"),
    ),
    "image": (
        ("image", "images"),
        ("img", "picture", "photo", "pixel_values", "file_name", "image_path", "path"),
    ),
    "label": (
        ("label", "labels"),
        ("class", "target", "category", "sentiment", "emotion", "intent", "topic"),
        ("score", "rating", "stars", "similarity", "similarity_score", "relatedness_score", "polarity", "y"),
    ),
}
PAIRS = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
    ("query", "passage"),
    ("query", "document"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence_a", "sentence_b"),
    ("claim", "evidence"),
)
IDS = ("id", "ids", "idx", "index", "guid", "uuid", "row", "rowid", "row_id", "unnamed: 0", "column_0")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")
FEW = 0.5  # a column with more different values than this share of its rows is not a column of classes


def find_columns(
    task: Roles, table: Table, given: Mapping[str, str | None], labelled: bool = True
) -> dict[str, str]:
    """Role -> column of `table` for the task's inputs and, if `labelled`, its target.

    Raises:
        Problems: a named column is not there, a role has no column or several candidates; all of them at once.
    """
    problems: list[Problem] = []
    wanted = (*task.inputs, task.target)
    columns = {role: name for role in wanted if (name := given.get(role))}
    for role, name in columns.items():
        if name not in table.columns:
            problems.append(_no_column(role, name, table))
    if "text_pair" in task.inputs and "text" not in columns and "text_pair" not in columns:
        columns |= _pair(table, taken=columns.values())
    for role in task.inputs:
        if role not in columns and role not in task.optional:
            _settle(columns, problems, role, _inputs(role, table, columns.values()), table)
    if task.target not in columns and labelled:
        _settle(columns, problems, task.target, _targets(task, table, columns.values()), table)
    problems += _shared(columns) if not problems else []
    problems += [
        p for role in task.inputs if role in columns and (p := _wrong_kind(role, columns[role], table))
    ]
    if problems:
        raise Problems(*problems)
    return {role: columns[role] for role in wanted if role in columns}


def kind(table: Table, column: str) -> str:
    """What a column holds: `image`, `class`, `text`, `number`, `list` or `other`."""
    import pyarrow as pa
    from datasets import ClassLabel, Image

    feature = table.rows.features[column]
    if isinstance(feature, Image):
        return "image"
    if isinstance(feature, ClassLabel):
        return "class"
    type_ = table.rows.data.schema.field(column).type
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "number" if not table.typed and _numeric(table, column) else "text"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_):
        return "number"
    if pa.types.is_struct(type_) and {field.name for field in type_} == {"bytes", "path"}:
        return "image"
    return "list" if pa.types.is_list(type_) or pa.types.is_large_list(type_) else "other"


def _numeric(table: Table, column: str) -> bool:
    import pyarrow.compute as pc

    values = column_of(table.rows, column)
    numbers = pc.match_substring_regex(values, r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$|^\s*$")
    return bool(pc.all(numbers, min_count=0).as_py()) and bool(pc.any(pc.not_equal(values, "")).as_py())


def _no_column(role: str, name: str, table: Table) -> Problem:
    if name in table.left_out:
        return Problem(
            f"--{role}_column", f"column {name!r} of {table.name} cannot be used: {table.left_out[name]}"
        )
    there = ", ".join(table.columns)
    what = f"{table.name} has no column {name!r}{nearest(name, table.columns)}; its columns are {there}"
    return Problem(f"--{role}_column", what, f"give --{role}_column with one of them")


def _pair(table: Table, taken: Iterable[str]) -> dict[str, str]:
    """Both columns of a pair with conventional names, unless one is taken already or several pairs are there."""
    lower = _by_lower_name(table)
    used = set(taken)
    found = [(lower[a], lower[b]) for a, b in PAIRS if a in lower and b in lower]
    found = [(a, b) for a, b in found if not used & {a, b} and kind(table, a) == kind(table, b) == "text"]
    return {"text": found[0][0], "text_pair": found[0][1]} if len(found) == 1 else {}


def _by_lower_name(table: Table) -> dict[str, str]:
    return {name.strip().lower(): name for name in table.columns}


def _conventional(role: str, table: Table, allowed: Sequence[str]) -> list[str]:
    lower = _by_lower_name(table)
    for group in CONVENTIONS.get(role, ()):
        found = [lower[name] for name in group if name in lower and lower[name] in allowed]
        if found:
            return found
    return []


def _inputs(role: str, table: Table, taken: Iterable[str]) -> list[str]:
    used = set(taken)
    free = [name for name in table.columns if name not in used]
    kinds = {name: kind(table, name) for name in free}
    if role == "image":
        images = [name for name in free if kinds[name] == "image"]
        named = images if len(images) == 1 else _conventional(role, table, images or free)
        return named or images or [name for name in free if kinds[name] == "text" and _paths(table, name)]
    named = _conventional(role, table, [name for name in free if kinds[name] != "image"])
    if named:
        return named
    labels = {name for name in free if kinds[name] == "text" and _repeats(table, name)}
    labels |= set(_conventional("label", table, free))
    texts = [name for name in free if kinds[name] == "text" and not _is_id(name)]
    return [name for name in texts if name not in labels] or texts


def _targets(task: Roles, table: Table, taken: Iterable[str]) -> list[str]:
    used = set(taken)
    free = [name for name in table.columns if name not in used and not _is_id(name)]
    free = [name for name in free if kind(table, name) in ("class", "text", "number", "list")]
    named = _conventional("label", table, free)
    if named:
        return named
    classes = [name for name in free if kind(table, name) == "class"]
    ending = [
        name for name in free if name.lower().rsplit("_", 1)[-1] in ("label", "labels", "class", "category")
    ]
    if classes or ending:
        return classes or ending
    repeated = [name for name in free if kind(table, name) != "list" and _repeats(table, name)]
    return free if len(free) == 1 else repeated or free


def _is_id(name: str) -> bool:
    return name.strip().lower() in IDS or name.lower().endswith("_id")


def _repeats(table: Table, column: str) -> bool:
    import pyarrow.compute as pc

    values = column_of(table.rows, column)
    return 1 < pc.count_distinct(values).as_py() <= max(2, FEW * len(values))


def _paths(table: Table, column: str) -> bool:
    """Whether a column of text starts with the name of an image file."""
    first = next((value for value in column_of(table.rows, column).slice(0, 100).to_pylist() if value), "")
    return first.lower().endswith(IMAGE_SUFFIXES)


def _settle(
    columns: dict[str, str], problems: list[Problem], role: str, found: list[str], table: Table
) -> None:
    if len(found) == 1:
        columns[role] = found[0]
        return
    flag = f"--{role}_column"
    if found:
        what = f"several columns of {table.name} could be the {role}: {', '.join(found)}"
        problems.append(Problem(flag, what, f"choose one: {flag} {found[0]}"))
    else:
        left_out = "".join(f"; {name} was left out: {why}" for name, why in table.left_out.items())
        what = f"no column of {table.name} looks like the {role}; its columns are {', '.join(table.columns)}{left_out}"
        problems.append(Problem(flag, what, f"name it with {flag}"))


def _shared(columns: Mapping[str, str]) -> list[Problem]:
    twice = [name for name in set(columns.values()) if list(columns.values()).count(name) > 1]
    roles = {
        name: " and ".join(f"--{role}_column" for role in columns if columns[role] == name) for name in twice
    }
    return [Problem(roles[name], f"both are {name!r}", "give each its own column") for name in twice]


def _wrong_kind(role: str, column: str, table: Table) -> Problem | None:
    if column not in table.columns:
        return None
    found = table.rows.features[column]
    here = kind(table, column)
    text = here == "text" or (here == "number" and not table.typed)
    if role.startswith("text") and not text:
        what = f"column {column!r} of {table.name} holds {_type_name(found)}, expected text"
        return Problem(f"--{role}_column", what, "choose a column of text")
    if role == "image" and here not in ("image", "text"):
        what = f"column {column!r} of {table.name} holds {_type_name(found)}, expected images or their paths"
        return Problem(f"--{role}_column", what, "choose a column of images")
    return None


def _type_name(feature: object) -> str:
    return str(getattr(feature, "dtype", None) or type(feature).__name__)
