"""What the files hold: the same sixty reviews in any format, and checkpoints with something wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Maker = Callable[[Path, Path], object]
TEXTS = [f"review number {i} was {'fine' if i % 2 else 'dull'}" for i in range(60)]
LABELS = ["good" if i % 2 else "bad" for i in range(60)]
ROWS = list(zip(TEXTS, LABELS, strict=True))


def table(
    rows: Iterable[Sequence[Any]] = ROWS, header: Sequence[str] = ("text", "label"), **dialect: str
) -> str:
    """A csv file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", **dialect).writerows([header, *rows])  # type: ignore[arg-type]
    return text.getvalue()


def objects(rows: Iterable[Sequence[Any]] = ROWS, header: Sequence[str] = ("text", "label")) -> str:
    """A jsonl file."""
    return lines(dict(zip(header, row, strict=True)) for row in rows)


def lines(rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def labelled(labels: Sequence[Any]) -> str:
    """A csv file of the reviews with other labels."""
    return table(zip(TEXTS, labels, strict=False))


def parquet(**columns: Sequence[Any]) -> Maker:
    """A parquet file of the reviews, with `columns` beside or instead."""

    def make(path: Path, models: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        given = {"text": TEXTS, "label": LABELS} | columns
        pq.write_table(pa.table({name: values for name, values in given.items() if values is not None}), path)

    return make


def dictionary(path: Path, models: Path) -> None:
    """A parquet file whose labels are of Arrow's dictionary type."""
    import pyarrow as pa

    parquet(label=pa.array(LABELS).dictionary_encode())(path, models)


def empty_lists(path: Path, models: Path) -> None:
    """A parquet file whose labels are lists of text, all empty."""
    import pyarrow as pa

    parquet(label=pa.array([[]] * 60, pa.list_(pa.string())))(path, models)


def twice(path: Path, models: Path) -> None:
    """A parquet file with two columns of one name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table([TEXTS, LABELS, LABELS], names=["text", "label", "label"]), path)


def cut(content: Maker, left: int) -> Maker:
    """The first bytes of a file."""

    def make(path: Path, models: Path) -> None:
        content(path, models)
        path.write_bytes(path.read_bytes()[:left])

    return make


def link(target: str) -> Maker:
    return lambda path, models: os.symlink(target, path)


def checkpoint(
    name: str,
    drop: Sequence[str] = (),
    weights: int | None = None,
    config: str | None = None,
    **values: Any,
) -> Maker:
    """A copy of one of the checkpoints, with something wrong.

    Args:
        drop: patterns of files to leave out.
        weights: bytes at which their file is cut.
        config: what config.json holds instead; or `values` that it holds besides.
    """

    def make(path: Path, models: Path) -> None:
        shutil.copytree(models / name, path)
        for file in [file for pattern in drop for file in path.glob(pattern)]:
            file.unlink()
        if weights is not None:
            whole = path / "model.safetensors"
            whole.write_bytes(whole.read_bytes()[:weights])
        file = path / "config.json"
        if config is not None:
            file.write_text(config)
        if values:
            file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return make


def few_words(path: Path, models: Path) -> None:
    """A BERT with a table of 20 words beside a tokenizer that knows more."""
    import tiny

    tiny.save_tiny_bert(path, vocab_size=20)


def pictures(
    count: int = 12, names: Sequence[str] = ("cat", "dog"), wrong: bytes | int | None = None
) -> Maker:
    """A folder of CLASS/*.png; the first file holds `wrong` instead, or is cut to so many bytes."""

    def make(path: Path, models: Path) -> None:
        from image_runs import noise

        for tint, name in enumerate(names):
            (path / name).mkdir(parents=True)
            for i in range(count):
                noise(i + 100 * tint, tint=tint).save(path / name / f"{i}.png")
        if wrong is not None:
            first = path / names[0] / "1.png"
            first.write_bytes(first.read_bytes()[:wrong] if isinstance(wrong, int) else wrong)

    return make


def make_models(folder: Path) -> Path:
    """MODELS: a BERT, a ViT and a ResNet of timm's, all tiny and with random weights."""
    import tiny
    from image_runs import save

    tiny.save_tiny_bert(folder / "bert")
    save("vit", folder)
    save("timm-resnet18", folder)
    return folder
