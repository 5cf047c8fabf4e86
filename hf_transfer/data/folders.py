"""Folders of data: files named by split, class folders of texts or images, `save_to_disk` folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hf_transfer.data.class_folders import images_only, read_classes
from hf_transfer.data.conventions import IMAGE_SUFFIXES as IMAGES
from hf_transfer.data.files import READERS, read_file
from hf_transfer.data.split_names import WHOLE, split_of
from hf_transfer.data.tables import Table, joined
from hf_transfer.problems import Problem, Problems


@dataclass
class Found:
    """What a folder holds: a table per split, the files read, and what was passed over, with warnings."""

    splits: dict[str, Table] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def read_folder(folder: Path) -> Found:
    """The tables in a folder, by split.

    Looks, in this order, for a `save_to_disk` folder, files of rows (here or in `data/`), folders named by split,
    class folders. Of several formats of one split the first in the order of `READERS` is read, the others named.

    Raises:
        Problems: nothing to read, or what is there cannot be read.
    """
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        return _saved(folder)
    files, folders, others = _entries(folder)
    if not files and [path.name for path in folders] == ["data"]:
        found = read_folder(folders[0])
        found.ignored += others
        return found
    by_split = {split_of(path.name): path for path in folders}
    named = any(split_of(path.stem) for path in files)
    if by_split.keys() - {None} and not named:
        return _split_folders(folder, folders, [*others, *(path.name for path in files)])
    images = [name for name in others if Path(name).suffix.lower() in IMAGES]
    if files and (named or not (folders or images)):
        return _files(folder, files, [*others, *(f"{path.name}/" for path in folders)])
    found = Found()
    if images and not folders:
        found.splits[WHOLE] = images_only([folder / name for name in images], folder.name)
        found.files, found.ignored = images, [name for name in others if name not in images]
        return found
    _add_split(found, folder, WHOLE, "")
    if not found.splits:
        what = (
            f"no rows found: {len(files) + len(others)} files, {len(folders)} folders, none readable as data"
        )
        mend = f"expected files ({', '.join(READERS)}) or folders SPLIT/CLASS/ of texts or images"
        raise Problems(Problem(str(folder), what, mend))
    return found


def _entries(folder: Path) -> tuple[list[Path], list[Path], list[str]]:
    """Files of rows, folders, and the names of all other files; hidden ones are not looked at."""
    visible = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__")))
    folders = [path for path in visible if path.is_dir()]
    plain = [path for path in visible if path.is_file()]
    documents = ("readme", "license", "licence", "requirements", "dataset_info", "dataset_infos")
    files = [p for p in plain if p.suffix.lower() in READERS and p.stem.lower() not in documents]
    return files, folders, [path.name for path in plain if path not in files]


def _saved(folder: Path) -> Found:
    from datasets import Dataset, load_from_disk

    try:
        saved = load_from_disk(str(folder))
    except Exception as error:  # pyarrow, json and OS errors alike: the folder is not whole
        what = f"not a whole save_to_disk folder: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
        raise Problems(Problem(str(folder), what, "save or copy it again")) from error
    tables = {WHOLE: saved} if isinstance(saved, Dataset) else dict(saved)
    name = folder.name
    splits = {
        str(key): Table(rows, name if key == WHOLE else f"{name}/{key}") for key, rows in tables.items()
    }
    return Found(splits, [name if key == WHOLE else f"{name}/{key}" for key in splits])


def _files(folder: Path, files: list[Path], others: list[str]) -> Found:
    found = Found(ignored=others)
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(split_of(path.stem) or WHOLE, []).append(path)
    if len(groups) > 1:
        for path in groups.pop(WHOLE, []):
            found.ignored.append(path.name)
            found.warnings.append(
                Problem(path.name, "ignored: its name tells no split, those of other files do")
            )
    for split, paths in groups.items():
        _read_files(found, split, paths, "")
    return found


def _read_files(found: Found, split: str, paths: list[Path], prefix: str) -> None:
    order = list(READERS)
    chosen = min((path.suffix.lower() for path in paths), key=order.index)
    used = [path for path in paths if path.suffix.lower() == chosen]
    for path in paths:
        if path not in used:
            found.ignored.append(prefix + path.name)
            what = f"ignored: {'this split' if split != WHOLE else 'the data'} is read from {used[0].name}"
            found.warnings.append(
                Problem(prefix + path.name, what, "name a file with --train_file to choose it")
            )
    if len(used) > 1:
        names = ", ".join(path.name for path in used[:5]) + (", ..." if len(used) > 5 else "")
        found.warnings.append(Problem(split, f"is made of {len(used)} files, one after the other: {names}"))
    found.splits[split] = joined([read_file(path) for path in used])
    found.files += [prefix + path.name for path in used]


def _split_folders(folder: Path, folders: list[Path], others: list[str]) -> Found:
    found = Found(ignored=others)
    for path in folders:
        split = split_of(path.name)
        if split is None or split in found.splits:
            found.ignored.append(f"{path.name}/")
            why = "its name tells no split" if split is None else f"{split} was already found"
            found.warnings.append(Problem(f"{path.name}/", f"ignored: {why}"))
        else:
            _add_split(found, path, split, f"{path.name}/")
    if not found.splits:
        raise Problems(
            Problem(str(folder), "the folders of its splits are empty", "expected SPLIT/CLASS/ files")
        )
    return found


def _add_split(found: Found, folder: Path, split: str, prefix: str) -> None:
    """Reads the rows of one split from its folder: images with a metadata file, files of rows, or class folders."""
    files, folders, others = _entries(folder)
    listed = [path for path in files if path.stem == "metadata"]
    if listed:
        table = read_file(listed[0])
        found.splits[split] = Table(table.rows, prefix + table.name, table.typed, folder)
        found.files.append(prefix + listed[0].name)
        found.ignored += [prefix + path.name for path in files if path not in listed]
    elif files and not folders:
        _read_files(found, split, files, prefix)
        found.ignored += [prefix + name for name in others]
    else:
        table_, ignored = read_classes(folder, folders, prefix)
        found.ignored += [
            *ignored,
            *(prefix + name for name in others),
            *(prefix + path.name for path in files),
        ]
        if table_ is not None:
            found.splits[split] = table_
            found.files += [
                f"{prefix}{path.name}/" for path in folders if f"{prefix}{path.name}/" not in ignored
            ]
