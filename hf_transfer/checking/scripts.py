"""`hft check`: the user's script, stopped where it would train, and what it has made by then."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hf_transfer.problems import Problem, Problems, nearest

NAME = "checked_script"  # not __main__: guarded training does not start
WHERE = "hft check"


class Reached(BaseException):
    """`trainer.train()` was called: here the script ends. No `except Exception` of the script's may hold it up."""

    def __init__(self, trainer: Any) -> None:
        super().__init__("training")
        self.trainer = trainer


def check_script(script: str) -> list[tuple[str, list[Problem]]]:
    """What was found in each thing that `SCRIPT.py` or `SCRIPT.py:name` makes: `[(its name, problems)]`.

    The script is imported, so what is behind `if __name__ == "__main__":` does not run; a Trainer that is told to
    train ends it, and is checked.

    Raises:
        Problems: there is no such file or name, the script raises, nothing in it can be checked.
    """
    from hf_transfer.checking.targets import checked, targets

    path, name = _split(script)
    with _as_a_program(path), _stopped_at_training():
        objects, reached = _imported(path)
        if name:
            objects = _named(path, objects, name)
        elif reached is not None:
            objects = {**objects, "trainer.train()": reached}
        found = targets(objects, only=name)
        if not found:
            what = f"{path.name} makes no Trainer, no model and no optimizer that could be checked"
            mend = f"name a function that returns one: {WHERE} {path.name}:build"
            raise Problems(Problem(WHERE, what, mend))
        return [(label, checked(target)) for label, target in found]


def _split(script: str) -> tuple[Path, str]:
    """The file, and the name behind the colon if there is one."""
    path, colon, name = script.rpartition(":")
    if Path(script).is_file() or not colon or not name.isidentifier():
        path, name = script, ""
    if not Path(path).is_file():
        raise Problems(Problem(WHERE, f"{path}: no such file", f"{WHERE} train.py, or {WHERE} train.py:name"))
    if Path(path).suffix != ".py":
        raise Problems(Problem(WHERE, f"{path} is no Python script", "give a file that ends in .py"))
    return Path(path).resolve(), name


@contextlib.contextmanager
def _as_a_program(path: Path) -> Iterator[None]:
    """As `python script.py` would start it: its folder first on the path, no arguments. What it prints goes to stderr."""
    before = list(sys.path), list(sys.argv)
    sys.path.insert(0, str(path.parent))
    sys.argv = [str(path)]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path[:], sys.argv = before
        sys.modules.pop(NAME, None)


@contextlib.contextmanager
def _stopped_at_training() -> Iterator[None]:
    from transformers import Trainer

    def reached(trainer: Any, *args: Any, **kwargs: Any) -> None:
        raise Reached(trainer)

    before = Trainer.train
    Trainer.train = reached  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        Trainer.train = before  # type: ignore[method-assign]


def _imported(path: Path) -> tuple[dict[str, Any], Any]:
    """The script's globals, and the Trainer that was told to train."""
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module  # dataclasses and pickles look there
    loader = spec.loader
    _, reached = _run(path, lambda: loader.exec_module(module))
    return _globals(module), reached


def _globals(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if not name.startswith("__")}


def _run(path: Path, part: Any) -> tuple[Any, Any]:
    """What a part of the script returns, and the Trainer that it would have trained.

    Raises:
        Problems: it raises, or ends the program.
    """
    try:
        return part(), None
    except Reached as end:
        return None, end.trainer
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _is(frame, path)]
        if isinstance(error, SyntaxError) and error.filename == str(path):
            lines = [error.lineno]
        line = f", line {lines[-1]}," if lines else ""
        said = (str(error) or "nothing more").splitlines()[0]
        what = f"{path.name}{line} raises {type(error).__name__}: {said}"
        mend = 'what needs arguments or trains belongs behind if __name__ == "__main__":'
        raise Problems(Problem(WHERE, what, mend)) from error


def _is(frame: traceback.FrameSummary, path: Path) -> bool:
    return frame.filename == str(path)


def _named(path: Path, objects: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The globals, with what `name` is or returns in the place of it."""
    if name not in objects:
        what = f"{path.name} has no {name!r}{nearest(name, list(objects))}"
        raise Problems(Problem(WHERE, what, f"name a global or a function without arguments of {path.name}"))
    value = objects[name]
    if not callable(value) or hasattr(value, "parameters") or hasattr(value, "param_groups"):
        return dict(objects)
    value, reached = _run(path, value)
    return {**objects, name: reached if reached is not None else value}
