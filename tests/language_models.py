"""Tiny language models in folders, with the tokenizer of `tiny`, and short runs of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny
import torch

from hf_transfer import finetune

TEXTS = [row["text"] for row in tiny.rows(60)]
ARGS: dict[str, Any] = {"max_steps": 4, "report_to": "none", "disable_tqdm": True, "learning_rate": 3e-3}
ARGS |= {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def config(kind: str, **changes: Any) -> Any:
    """The configuration of a small model of this kind."""
    from transformers import AutoConfig

    size, ends = len(tiny.tiny_tokenizer()), {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    sizes: dict[str, Any] = {
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
        "t5": {"d_model": 32, "num_layers": 1, "d_kv": 16, "num_heads": 2, "d_ff": 32},
        "bart": {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1},
        "llama": SMALL | {"num_key_value_heads": 2, "max_position_embeddings": 64},
    }
    given = sizes.get(kind, SMALL | {"max_position_embeddings": 66 if kind == "roberta" else 64})
    return AutoConfig.for_model(kind, vocab_size=size, **ends, **(given | changes))


def model(kind: str, seed: int = 0, **changes: Any) -> Any:
    """A small model of this kind with its language-modelling head."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    torch.manual_seed(seed)
    auto = AutoModelForCausalLM if kind in ("gpt2", "llama") else AutoModelForMaskedLM
    return auto.from_config(config(kind, **changes))


def saved(kind: str, folder: Path) -> Path:
    """`model` and the tokenizer in a folder."""
    model(kind).save_pretrained(str(folder / kind))
    tiny.tiny_tokenizer().save_pretrained(str(folder / kind))
    return folder / kind


def run(task: Any, start: Any, folder: Path, texts: Any = None, args: Any = None, **options: Any) -> Any:
    """A short run, without the check in a fresh process unless it is asked for."""
    more = {"cpu_threads": 1, "skip_reload_check": True} | options
    given = ARGS | {"output_dir": str(folder)} | (args or {})
    return finetune(task, start, TEXTS if texts is None else texts, args=given, **more)
