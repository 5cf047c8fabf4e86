"""The fields of the installed `TrainingArguments`, read from its source.

Importing it takes five seconds (torch and more); `ast` needs some hundredths of one, and every field of
whatever version is installed becomes a flag of ours.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hf_transfer.flags.values import Flag, kind_of
from hf_transfer.problems import Problem, Problems

# Fields that mean more than their annotation says.
WIDER = {"resume_from_checkpoint": "bool | str | None"}
# Below these values training fails late, with an error that names something else.
LEAST: dict[str, float] = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "num_train_epochs": 0,
    "learning_rate": 0,
    "weight_decay": 0,
    "warmup_steps": 0,
    "save_total_limit": 1,
    "dataloader_num_workers": 0,
    "seed": 0,
}
MOST: dict[str, float] = {"seed": 2**32 - 1, "data_seed": 2**32 - 1}


@lru_cache(maxsize=1)
def training_fields() -> dict[str, Flag]:
    """Name -> `Flag` of every field of the installed `transformers.TrainingArguments`, in its order."""
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        raise Problems(Problem("transformers", "is not installed", "pip install transformers"))
    return fields_in(Path(spec.origin).parent)


def fields_in(package: Path) -> dict[str, Flag]:
    """The same from a given source folder of transformers."""
    source = (package / "training_args.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    found = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments"
    ]
    if not found:
        raise Problems(
            Problem(str(package), "holds no TrainingArguments", "pip install 'transformers>=5.17,<6'")
        )
    names = _assigned(found[0])
    described = _docstring_help(ast.get_docstring(found[0]) or "")
    headings = _headings(source)
    enums: dict[str, tuple[str, ...]] = {}

    def choices_of(name: str) -> tuple[str, ...]:
        if name not in enums:
            enums[name] = _enum_values(name, tree, package)
        return enums[name]

    flags = {}
    for node in found[0].body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        name = node.target.id
        default, metadata, is_flag = _field(node.value, names)
        if not is_flag:
            continue
        kind = kind_of(WIDER.get(name, ast.unparse(node.annotation)), choices_of)
        bare = bool(metadata.get("const")) or "bool" in kind.types
        kind = kind if not bare else type(kind)(kind.types | {"bool"}, kind.choices)
        flags[name] = Flag(
            name=name,
            kind=kind,
            default=default,
            help=str(metadata.get("help") or described.get(name, "")),
            group=[text for line, text in headings if line <= node.lineno][-1],
            bare=bare,
            whole="float" in kind.types and (type(default) is int or name.endswith("_steps")),
            least=LEAST.get(name),
            most=MOST.get(name),
        )
    return flags


def _headings(source: str) -> list[tuple[int, str]]:
    """(line, text) of the comments `# --- Hub Integration ---` between the fields."""
    found = [(n, re.match(r"    # --- (.+) ---", line)) for n, line in enumerate(source.splitlines(), 1)]
    return [(0, "Training"), *((n, match[1]) for n, match in found if match)]


def _assigned(body: ast.ClassDef) -> dict[str, Any]:
    """Constants assigned in the class; of conditional ones (`default_optim`) the last, for newer torch."""
    return {
        node.targets[0].id: node.value.value
        for node in ast.walk(body)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }


def _field(value: ast.expr | None, names: dict[str, Any]) -> tuple[Any, dict[str, Any], bool]:
    """(default, metadata, whether __init__ takes it) of `= field(...)` or `= 3`."""
    if not (isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field")):
        return (_constant(value, names) if value else None), {}, True
    given = {keyword.arg: keyword.value for keyword in value.keywords}
    if "default_factory" in given:
        default: Any = {"list": [], "dict": {}}.get(ast.unparse(given["default_factory"]))
    else:
        default = _constant(given["default"], names) if "default" in given else None
    metadata = given.get("metadata")
    pairs = zip(metadata.keys, metadata.values, strict=True) if isinstance(metadata, ast.Dict) else ()
    told = {ast.literal_eval(key): _constant(text, names) for key, text in pairs if key is not None}
    return default, told, "init" not in given or _constant(given["init"], names) is not False


def _constant(node: ast.expr, names: dict[str, Any]) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return names.get(ast.unparse(node))


def _enum_values(name: str, tree: ast.Module, package: Path) -> tuple[str, ...]:
    """Values of an enum defined in this module or in the sibling it comes from; () for anything else."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            values = [line.value for line in node.body if isinstance(line, ast.Assign)]
            return tuple(v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str))
        if (
            isinstance(node, ast.ImportFrom)
            and node.level == 1
            and name in [alias.name for alias in node.names]
        ):
            file = package / f"{(node.module or '').replace('.', '/')}.py"
            source = re.search(
                rf"^class {name}\(.*?(?=^\S|\Z)", file.read_text("utf-8"), re.MULTILINE | re.DOTALL
            )
            return _enum_values(name, ast.parse(source[0]), package) if source else ()
    return ()


def _docstring_help(docstring: str) -> dict[str, str]:
    """Name -> description in the class docstring: for versions whose fields carry no help."""
    found = re.findall(r"^    (\w+) ?\(`.*\):?\n((?:        .*\n|\n)+)", docstring + "\n", re.MULTILINE)
    return {name: " ".join(text.split("\n\n")[0].split()) for name, text in found}
