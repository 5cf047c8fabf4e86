"""Checkpoints that are not there, cut, of another kind, or without what belongs to them."""

from __future__ import annotations

from .case import Case, Content
from .contents import checkpoint, few_words, pictures, table

REVIEWS: dict[str, Content] = {"a.csv": table()}
DATA = "--dataset_name a.csv"


def spoilt(name: str, content: Content) -> Case:
    return Case(name, f"{DATA} --model_name_or_path m", REVIEWS | {"m": content})


CHECKPOINTS = (
    Case("no such folder", "--model_name_or_path ./nomodel"),
    Case("an id that is not on this machine", "--model_name_or_path bert-base-uncasd"),
    Case("no id", "--model_name_or_path a/b/c"),
    Case("neither checkpoint nor data nor column", f"--model_name_or_path ./m {DATA} --text_column x", {"b.csv": ""}),
    spoilt("folder without config", checkpoint("bert", drop=["config.json"])),
    Case("a file", "--model_name_or_path m.bin", {"m.bin": b"x"}),
    spoilt("broken config", checkpoint("bert", config='{"model_type": "bert",')),
    spoilt("unknown model type", checkpoint("bert", model_type="nosuch")),
    spoilt("cut weights", checkpoint("bert", weights=20000)),
    spoilt("empty weights", checkpoint("bert", weights=0)),
    spoilt("no weights", checkpoint("bert", drop=["*.safetensors"])),
    spoilt("no tokenizer", checkpoint("bert", drop=["tokenizer*", "vocab*", "special*"])),
    spoilt("tokenizer with more words than the model", few_words),
    Case("text: a ViT", f"{DATA} --model_name_or_path MODELS/vit", REVIEWS),
    Case("text: a model of timm's", f"{DATA} --model_name_or_path MODELS/timm-resnet18", REVIEWS),
    Case("a BERT", "--dataset_name d --model_name_or_path MODELS/bert", {"d": pictures()}, 2, "image_classification"),
    Case(
        "a text model that is not on this machine",
        "--dataset_name d --model_name_or_path sentence-transformers/all-MiniLM-L6-v2",
        {"d": pictures()},
        2,
        "image_classification",
    ),
    Case("the default, not on this machine", "--dataset_name d", {"d": pictures()}, 2, "image_classification"),
)  # fmt: skip
