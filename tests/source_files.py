"""The same forty reviews as a file of any format, a table or a picture, and what is read of them."""

from __future__ import annotations

import json

from data_tasks import reviews, write_csv


def texts(data) -> list[str]:
    """All texts in the order of their rows."""
    found = [(row["row"], row["text"]) for rows in data.splits.values() for row in rows]
    return [text for _, text in sorted(found)]


def frame():
    import pandas as pd

    return pd.DataFrame(reviews(), columns=["text", "label"])


def write(kind, folder):
    path = folder / f"reviews.{kind}"
    rows = [dict(zip(("text", "label"), row, strict=True)) for row in reviews()]
    if kind in ("csv", "tsv"):
        write_csv(path, reviews())
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "parquet":
        frame().to_parquet(path)
    return path


def picture(path, shade: int, i: int) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (shade, i, i)).save(path)
