"""The order in which a model uses its parts, read from the source of its `forward`; nothing is run.

Modules are often registered in another order than they are called in (OPT's last norm, XLM's parallel lists, a pooler
in front of a second encoder). Each class's `forward` says it: calls of `self.x`, methods followed, loops over several
lists taken in step. Where there is no source, or it does not name a module, registration decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from hf_transfer.anatomy.source import Step, steps_of

# What asks about a module but does not use it.
_ABOUT = {"dtype", "device", "shape", "size", "ndim", "requires_grad"}


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
    found = [] if _is_container(module) else list(_resolved(module, steps_of(kind, method)))
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
    """Steps as `(path of modules, method)`, or `(path of a parameter, None)`, of this very module."""
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
        elif rest and isinstance(at._parameters.get(rest[0]), nn.Parameter) and not _ABOUT & {*rest}:
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
        elif rest[1:] == (f"*{up}",) and getattr(at, rest[0], ()) is None:
            yield 0  # a list that this size of the model lacks


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
