"""Images that cannot be read, or are not there."""

from __future__ import annotations

from .case import Case, Content
from .contents import objects, pictures, table

MODEL = "--model_name_or_path MODELS/timm-resnet18"


def img(name: str, flags: str, code: int = 2, **files: Content) -> Case:
    given = {path.replace("_", "."): content for path, content in files.items()}
    return Case(name, f"{flags} {MODEL}".lstrip(), given, code, "image_classification")


IMAGES = (
    img("no data", ""),
    img("an image cut off", "--dataset_name d", d=pictures(wrong=100)),
    img("an image of text", "--dataset_name d", d=pictures(wrong=b"no image")),
    img("an image of 0 bytes", "--dataset_name d", d=pictures(wrong=b"")),
    img("one class", "--dataset_name d", d=pictures(24, ["cat"])),
    img("empty folder", "--dataset_name d", **{"d/": ""}),
    img("csv without images", "--dataset_name a.csv", a_csv=table()),
    img(
        "csv with paths to nowhere",
        "--dataset_name a.csv",
        a_csv=table([(f"img{i}.png", "cat" if i % 2 else "dog") for i in range(30)], ("image", "label")),
    ),
    img(
        "jsonl without an image in one row",
        "--dataset_name a.jsonl",
        a_jsonl=objects([(None if i == 3 else f"d/cat/{i}.png", "ab"[i % 2]) for i in range(12)], ("image", "label")),
        d=pictures(),
        code=0,
    ),
    img("a flag for texts", "--dataset_name d --text_column x", d=pictures()),
    img("a good folder", "--dataset_name d", 0, d=pictures()),
)  # fmt: skip
