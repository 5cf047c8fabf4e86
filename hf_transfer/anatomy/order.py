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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from torch import nn

# A step is the path of attributes behind `self` ("encoder", "layer"), or a loop: the steps of one turn.
Step = Any
# What asks about a module but does not use it.
_ABOUT = {"dtype", "device", "shape", "size", "ndim", "requires_grad"}
_QUESTIONS = {"hasattr", "isinstance", "len", "next", "getattr"}


@dataclass(frozen=True)
class Order:
    """Full names of modules and of free parameters, with the places at which they are used."""

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
            uses.append(".".join((names[id(_reach(module, path)[1])], path[-1])).lstrip("."))
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


def _resolved(
    module: nn.Module, steps: Sequence[Step], turn: int | None = None
) -> Iterator[tuple[tuple[str, ...], str | None]]:
    """Steps as `(path of modules, method)`, or `(path of a parameter, None)`, of this very module."""
    for step in steps:
        if isinstance(step, list):
            lists = [len(at) for p in _paths(step) if isinstance(at := _reach(module, p)[1], nn.ModuleList)]
            for i in range(max(lists, default=1)):
                yield from _resolved(module, step, i)
            continue
        path, at, rest = _reach(module, step)
        shift = rest[0][1:] if rest and rest[0].startswith("@") else ""
        if isinstance(at, nn.ModuleList) and turn is not None and path and len(rest) == bool(shift):
            if 0 <= (index := turn + int(shift or 0)) < len(at):
                yield (*path, str(index)), "forward"
        elif path and (not rest or shift):
            yield path, "forward"
        elif rest and isinstance(at._parameters.get(rest[0]), nn.Parameter) and not _ABOUT & {*rest}:
            yield (*path, rest[0]), None
        elif path and len(rest) == 1 and callable(getattr(type(at), rest[0], None)):
            yield path, rest[0]


def _paths(steps: Sequence[Step]) -> Iterator[tuple[str, ...]]:
    for step in steps:
        if isinstance(step, list):
            yield from _paths(step)
        else:
            yield step


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
        self.aliases: dict[str, list[Step]] = {}  # of the variables of loops

    def visit_For(self, node: ast.For) -> None:
        self._loop([(node.target, node.iter)], [*node.body, *node.orelse])

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._loop([(turn.target, turn.iter) for turn in node.generators], [node.elt])

    visit_GeneratorExp = visit_ListComp  # type: ignore[assignment]

    def _loop(self, turns: list[tuple[ast.AST, ast.expr]], body: Sequence[ast.AST]) -> None:
        """What is gone through is used where its variable is, not where the loop begins."""
        outer, aliases, self.steps = self.steps, self.aliases, []
        self.aliases = dict(aliases)
        unused: list[Step] = []
        for target, over in turns:
            for variable, source in _paired(target, over):
                before, self.steps = self.steps, []
                self.visit(source)
                gone, self.steps = self.steps, before
                names = {part.id for part in ast.walk(variable) if isinstance(part, ast.Name)}
                self.aliases.update(dict.fromkeys(names, gone))
                read = {part.id for node in body for part in ast.walk(node) if isinstance(part, ast.Name)}
                unused += [] if names & read else gone
        for node in body:
            self.visit(node)
        # Gone through is what an outer loop stands at (the blocks of a stage): no turns of its own.
        nested = any(isinstance(p, ast.Name) and p.id in aliases for _, over in turns for p in ast.walk(over))
        outer += self.steps + unused if nested else [self.steps + unused]
        self.steps, self.aliases = outer, aliases

    def visit_Name(self, node: ast.Name) -> None:
        self.steps.extend(self.aliases.get(node.id, ()))

    def visit_If(self, node: ast.If) -> None:
        for part in (node.test, *node.body, *node.orelse):
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
        path = self._path(node.value)
        text = ast.unparse(node.slice)
        if path is not None and re.fullmatch(r"-?\d+", text):
            self.steps.append((*path, text))
        elif path is not None and (shift := re.fullmatch(r"\w+ ([+-]) (\d+)", text)):
            self.steps.append((*path, f"@{shift[1]}{shift[2]}"))
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
