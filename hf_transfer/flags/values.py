"""What a flag may hold, and how the words of a command line or a config file become that."""

from __future__ import annotations

import ast
import json
import math
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hf_transfer.problems import nearest

TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")
PLAIN = ("bool", "int", "float", "str", "list", "dict")


@dataclass(frozen=True)
class Kind:
    """The types a value may have (`bool int float str list dict mappings none`; empty: only Python can give it)."""

    types: frozenset[str]
    choices: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What is expected, in words."""
        names = {
            "bool": "true or false",
            "int": "a whole number",
            "float": "a number",
            "dict": 'JSON as {"key": 1}',
        }
        said = [f"one of {', '.join(self.choices)}"] if self.choices else []
        said += [words for name, words in names.items() if name in self.types]
        said += ["text"] if "str" in self.types and not self.choices else []
        said += ["a list of mappings"] if "mappings" in self.types else []
        said += ["several words"] if "list" in self.types else []
        return " or ".join(said + (["none"] if "none" in self.types else []))


@dataclass(frozen=True)
class Flag:
    """One flag: `bare` when it may stand without a value (true), `whole` when 100 stays an int in a float."""

    name: str
    kind: Kind
    default: Any
    help: str
    group: str
    bare: bool = False
    whole: bool = False
    least: float | None = None
    most: float | None = None


def kind_of(annotation: Any, choices_of: Callable[[str], tuple[str, ...]] = lambda name: ()) -> Kind:
    """`Kind` of an annotation, as source text (`"int | None"`) or as a type; `choices_of` knows enums."""
    if not isinstance(annotation, str):
        plain = isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias)
        annotation = annotation.__name__ if plain else str(annotation)
    found: set[str] = set()
    choices: list[str] = []
    _collect(ast.parse(annotation, mode="eval").body, found, choices, choices_of)
    return Kind(frozenset(found), tuple(dict.fromkeys(choices)))


def _collect(
    node: ast.AST, found: set[str], choices: list[str], choices_of: Callable[[str], tuple[str, ...]]
) -> None:
    if isinstance(node, ast.BinOp):
        parts = [node.left, node.right]
    elif isinstance(node, ast.Subscript):
        parts = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        name = node.value.attr if isinstance(node.value, ast.Attribute) else ast.unparse(node.value)
        if name == "list" and [ast.unparse(part) for part in parts] == ["dict"]:
            found.add("mappings")
            return
        if name.lower() in ("list", "tuple", "sequence", "dict"):
            found.add("dict" if name.lower() == "dict" else "list")
            if name.lower() != "dict":  # of an item only the choices matter: items are words
                parts = [part for part in parts if ast.unparse(part) not in PLAIN]
            else:
                parts = []
        elif name == "Optional":
            found.add("none")
        elif name == "Literal":
            return _literals(parts, found, choices)
    elif isinstance(node, ast.Constant) and node.value is None:
        found.add("none")
        return
    else:
        name = node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)
        if name.lower() in PLAIN:
            found.add(name.lower())
        elif known := choices_of(name):
            choices.extend(known)
            found.add("str")
        return
    for part in parts:
        _collect(part, found, choices, choices_of)


def _literals(parts: list[ast.expr], found: set[str], choices: list[str]) -> None:
    for part in parts:
        value = ast.literal_eval(part)
        found.add("none" if value is None else type(value).__name__)
        if isinstance(value, str):
            choices.append(value)


def read(flag: Flag, value: Any) -> Any:
    """`value` (text, words, or what YAML or JSON held) as `flag` takes it; ValueError says what is wrong."""
    result = _from_text(flag, value) if isinstance(value, str) else _from_object(flag, value)
    if flag.least is not None and isinstance(result, int | float) and result < flag.least:
        raise ValueError(f"found {result}, expected {flag.least:g} or more")
    if flag.most is not None and isinstance(result, int | float) and result > flag.most:
        raise ValueError(f"found {result}, expected at most {flag.most:.10g}")
    if flag.least is not None and isinstance(result, float) and math.isinf(result):
        raise ValueError(f"found {result}, expected a finite number")
    return result


def _wrong(flag: Flag, found: Any, more: str = "") -> ValueError:
    if not flag.kind.types - {"none"}:
        return ValueError("cannot be written as text; give it in Python to TrainingArguments")
    found = str(found).lower() if isinstance(found, bool) else repr(found)
    return ValueError(f"found {found}, expected {flag.kind}{more}")


def _chosen(flag: Flag, text: str) -> str:
    if flag.kind.choices and text not in flag.kind.choices:
        raise _wrong(flag, text, nearest(text, flag.kind.choices))
    return text


def _from_text(flag: Flag, text: str) -> Any:
    may, word = flag.kind.types, text.lower()
    if text == flag.default and "str" in may:  # report_to's "none" is a word
        return text
    if "none" in may and word == "none":
        return None
    if "bool" in may and word in TRUE + FALSE:
        return word in TRUE
    if {"int", "float"} & may:
        number = _number(flag, text)
        if number is not None:
            return number
    if {"dict", "list", "mappings"} & may and text[:1] in ("{", "["):
        return _from_json(flag, text)
    if "str" in may and text:
        return _chosen(flag, text)
    if "list" in may and text:
        return [_chosen(flag, text)]
    raise _wrong(flag, text)


def _number(flag: Flag, text: str) -> int | float | None:
    """The number, if the text is one; whole ones stay ints where both are meant (warmup_steps)."""
    try:
        if "int" in flag.kind.types or flag.whole:
            return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return None if "float" not in flag.kind.types or math.isnan(number) else number


def _from_json(flag: Flag, text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise _wrong(flag, text, f" ({error.msg}, character {error.pos + 1})") from None
    return _from_object(flag, value)


def _from_object(flag: Flag, value: Any) -> Any:
    may = flag.kind.types
    if value is None:
        if "none" in may:
            return None
        if flag.default == "none":
            return "none"
    elif isinstance(value, bool):
        if "bool" in may:
            return value
        word = "yes" if value else "no"  # YAML reads `eval_strategy: no` as false
        if word in flag.kind.choices:
            return word
        if "str" in may:
            raise _wrong(flag, value, " (YAML reads yes, no, on and off as booleans: put the word in quotes)")
    elif isinstance(value, int):
        if {"int", "float"} & may:
            return value if "int" in may or flag.whole else float(value)
        if "str" in may and not flag.kind.choices:
            return str(value)
    elif isinstance(value, float):
        if "float" in may and not math.isnan(value):
            return value
    elif isinstance(value, list):
        if "mappings" in may and value and all(isinstance(item, dict) for item in value):
            return value
        if "list" in may and all(isinstance(item, str | int | float) for item in value):
            return [_chosen(flag, str(item)) for item in value]
    elif isinstance(value, dict) and "dict" in may:
        return value
    raise _wrong(flag, value)
