"""Recipes and accelerate configurations, in a checkout or inside an installed package."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

from hf_transfer.problems import Problem, Problems, nearest

PACKAGE = Path(__file__).resolve().parent
CONFIGS = "accelerate_configs"


def shipped(name: str) -> Path:
    """The folder `recipes` or `accelerate_configs`: in the package where it was installed, else beside it.

    Raises:
        Problems: neither is there.
    """
    for folder in (PACKAGE / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    what = f"not found in {PACKAGE} nor beside it"
    raise Problems(Problem(name, what, "reinstall hf-transfer-learning, or work in a checkout"))


def recipes() -> dict[str, Path]:
    """Name -> script, in alphabetical order."""
    return {path.stem: path for path in sorted(shipped("recipes").glob("*.py")) if path.stem[0] != "_"}


def recipe(name: str) -> Path:
    """The script of a recipe; `-` and `_` are the same, and `.py` may be given.

    Raises:
        Problems: there is no such recipe.
    """
    known = recipes()
    wanted = name.removesuffix(".py").replace("-", "_")
    if wanted not in known:
        what = f"there is no recipe {name!r}{nearest(wanted, list(known))}"
        raise Problems(Problem("recipes", what, f"choose one of {', '.join(known)}"))
    return known[wanted]


def summary(path: Path) -> str:
    """First sentence of a script's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]


def copy_recipe(name: str, dest: str = ".", force: bool = False) -> Path:
    """Copy a recipe to a file, or into a folder under its own name; returns the new file.

    Raises:
        Problems: no such recipe, the file is there already (unless `force`), or it cannot be written.
    """
    source, path = recipe(name), Path(dest).expanduser()
    if path.is_dir() or dest.endswith("/") or not path.suffix:
        path = path / source.name
    if path.exists() and not force:
        raise Problems(
            Problem(str(path), "is there already", "add --force to replace it, or name another file")
        )
    if path.exists() and path.samefile(source):
        raise Problems(Problem(str(path), "is the recipe itself", "name another file or folder"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
    except OSError as error:
        raise Problems(
            Problem(str(path), f"cannot be written: {error.strerror}", "choose another place")
        ) from error
    return path


def copy_configs(dest: str = ".", force: bool = False) -> Path:
    """Copy the folder `accelerate_configs` into `dest`; returns the new folder.

    Raises:
        Problems: it is there already (unless `force`, which replaces files of these names), or cannot be written.
    """
    source, path = shipped(CONFIGS), Path(dest).expanduser() / CONFIGS
    if path.exists() and not force:
        raise Problems(
            Problem(str(path), "is there already", "add --force to replace its files, or name another folder")
        )
    try:
        shutil.copytree(source, path, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise Problems(Problem(str(path), f"cannot be written: {error}", "choose another place")) from error
    return path
