"""The words of a command line: at most one config file first, then `--flag value`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hf_transfer.flags.names import find
from hf_transfer.flags.values import FALSE, TRUE, Flag, read
from hf_transfer.problems import Problem

CONFIG_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Given:
    """A value that the user gave, and where: `"flag"` or the name of the config file."""

    value: Any
    origin: str


@dataclass(frozen=True)
class CommandLine:
    """What was read: the config file named first (if any), the flags, and all that is wrong."""

    config: str | None
    given: dict[str, Given]
    problems: list[Problem]


def read_command_line(argv: list[str], flags: dict[str, Flag], hidden: tuple[str, ...]) -> CommandLine:
    """Read `argv` (without the program) by the table `flags`; nothing is raised, problems are returned."""
    first = next((n for n, word in enumerate(argv) if _is_flag(word)), len(argv))
    configs = [word for word in argv[:first] if word.lower().endswith(CONFIG_SUFFIXES)]
    problems = [_stray(word, "") for word in argv[:first] if word not in configs[:1]]
    given: dict[str, Given] = {}
    for words in _split(argv[first:]):
        typed, equals, inline = words[0].partition("=")
        flag = find(typed.lstrip("-"), typed, flags, hidden) if typed.startswith("--") else _short(typed)
        if isinstance(flag, Problem):
            problems.append(flag)
        elif flag.name in given:
            problems.append(Problem(typed, "is given twice", "give it once"))
        else:
            values = [inline] if equals else _own(flag, words[1:])
            strays = words[1:] if equals else words[1 + len(values) :]
            problems += [_stray(word, typed) for word in strays]
            try:
                given[flag.name] = Given(read_words(flag, values), "flag")
            except ValueError as error:
                given[flag.name] = Given(None, "flag")
                problems.append(Problem(typed, str(error)))
    return CommandLine(configs[0] if configs else None, given, problems)


def read_words(flag: Flag, values: list[str]) -> Any:
    """The value of `flag` from the words behind it; ValueError when they do not fit."""
    if not values:
        if flag.bare:
            return True
        raise ValueError(f"needs a value: {flag.kind}")
    if "list" in flag.kind.types and len(values) > 1:
        return read(flag, values)
    if values == [""]:
        raise ValueError(f"has an empty value, expected {flag.kind}")
    return read(flag, values[0])


def _own(flag: Flag, words: list[str]) -> list[str]:
    """The words that belong to the flag: all for a list, at most one for others."""
    if "list" in flag.kind.types:
        return words
    only_bool = flag.kind.types <= {"bool", "none"}
    if only_bool and words and words[0].lower() not in (*TRUE, *FALSE, "none") and "." in words[0]:
        return []  # `--bf16 run.yaml`: true, and a stray file
    return words[:1]


def _split(words: list[str]) -> list[list[str]]:
    """Words in groups, each beginning with a flag."""
    groups: list[list[str]] = []
    for word in words:
        if _is_flag(word):
            groups.append([word])
        else:
            groups[-1].append(word)
    return groups


def _is_flag(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and not re.match(r"-\.?\d|-inf$", word)


def _short(typed: str) -> Problem:
    return Problem(typed, "is no flag: flags begin with two dashes", "--help shows them")


def _stray(word: str, flag: str) -> Problem:
    if word.lower().endswith(CONFIG_SUFFIXES):
        behind = f"; {flag} takes one value" if flag else ""
        return Problem(word, "stands where no file is expected", f"one config file may come first{behind}")
    if flag:
        many = (
            "for several files give the folder that holds them" if "file" in flag else "put text into quotes"
        )
        return Problem(word, f"stands alone behind {flag}, which takes one value", many)
    return Problem(
        word, "stands alone", "data goes to --dataset_name or --train_file, a config file ends in .yaml"
    )
