"""What is whole on disk: checkpoints that list their files, and models written beside and moved into their place."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

FILES = "files.json"  # of a checkpoint: its files and their sizes in bytes, written last
BESIDE = "model.partial"


def seal(checkpoint: Path) -> None:
    """Bring every file of a checkpoint to the disk, and list them: what is not as listed is torn."""
    found = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != FILES)
    for path in found:
        _to_disk(path)
    sizes = {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in found}
    (checkpoint / FILES).write_text(json.dumps(sizes, indent=1))
    _to_disk(checkpoint / FILES)


def newest_checkpoint(folder: str | Path) -> Path | None:
    """The newest complete `checkpoint-N` below `folder`; torn ones are passed over."""
    found = [path for path in Path(folder).glob("checkpoint-*") if path.name.partition("-")[2].isdigit()]
    for path in sorted(found, key=lambda path: int(path.name.partition("-")[2]), reverse=True):
        if complete(path):
            return path
    return None


def complete(checkpoint: Path) -> bool:
    """Whether a checkpoint holds all that an exact resume reads, every file of it whole.

    State, optimizer, schedule, random states, weights. Files are as long as the checkpoint's list says, and read from
    their ends: a cut one is found out without reading it all. Stock Trainer's checkpoints, without a list, are taken
    too.
    """
    if (checkpoint / FILES).is_file():
        listed = _json(checkpoint / FILES)
        if not isinstance(listed, dict) or any(_size(checkpoint / n) != size for n, size in listed.items()):
            return False
    weights = [
        *checkpoint.glob("*.safetensors"),
        *checkpoint.glob("pytorch_model_fsdp*"),
        *checkpoint.glob("global_step*"),
    ]
    named = all((checkpoint / name).is_file() for name in ("optimizer.pt", "scheduler.pt"))
    # FSDP2's optimizer, as one file or in shards, and DeepSpeed's
    kinds = ("optimizer.bin", "optimizer_*", "global_step*")
    sharded = any(any(checkpoint.glob(kind)) for kind in kinds)
    there = bool(weights) and (named or sharded) and any(checkpoint.glob("rng_state*.pth"))
    state = (checkpoint / "trainer_state.json").is_file()
    return state and there and all(_readable(path) for path in checkpoint.iterdir())


@contextlib.contextmanager
def placed(folder: Path) -> Iterator[Path]:
    """A folder to write into; at its end each file in it is moved into `folder`, whole, in place of an older one."""
    beside = folder / BESIDE
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
        for path in sorted(path for path in beside.rglob("*") if path.is_file()):
            _to_disk(path)
        for path in sorted(beside.iterdir()):
            if path.is_dir():
                shutil.rmtree(folder / path.name, ignore_errors=True)
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def name_full_disk(error: BaseException, folder: Path) -> None:
    """Raise what could not be written as the full disk that it is: torch speaks of an unexpected position instead.

    Raises:
        OSError: `folder` has no space left.
    """
    if not isinstance(error, OSError) and shutil.disk_usage(folder).free < 2**20:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def _to_disk(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _readable(path: Path) -> bool:
    """Whether a file that was cut, or filled with zeros by a lost disk, would show it."""
    if path.suffix == ".json":
        return _json(path) is not None
    if path.suffix in (".pt", ".pth"):  # torch writes zip files, whose table of contents is at the end
        return zipfile.is_zipfile(path)
    return _safetensors(path) if path.suffix == ".safetensors" else True


def _safetensors(path: Path) -> bool:
    """Whether the header names exactly the bytes that follow it: 8 bytes of its length, JSON, data."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            size = path.stat().st_size
            header = json.loads(file.read(length)) if length < size else {}
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return bool(ends) and 8 + length + max(ends) == size
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return False
