"""Some ninety architectures, each made from a config in milliseconds, and inputs for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as t
from classifiers import IMAGES, TEXT, timm
from further_architectures import FURTHER, TIMM

OTHERS: dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "bert-masked": (t.BertForMaskedLM, TEXT["bert"]),
    "gpt2-causal": (t.GPT2LMHeadModel, TEXT["gpt2"]),
    "llama-causal": (t.LlamaForCausalLM, TEXT["llama"]),
    "t5-seq2seq": (t.T5ForConditionalGeneration, TEXT["t5"]),
    "bert-tokens": (t.BertForTokenClassification, TEXT["bert"]),
    "bert-bare": (t.BertModel, TEXT["bert"]),
}
NAMES = (*TEXT, *IMAGES, *OTHERS)
KINDS = {name: kind for kind, found in FURTHER.items() for name in found}  # what goes in


def make(name: str, seed: int = 0, **changes: Any) -> Any:
    """The model with random weights, in eval mode; `changes` replaces values of its config. timm's are on `meta`."""
    torch.manual_seed(seed)
    if name in TIMM:
        with torch.device("meta"):
            return t.AutoModelForImageClassification.from_config(timm(name)).eval()
    if name in OTHERS:
        build, config = OTHERS[name][0], OTHERS[name][1]()
    elif name in KINDS:
        kind, made = FURTHER[KINDS[name]][name]
        build, config = getattr(t, kind), made()
    else:
        config = (TEXT | IMAGES)[name]()
        auto = t.AutoModelForSequenceClassification if name in TEXT else t.AutoModelForImageClassification
        build = auto.from_config
    for key, value in changes.items():
        setattr(config, key, value)
    return build(config).eval()


def inputs(name: str, rows: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    """A batch that the model takes."""
    generator = torch.Generator().manual_seed(seed)
    if name in TIMM:
        size = 240 if name.endswith("_240") else 224
        return {"pixel_values": torch.zeros((rows, 3, size, size), device="meta")}
    kind = KINDS.get(name, "images" if name in IMAGES else "words")
    if kind == "sound":
        return {"input_values": torch.randn((rows, 800), generator=generator)}
    if kind == "spectrum":
        return {"input_features": torch.randn((rows, 8, 32), generator=generator)}
    if kind == "videos":
        return {"pixel_values_videos": torch.randn((rows, 2, 3, 64, 64), generator=generator)}
    found = {}
    if kind in ("images", "towers"):
        size = 64 if name.startswith("timm") or (name in KINDS and kind == "images") else 32
        found = {"pixel_values": torch.randn((rows, 3, size, size), generator=generator)}
        if kind == "images":
            return found
    ids = torch.randint(5, 100, (rows, 10), generator=generator)
    ids[:, -1] = 2  # T5 reads the score off its end token
    if kind == "choices":
        ids = ids[:, None].repeat(1, 2, 1)
    more = {"decoder_input_ids": ids} if name == "t5-seq2seq" or kind == "pairs" else {}
    return found | {"input_ids": ids, "attention_mask": torch.ones_like(ids), **more}
