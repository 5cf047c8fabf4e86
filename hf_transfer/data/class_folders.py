"""CLASS/ folders of texts or images: the folder's name is the label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_transfer.data.conventions import IMAGE_SUFFIXES as IMAGES
from hf_transfer.data.delimited import read_text
from hf_transfer.data.tables import Table
from hf_transfer.problems import Problem, Problems


def read_classes(folder: Path, folders: list[Path], prefix: str) -> tuple[Table | None, list[str]]:
    """Rows from CLASS/ folders: the folder's name is the label, each file one image or one text."""
    inside = {path: sorted(p for p in path.rglob("*") if p.is_file()) for path in folders}
    every = [path for paths in inside.values() for path in paths]
    images = sum(path.suffix.lower() in IMAGES for path in every)
    wanted: tuple[str, ...] = IMAGES if images > len(every) - images else (".txt",)
    chosen = {p: [f for f in paths if f.suffix.lower() in wanted] for p, paths in inside.items()}
    ignored = [f"{prefix}{path.name}/" for path, paths in chosen.items() if not paths]
    kept = {path: paths for path, paths in chosen.items() if paths}
    ignored += [prefix + str(f.relative_to(folder)) for p in kept for f in inside[p] if f not in set(kept[p])]
    if not kept:
        return None, ignored
    names = [path.name for path in kept]
    files = [path for paths in kept.values() for path in paths]
    label = [i for i, paths in enumerate(kept.values()) for _ in paths]
    return Table(_class_rows(files, label, names, wanted == IMAGES), prefix or folder.name), ignored


def images_only(files: list[Path], name: str) -> Table:
    """Images without labels, to predict on."""
    from datasets import Dataset, Features, Image

    return Table(
        Dataset.from_dict({"image": [str(path) for path in files]}, features=Features({"image": Image()})),
        name,
    )


def _class_rows(files: list[Path], label: list[int], names: list[str], images: bool) -> Any:
    from datasets import ClassLabel, Dataset, Features, Image, Value

    target = ClassLabel(names=names)
    if images:
        columns = {"image": [str(path) for path in files], "label": label}
        return Dataset.from_dict(columns, features=Features({"image": Image(), "label": target}))
    texts: list[str] = []
    problems: list[Problem] = []
    for path in files:
        try:
            texts.append(read_text(path))
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(*problems)
    features = Features({"text": Value("string"), "label": target})
    return Dataset.from_dict({"text": texts, "label": label}, features=features)
