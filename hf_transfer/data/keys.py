"""What makes two inputs equal: texts after normalisation, images by their bytes."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.data.tables import arrow_of, column_of, pick
from hf_transfer.problems import Problem

if TYPE_CHECKING:
    from datasets import Dataset

SHOWN = 10


def normalised(text: str) -> str:
    """Equal for texts that differ only in case, blanks or Unicode form (NFKC)."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        if all(character.isspace() or unicodedata.category(character) == "Cf" for character in text):
            return ""  # zero-width characters and marks of direction alone: nothing to read
    return " ".join(text.casefold().split())


def input_keys(rows: Dataset, split: str) -> tuple[np.ndarray, list[Problem]]:
    """A short digest per row (n,), equal for equal inputs, and images that cannot be read.

    Texts are compared after normalisation, images by their bytes. Rows with an empty input have the key b"".
    """
    if "image" in rows.column_names:
        return _image_keys(rows, split)
    table = arrow_of(rows, [role for role in ("text", "text_pair") if role in rows.column_names])
    cleaned = [[normalised(text) for text in column.to_pylist()] for column in table.columns]
    joined = ("\x1f".join(parts) if all(parts) else "" for parts in zip(*cleaned, strict=True))
    keys = [_digest(text.encode()) if text else b"" for text in joined]
    return np.asarray(keys, dtype="S16"), []


def _digest(content: bytes) -> bytes:
    # numpy drops NUL bytes at the end of a fixed-size string: hex digits have none
    return hashlib.blake2b(content, digest_size=8).hexdigest().encode()


def _image_keys(rows: Dataset, split: str) -> tuple[np.ndarray, list[Problem]]:
    import os
    from concurrent.futures import ThreadPoolExecutor

    cells = column_of(rows, "image")
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        checked = list(pool.map(_check_image, (cell.as_py() for chunk in cells.chunks for cell in chunk)))
    bad = [(i, error) for i, (_, error) in enumerate(checked) if error]
    problems = []
    if bad:
        listed = "; ".join(f"row {i}: {error}" for i, error in bad[:SHOWN])
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        what = f"{len(bad)} of {len(checked)} images cannot be read: {listed}{more}"
        problems.append(Problem(split, what, "replace or remove them"))
    return np.asarray([key for key, _ in checked], dtype="S16"), problems


def _check_image(cell: dict[str, Any] | None) -> tuple[bytes, str]:
    """The digest of an image's bytes, and why it cannot be decoded (or nothing)."""
    import io
    from pathlib import Path

    from PIL import Image

    if cell is None or (cell.get("bytes") is None and not cell.get("path")):
        return b"", ""
    name = Path(cell["path"]).name if cell.get("path") else "in memory"
    try:
        content = cell["bytes"] if cell.get("bytes") is not None else Path(cell["path"]).read_bytes()
        image = Image.open(io.BytesIO(content))
        image.draft("RGB", (32, 32))  # a JPEG is decoded at an eighth of its size: a cut file still shows
        image.load()
    except (
        Exception
    ) as error:  # PIL raises many kinds for broken files (OSError, SyntaxError, ValueError, ...)
        why = "not an image, or cut off" if type(error).__name__ == "UnidentifiedImageError" else str(error)
        return b"", f"{name} ({why.splitlines()[0][:100] if why else type(error).__name__})"
    return _digest(content), ""


def usable(
    rows: Mapping[str, Dataset], keys: Mapping[str, np.ndarray]
) -> tuple[dict[str, Dataset], dict[str, np.ndarray], list[Problem]]:
    """Without rows whose input is empty or whose label is missing; how many were dropped is said."""
    kept, kept_keys, warnings = {}, {}, []
    for split, data in rows.items():
        empty = keys[split] == b""
        unlabelled = column_of(data, "label").is_null().to_numpy() & ~empty
        for odd, why in ((empty, "an empty or missing input"), (unlabelled, "no label")):
            if odd.any():
                first = ", ".join(str(i) for i in np.flatnonzero(odd)[:5]) + (
                    ", ..." if odd.sum() > 5 else ""
                )
                what = f"dropped {odd.sum():,} of {len(odd):,} rows that have {why} (rows {first}; the first is 0)"
                warnings.append(Problem(split, what, "fill or remove them"))
        good = np.flatnonzero(~(empty | unlabelled))
        kept[split] = data if len(good) == len(data) else pick(data, good)
        kept_keys[split] = keys[split][good]
    return kept, kept_keys, warnings
