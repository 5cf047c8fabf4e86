"""Which column is the text, the image, the label: taken when unambiguous, asked for otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from hf_transfer.data.conventions import CONVENTIONS, PAIRS
from hf_transfer.data.kinds import is_id, kind, names_images, repeats, type_name
from hf_transfer.data.tables import Table
from hf_transfer.problems import Problem, Problems, nearest

LABEL_KINDS = ("class", "text", "number", "list")


class Roles(Protocol):
    """The part of a `Task` that finding columns needs."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Roles of the input columns."""

    @property
    def optional(self) -> tuple[str, ...]:
        """Those of the inputs that may be absent."""

    @property
    def target(self) -> str:
        """The role of the label; "" for a task that has none."""


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
    problems += [no_column(role, name, table) for role, name in columns.items() if name not in table.columns]
    if "text_pair" in task.inputs and not {"text", "text_pair"} & columns.keys():
        columns |= _pair(table, taken=columns.values())
    for role in task.inputs:
        if role not in columns and role not in task.optional:
            _settle(columns, problems, role, _inputs(role, table, columns.values()), table)
    if task.target not in columns and labelled:
        _settle(columns, problems, task.target, _targets(table, columns.values()), table)
    if not problems:
        problems = [*_shared(columns), *_wrong_kinds(task, columns, table)]
    if problems:
        raise Problems(*problems)
    return {role: columns[role] for role in wanted if role in columns}


def no_column(role: str, name: str, table: Table) -> Problem:
    """Says that the table has no column `name`, and which it has."""
    flag = f"--{role}_column"
    if name in table.left_out:
        return Problem(flag, f"column {name!r} of {table.name} cannot be used: {table.left_out[name]}")
    there = ", ".join(table.columns)
    what = f"{table.name} has no column {name!r}{nearest(name, table.columns)}; its columns are {there}"
    return Problem(flag, what, f"give {flag} one of them")


def _pair(table: Table, taken: Iterable[str]) -> dict[str, str]:
    """Both columns of a pair with conventional names, if there is exactly one such pair."""
    lower = _by_lower_name(table)
    used = set(taken)
    found = [(lower[a], lower[b]) for a, b in PAIRS if a in lower and b in lower]
    found = [(a, b) for a, b in found if not used & {a, b} and kind(table, a) == kind(table, b) == "text"]
    return {"text": found[0][0], "text_pair": found[0][1]} if len(found) == 1 else {}


def _by_lower_name(table: Table) -> dict[str, str]:
    return {name.strip().lower(): name for name in table.columns}


def _conventional(role: str, table: Table, allowed: Sequence[str]) -> list[str]:
    """Columns of the first group of conventional names that has any."""
    lower = _by_lower_name(table)
    for group in CONVENTIONS.get(role, ()):
        found = [lower[name] for name in group if name in lower and lower[name] in allowed]
        if found:
            return found
    return []


def _inputs(role: str, table: Table, taken: Iterable[str]) -> list[str]:
    """Candidates for an input: by name, else by type."""
    used = set(taken)
    free = [name for name in table.columns if name not in used]
    kinds = {name: kind(table, name) for name in free}
    if role == "image":
        images = [name for name in free if kinds[name] == "image"]
        named = images if len(images) == 1 else _conventional(role, table, images or free)
        return named or images or [n for n in free if kinds[n] == "text" and names_images(table, n)]
    texts = [name for name in free if kinds[name] == "text"]
    # a number in a column named text is for the check of kinds to refuse, not a reason to look elsewhere
    named = _conventional(role, table, texts) or _conventional(role, table, free)
    if named:
        return named
    texts = [name for name in texts if not is_id(name) and not names_images(table, name)]
    named = _conventional("label", table, free)
    texts = [name for name in texts if name not in named]
    return [name for name in texts if not repeats(table, name)] or texts


def _targets(table: Table, taken: Iterable[str]) -> list[str]:
    """Candidates for the label: by name, ClassLabel, `*_label`, else the only column left or those that repeat."""
    used = set(taken)
    free = [name for name in table.columns if name not in used and not is_id(name)]
    kinds = {name: kind(table, name) for name in free}
    named = _conventional("label", table, free)  # of the wrong kind, it is for the check of kinds to refuse
    if named:
        return named
    free = [name for name in free if kinds[name] in LABEL_KINDS]
    endings = ("label", "labels", "class", "category")
    ending = [name for name in free if name.lower().rsplit("_", 1)[-1] in endings]
    classes = [name for name in free if kinds[name] == "class"] or ending
    if classes or len(free) == 1:
        return classes or free
    return [name for name in free if kinds[name] != "list" and repeats(table, name)] or free


def _settle(
    columns: dict[str, str], problems: list[Problem], role: str, found: list[str], table: Table
) -> None:
    flag = f"--{role}_column"
    if len(found) == 1:
        columns[role] = found[0]
    elif found:
        what = f"several columns of {table.name} could be the {role}: {', '.join(found)}"
        problems.append(Problem(flag, what, f"name it: {flag} NAME"))
    elif columns and set(table.columns) <= set(columns.values()) and not table.left_out:
        what = f"{table.name} has no column beside {', '.join(table.columns)}, and so no {role}"
        problems.append(Problem(flag, what, f"give a file with a {role} in every row, such as a csv"))
    else:
        there = ", ".join(table.columns)
        left_out = "".join(f"; {name} was left out: {why}" for name, why in table.left_out.items())
        what = f"no column of {table.name} looks like the {role}; its columns are {there}{left_out}"
        problems.append(Problem(flag, what, f"name it with {flag}"))


def _shared(columns: Mapping[str, str]) -> list[Problem]:
    """Columns that serve two roles."""
    problems = []
    for name in dict.fromkeys(columns.values()):
        flags = [f"--{role}_column" for role in columns if columns[role] == name]
        if len(flags) > 1:
            problems.append(Problem(" and ".join(flags), f"both are {name!r}", "give each its own column"))
    return problems


def _wrong_kinds(task: Roles, columns: Mapping[str, str], table: Table) -> list[Problem]:
    """Columns that hold something else than the role takes."""
    problems = []
    for role in columns:
        found = kind(table, columns[role])
        text = found == "text" or (found == "number" and not table.typed)
        wanted = "images or their paths" if role == "image" else "text"
        good = text or (role == "image" and found == "image")
        if role == task.target:
            wanted, good = "labels", found in LABEL_KINDS
        if not good:
            held = type_name(table, columns[role])
            what = f"column {columns[role]!r} of {table.name} holds {held}, expected {wanted}"
            problems.append(Problem(f"--{role}_column", what, f"choose a column of {wanted}"))
    return problems
