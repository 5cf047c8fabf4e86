"""Who may import whom, read from the source; and that a quick start stays quick."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hf_transfer

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "hf_transfer"
HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "peft",
    "pandas",
    "sklearn",
    "matplotlib",
    "evaluate",
    "accelerate",
}
FILES = [path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, inside: bool) -> Iterator[str]:
    """Names of the modules that a file imports: at import time, or `inside` functions too; never for types alone."""
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            todo += node.orelse
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not inside:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(path.relative_to(ROOT).parts[: -node.level]) if node.level else ""
            module = ".".join(part for part in (above, node.module) if part)
            for alias in node.names:
                full = f"{module}.{alias.name}"
                yield full if full in MODULES else module
        todo += ast.iter_child_nodes(node)


MODULES = {name_of(path): path for path in FILES}


def all_imports(folder: str, *, inside: bool = True) -> set[tuple[str, str]]:
    found = [path for path in FILES if name_of(path).startswith(f"hf_transfer.{folder}")]
    assert found, folder
    return {(name_of(path), module) for path in found for module in imports(path, inside=inside)}


def test_tasks_and_strategies_do_not_know_each_other() -> None:
    assert not {pair for pair in all_imports("tasks") if pair[1].startswith("hf_transfer.strategies")}
    assert not {pair for pair in all_imports("strategies") if pair[1].startswith("hf_transfer.tasks")}


def test_strategies_stand_on_the_anatomy_alone() -> None:
    allowed = ("hf_transfer.anatomy", "hf_transfer.problems", "hf_transfer.strategies")
    ours = {pair for pair in all_imports("strategies") if pair[1].startswith("hf_transfer")}
    assert not {pair for pair in ours if not pair[1].startswith(allowed)}


@pytest.mark.parametrize("part", ["report", "run", "hub", "evaluation", "problems", "embedded"])
def test_what_reads_a_run_folder_knows_no_torch(part: str) -> None:
    if part == "hub" and not any(name.startswith("hf_transfer.hub.push") for name in MODULES):
        pytest.skip("there is no hub module yet")
    known = all_imports(part)
    assert not {
        pair for pair in known if pair[1].partition(".")[0] in ("torch", "transformers", "peft", "accelerate")
    }


def test_what_starts_a_command_imports_heavy_things_inside_functions() -> None:
    quick = (
        "__init__",
        "arguments",
        "flags",
        "cli",
        "commands",
        "exits",
        "problems",
        "run",
        "finetuning",
        "finishing",
        "training_arguments",
        "embedded",
        "data",
    )
    at_start = set()
    for path in FILES:
        if path.relative_to(PACKAGE).with_suffix("").parts[0] in quick:
            at_start |= {(name_of(path), module) for module in imports(path, inside=False)}
    for recipe in (ROOT / "recipes").glob("*.py"):
        at_start |= {(recipe.name, module) for module in imports(recipe, inside=False)}
    assert len(at_start) > 50
    assert not {pair for pair in at_start if pair[1].partition(".")[0] in HEAVY}


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name: {m for m in imports(path, inside=False) if m in MODULES} for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_importing_the_package_loads_nothing_heavy() -> None:
    """Nor does what every command needs before it knows what to do, nor reading a run folder and its report."""
    program = (
        "import sys, hf_transfer\n"
        "from hf_transfer import Arguments, Problems, Run, command, examples, finetune, load, minilm, parse\n"
        "import hf_transfer.report\n"
        f"print(sorted({{m.partition('.')[0] for m in sys.modules}} & {HEAVY!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert sorted(hf_transfer.__all__) == dir(hf_transfer)
    for name in hf_transfer.__all__:
        if name == "IMAGE_CLASSIFICATION" and "hf_transfer.tasks.image_classification" not in MODULES:
            continue
        assert getattr(hf_transfer, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hf_transfer.nothing  # noqa: B018
