"""The order in which a model uses its parts, read from the source of its `forward`; nothing is run.

Modules are often registered in another order than they are called in (OPT's last norm, XLM's parallel lists, a pooler
in front of a second encoder). Each class's `forward` says it: calls of `self.x`, methods followed, loops over several
lists taken in step. Where there is no source, or it does not name a module, registration decides.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from torch import nn

# A step is the path of attributes behind `self` ("encoder", "layer"), or a loop: the steps of one turn. In a path, `*0`
# is the item at which the loop stands, `*1` that of the loop around it, `*0+1` the next but one; `?0=2` before a path
# says that it is used in the third turn alone.
Step = Any
# What asks about a module but does not use it.
_ABOUT = {"dtype", "device", "shape", "size", "ndim", "requires_grad"}
_QUESTIONS = {"hasattr", "isinstance", "len", "next", "getattr"}


@dataclass(frozen=True)
class Order:
    """Full names of modules and of free parameters and buffers, with the places at which they are used."""

    places: dict[str, list[int]]

    @cached_property
    def first(self) -> dict[str, int]:
        """Places of first use."""
        return {name: places[0] for name, places in self.places.items()}

    @cached_property
    def last(self) -> dict[str, int]:
        """Places of last use."""
        return {name: places[-1] for name, places in self.places.items()}


def forward_order(model: nn.Module) -> Order:
    """What is used when, from the input to the scores."""
    uses: list[str] = []
    names = {id(module): name for name, module in model.named_modules()}
    _visit(model, "forward", names, uses, ())
    places: dict[str, list[int]] = {}
    for place, name in enumerate(uses):
        places.setdefault(name, []).append(place)
    # What no source names comes behind the sibling that is registered before it, or at the start of its parent.
    end = {name: found[-1] for name, found in places.items()}  # of anything within a module
    for name, found in places.items():
        while name:
            name = name.rpartition(".")[0]
            end[name] = max(end.get(name, 0), found[-1])
    for parent, module in model.named_modules():
        place = places[parent][0]
        for child in module.children():
            name = names[id(child)]
            if name not in places:
                places[name], end[name] = [place], place
            place = end[name]
    return Order(places)


def _visit(
    module: nn.Module, method: str, names: dict[int, str], uses: list[str], within: tuple[Any, ...]
) -> None:
    """Note a module and what its method uses, in order."""
    key = (id(module), method)
    if key in within:
        return
    name, within = names[id(module)], (*within, key)
    uses.append(name)
    kind: Any = type(module)
    found = [] if _is_container(module) else list(_resolved(module, _steps(kind, method)))
    whole = {path for path, used in found if used == "forward"}
    for path, used in found:
        if used is None:
            holder = names[id(_reach(module, path)[1])]
            uses += [holder] if len(path) > 1 else []  # whose parameter alone is asked for
            uses.append(f"{holder}.{path[-1]}".lstrip("."))
        elif (
            used == "forward" or path not in whole
        ):  # else a second way through it, as timm's `forward_intermediates`
            at = module
            for part in path[:-1]:
                at = at._modules[part]  # type: ignore[assignment]
                uses.append(names[id(at)])
            at = at._modules[path[-1]]  # type: ignore[assignment]
            _visit(at, used, names, uses, within)
    if not found and method == "forward":
        for child in module.children():
            _visit(child, "forward", names, uses, within)


def _is_container(module: nn.Module) -> bool:
    return type(module) in (nn.ModuleList, nn.ModuleDict, nn.Sequential)


def _resolved(module: nn.Module, steps: Iterable[Step]) -> Iterator[tuple[tuple[str, ...], str | None]]:
    """Steps as `(path of modules, method)`, or `(path of a parameter or buffer, None)`, of this very module."""
    for step in steps:
        if isinstance(step, list):
            for i in range(max(_lengths(module, step), default=1)):
                yield from _resolved(module, _in_turn(module, step, i))
            continue
        path, at, rest = _reach(module, step)
        if rest and rest[0].startswith("*"):
            rest = rest[1:]  # an item that is not known: all of them
        if path and not rest:
            yield path, "forward"
        elif rest and (at._parameters | at._buffers).get(rest[0]) is not None and not _ABOUT & {*rest}:
            yield (*path, rest[0]), None
        elif path and len(rest) == 1 and callable(getattr(type(at), rest[0], None)):
            yield path, rest[0]


def _lengths(module: nn.Module, steps: Iterable[Step], up: int = 0) -> Iterator[int]:
    """Lengths of the lists that a loop goes through, read off its steps and those of the loops inside it."""
    for step in steps:
        if isinstance(step, list):
            yield from _lengths(module, step, up + 1)
            continue
        _, at, rest = _reach(module, _always(step))
        if isinstance(at, nn.ModuleList) and (rest[0].startswith(f"*{up}") if rest else up == 0):
            yield len(at)


def _in_turn(module: nn.Module, steps: Iterable[Step], turn: int, up: int = 0) -> Iterator[Step]:
    """The steps of a loop, and of the loops inside it, with the items at which it stands; without those it lacks."""
    for step in steps:
        if isinstance(step, list):
            yield list(_in_turn(module, step, turn, up + 1))
            continue
        only = {part for part in step if part.startswith("?")}
        if any(part.startswith(f"?{up}=") for part in only - {f"?{up}={turn}"}):
            continue
        path, at, rest = _reach(module, _always(step))
        mark = rest[0] if rest and rest[0].startswith(f"*{up}") else ""
        start = (*(only - {f"?{up}={turn}"}), *path)
        if not isinstance(at, nn.ModuleList) or not (mark or (up == 0 and not rest)):
            yield (*start, *rest[bool(mark) :])
        elif 0 <= (index := turn + int(mark.removeprefix(f"*{up}") or 0)) < len(at):
            yield (*start, str(index), *rest[bool(mark) :])


def _always(step: tuple[str, ...]) -> tuple[str, ...]:
    """The path of a step, in whichever turn it is taken."""
    return tuple(part for part in step if not part.startswith("?"))


def _reach(module: nn.Module, path: tuple[str, ...]) -> tuple[tuple[str, ...], nn.Module, tuple[str, ...]]:
    """How far a path of attributes leads through modules: the part that does, the module there, what is left."""
    at, done = module, list[str]()
    for part in path:
        key = str(len(at) + int(part)) if isinstance(at, nn.ModuleList) and part.startswith("-") else part
        child = at._modules.get(key)
        if child is None:
            break
        at = child
        done.append(key)
    return tuple(done), at, path[len(done) :]


@lru_cache(maxsize=4096)
def _steps(
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
            self.steps.extend(_steps(self.kind, node.func.attr, self.owner, self.within))  # type: ignore[attr-defined]
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
            self.steps.extend(_steps(self.kind, path[0], None, self.within))
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
