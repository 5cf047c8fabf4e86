"""A BERT small enough to train in a second, its tokenizer from a list of words, and rows to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

GOOD = ("lovely", "honest", "clever", "warm", "bright", "superb", "gentle", "moving")
BAD = ("dull", "clumsy", "cold", "tired", "sour", "awful", "noisy", "hollow")
THINGS = (
    "film",
    "meal",
    "book",
    "room",
    "song",
    "walk",
    "phone",
    "story",
    "coffee",
    "garden",
    "lamp",
    "train",
)
PLACES = ("home", "work", "school", "sea", "night", "noon", "lunch", "dawn")
WORDS = ("a", "the", "we", "found", "at", "and", "not", "but", ",", ".", *GOOD, *BAD, *THINGS, *PLACES)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
KINDS = ("single", "multi", "regression")


def tiny_tokenizer() -> Any:
    """BERT's tokenizer with 46 whole words, which takes at most 64 tokens; other words become `[UNK]`."""
    from transformers import BertTokenizer

    return BertTokenizer(vocab={token: i for i, token in enumerate((*SPECIAL, *WORDS))}, model_max_length=64)


def save_tiny_bert(folder: Path, seed: int = 0, **config: Any) -> Path:
    """A `BertModel` (no head) of two layers and its tokenizer in `folder`; `config` replaces values of BertConfig."""
    import torch
    from transformers import BertConfig, BertModel

    tokenizer = tiny_tokenizer()
    small = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    torch.manual_seed(seed)
    BertModel(BertConfig(**(small | config))).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def tiny_bert(folder: Path) -> Path:
    """`save_tiny_bert` with its defaults, in a folder of its own inside `folder` (a test's tmp_path)."""
    return save_tiny_bert(folder / "tiny_bert")


def rows(n: int, kind: str = "single", pairs: bool = False) -> list[dict[str, Any]]:
    """Rows with `text`, `label` (and `text_pair`), up to 1,536 different ones; every second one is praise.

    The label follows from the words: a name (single), names of what the text has (multi), or a number (regression).
    """
    found = []
    for i in range(n):
        good = i % 2 == 0
        adjective = (GOOD if good else BAD)[i // 2 % 8]
        place = PLACES[i // 16 % 8]
        thing = THINGS[(i // 128 + i % 128) % 12]
        row: dict[str, Any] = {"text": f"We found the {thing} {adjective} at {place}."}
        row |= {"text_pair": f"A {adjective} {THINGS[i % 5]}, but not {PLACES[i % 7]}."} if pairs else {}
        if kind == "single":
            row["label"] = "positive" if good else "negative"
        elif kind == "multi":
            row["label"] = [
                name for name, on in (("good", good), ("early", i // 16 % 2), ("long", i % 3 == 0)) if on
            ]
        else:
            row["label"] = (3.5 if good else 1.5) + i // 2 % 8 / 10
        found.append(row)
    return found
