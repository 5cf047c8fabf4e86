"""argparse for the commands of `hft`: no abbreviations, `-` or `_` in flags, and what is wrong as Problems."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from hf_transfer.problems import Problem, Problems, nearest


class Parser(argparse.ArgumentParser):
    """Without abbreviations; wrong arguments are Problems, so that all commands end alike."""

    def __init__(self, name: str, description: str, **options: Any) -> None:
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(
            f"hft {name}", description=description, allow_abbrev=False, formatter_class=form, **options
        )

    def error(self, message: str) -> NoReturn:
        """Called by argparse."""
        raise Problems(Problem(self.prog, message, f"{self.prog} --help shows how it is used"))

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The arguments, flags and inputs in any order; flags with `-` or `_`.

        Raises:
            Problems: unknown flags with the nearest, missing or wrong values.
        """
        found, unknown = self.parse_known_intermixed_args([_underscored(word) for word in words])
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            raise Problems(*(_unknown(self.prog, word, flags) for word in unknown))
        return found


def _underscored(word: str) -> str:
    """`--text-column=a-b` as `--text_column=a-b`; texts stay as they are."""
    flag, equals, value = word.partition("=")
    return flag.replace("-", "_").replace("__", "--", 1) + equals + value if _is_flag(flag) else word


def _is_flag(word: str) -> bool:
    return word.startswith("--") and len(word) > 2 and not any(mark.isspace() for mark in word)


def _unknown(prog: str, word: str, flags: list[str]) -> Problem:
    if not word.startswith("-"):
        return Problem(prog, f"{word!r} is one word too many", f"{prog} --help shows how it is used")
    name = word.partition("=")[0]
    return Problem(name, f"{prog} has no such flag{nearest(name, flags)}", f"{prog} --help shows its flags")


def positive(text: str) -> int:
    """A whole number from 1 on, for `type=`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a whole number from 1 on")
    return int(text)
