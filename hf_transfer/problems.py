"""What is wrong in the user's data or arguments, said so that it can be mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that stops a run: `where` it is, `what` was found (and expected), how to `mend` it."""

    where: str
    what: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"\n  -> {self.mend}" if self.mend else "")


class Problems(ValueError):
    """All the problems found, raised together so that one run shows the whole list.

    Commands print it and exit with 2; in Python it is an ordinary `ValueError` with a `problems` tuple.
    """

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


def one_a_place(problems: Sequence[Problem]) -> list[Problem]:
    """Problems with the same `where` as one that says it all."""
    found: dict[str, Problem] = {}
    for problem in dict.fromkeys(problems):
        where, before = problem.where, found.get(problem.where)
        what = f"{before.what}, and {problem.what}" if before else problem.what
        mend = "; ".join(mend for mend in (before.mend if before else "", problem.mend) if mend)
        found[where] = Problem(where, what, mend)
    return list(found.values())


class Diverged(RuntimeError):
    """Training, or the model that came of it, gives values that are no finite numbers: exit code 1, no traceback."""


class NotPushed(RuntimeError):
    """The model is whole and on disk, but not on the Hub; the message says why and how to finish it (exit code 1)."""


class Mistakes(RuntimeError):
    """`hft check` has found some, and listed them: exit code 1, no traceback."""


def nearest(name: str, names: list[str] | tuple[str, ...]) -> str:
    """`' (did you mean X?)'` for the closest of `names`, or nothing."""
    import difflib

    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""
