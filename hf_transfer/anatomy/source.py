"""What a method uses of its `self`, in which order: read from its source, which is not run."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import lru_cache
from typing import Any

from torch import nn

# A step is the path of attributes behind `self` ("encoder", "layer"), or a loop: the steps of one turn. In a path, `*0`
# is the item at which the loop stands, `*1` that of the loop around it, `*0+1` the next but one; `?0=2` before a path
# says that it is used in the third turn alone.
Step = Any
_QUESTIONS = {"hasattr", "isinstance", "len", "next", "getattr"}  # ask about a module but do not use it


@lru_cache(maxsize=4096)
def steps_of(
    kind: Any, method: str, after: type | None = None, within: tuple[Any, ...] = ()
) -> tuple[Step, ...]:
    """What a method of a class uses of `self`, in the order of evaluation; calls of its own methods put in place."""
    owner = next((c for c in _bases(kind, after) if method in vars(c)), None)
    if owner is None or owner is nn.Module or (owner, method) in within:
        return ()
    body = _source(vars(owner)[method])
    if body is None or not body.args.args:
        return ()
    reader = _Reader(kind, owner, body.args.args[0].arg, (*within, (owner, method)))
    for statement in body.body:
        reader.visit(statement)
    return tuple(reader.steps)


def _bases(kind: type, after: type | None) -> list[type]:
    line = list(kind.__mro__)
    return line if after is None else line[line.index(after) + 1 :]


def _source(function: Any) -> ast.FunctionDef | None:
    try:
        text = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
        node = ast.parse(text).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None
    return node if isinstance(node, ast.FunctionDef) else None


class _Reader(ast.NodeVisitor):
    """Collects the steps of one method."""

    def __init__(self, kind: type, owner: type, me: str, within: tuple[Any, ...]) -> None:
        self.kind, self.owner, self.me, self.within = kind, owner, me, within
        self.steps: list[Step] = []
        self.aliases: dict[str, list[Step]] = {}  # what the variables of loops stand for
        self.turns: dict[str, int] = {}  # how many loops around this one they belong to

    def visit_For(self, node: ast.For) -> None:
        """What is gone through is used where its variable is, not where the loop begins."""
        outer, aliases, turns, self.steps = self.steps, self.aliases, self.turns, []
        self.aliases = {name: [_deeper(step) for step in steps] for name, steps in aliases.items()}
        self.turns = {name: up + 1 for name, up in turns.items()} | dict.fromkeys(_names(node.target), 0)
        body, unused = [*node.body, *node.orelse], list[Step]()
        read = _names(*body)
        for variable, source in _paired(node.target, node.iter):
            gone = [step if isinstance(step, list) else (*step, "*0") for step in self._apart(source)]
            self.aliases |= dict.fromkeys(_names(variable), gone)
            unused += [] if _names(variable) & read else gone
        for part in body:
            self.visit(part)
        outer.append(self.steps + unused)
        self.steps, self.aliases, self.turns = outer, aliases, turns

    def _apart(self, node: ast.AST) -> list[Step]:
        """The steps of an expression, not yet taken."""
        before, self.steps = self.steps, []
        self.visit(node)
        found, self.steps = self.steps, before
        return found

    def visit_ListComp(self, node: ast.ListComp) -> None:
        loop: Any = node.elt
        for turn in reversed(node.generators):
            loop = ast.For(target=turn.target, iter=turn.iter, body=[loop], orelse=[])
        self.visit(loop)

    visit_GeneratorExp = visit_ListComp  # type: ignore[assignment]

    def visit_Name(self, node: ast.Name) -> None:
        self.steps.extend(self.aliases.get(node.id, ()))

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        once = re.fullmatch(r"(\w+) == (\d+)", ast.unparse(node.test))
        for part in node.body:
            found = self._apart(part)
            if once and once[1] in self.turns:
                found = [_only(step, self.turns[once[1]], once[2]) for step in found]
            self.steps += found
        for part in node.orelse:
            self.visit(part)

    def visit_Compare(self, node: ast.Compare) -> None:
        if any(isinstance(part, ast.Call) for part in ast.walk(node)):
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Arguments are evaluated before the call itself."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in _QUESTIONS:
            self._asked_by_name(node)
            return
        for part in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.visit(part)
        if _is_super(node.func):
            self.steps.extend(steps_of(self.kind, node.func.attr, self.owner, self.within))  # type: ignore[attr-defined]
        else:
            self.visit(node.func)

    def _asked_by_name(self, node: ast.Call) -> None:
        """`getattr(self, self.base_model_prefix)(...)`, and with the name itself."""
        target, name = (*node.args, None, None)[:2]
        if isinstance(target, ast.Name) and target.id == self.me and node.func.id == "getattr":  # type: ignore[attr-defined]
            path = self._path(name) if name is not None else None
            value = getattr(self.kind, path[0], None) if path else getattr(name, "value", None)
            if isinstance(value, str) and len(node.args) == 2:
                self.steps.append((value,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """A module, a method of the class itself (followed, also where it is only handed on), or a parameter."""
        path = self._path(node)
        if path is None:
            self.generic_visit(node)
        elif len(path) == 1 and inspect.isfunction(getattr(self.kind, path[0], None)):
            self.steps.extend(steps_of(self.kind, path[0], None, self.within))
        elif path[0] == "base_model":  # transformers' name for whatever `base_model_prefix` names
            self.steps.append((getattr(self.kind, "base_model_prefix", ""), *path[1:]))
        else:
            self.steps.append(path)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """`self.layers[0]` is one of them, `self.layers[i + 1]` in a loop the next but one."""
        path, text = self._path(node.value), ast.unparse(node.slice)
        item = re.fullmatch(r"([a-zA-Z_]\w*)(?: ([+-]) (\d+))?", text)
        if path is not None and re.fullmatch(r"-?\d+", text):
            self.steps.append((*path, text))
        elif path is not None and item and (item[2] or item[1] in self.turns):
            up = self.turns.get(item[1], 0)
            self.steps.append((*path, f"*{up}{item[2] or ''}{item[3] or ''}"))
        else:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)

    def _path(self, node: ast.AST) -> tuple[str, ...] | None:
        """The attributes behind `self`; None for any other expression."""
        path: list[str] = []
        while isinstance(node, ast.Attribute):
            path.append(node.attr)
            node = node.value
        return tuple(reversed(path)) if path and isinstance(node, ast.Name) and node.id == self.me else None


def _names(*nodes: ast.AST) -> set[str]:
    return {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}


def _deeper(step: Step, own: int = 0) -> Step:
    """A step as it reads one loop further in; the loops that it is made of keep counting from themselves."""
    if isinstance(step, list):
        return [_deeper(inner, own + 1) for inner in step]
    return tuple(
        f"{up[1]}{int(up[2]) + 1}{up[3]}"
        if (up := re.fullmatch(r"([*?])(\d+)(.*)", part)) and int(up[2]) >= own
        else part
        for part in step
    )


def _only(step: Step, up: int, turn: str) -> Step:
    """A step as it is taken in one turn alone of a loop."""
    if isinstance(step, list):
        return [_only(inner, up + 1, turn) for inner in step]
    return (f"?{up}={turn}", *step)


def _paired(target: ast.AST, over: ast.expr) -> list[tuple[ast.AST, ast.expr]]:
    """`for i, (a, b) in enumerate(zip(x, y))` as `[(a, x), (b, y)]`."""
    if isinstance(over, ast.Call) and isinstance(over.func, ast.Name) and isinstance(target, ast.Tuple):
        if over.func.id == "enumerate" and len(target.elts) == 2:
            return _paired(target.elts[1], over.args[0])
        if over.func.id == "zip" and len(target.elts) == len(over.args):
            return [pair for t, o in zip(target.elts, over.args, strict=True) for pair in _paired(t, o)]
    return [(target, over)]


def _is_super(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "super"
    )
