"""What a language model's class leaves out of a checkpoint, kept for the task that comes after: BERT's pooler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

INDEX, WEIGHTS, BESIDE = "model.safetensors.index.json", "model.safetensors", "model-unused.safetensors"


def unused_weights(model: Any, name: str) -> dict[str, Any]:
    """Tensors of the checkpoint `name` that `AutoModel` loads and `model`, made from it, has no place for.

    A masked language model has no pooler. The task that begins from what it saves would draw one at random, though the
    checkpoint had a trained one.

    Args:
        model: the plain transformers model with a language-modelling head.
        name: a folder or Hub id; where it is empty nothing is looked for.

    Returns:
        By full name, as a model with a head for a task saves it.
    """
    import torch
    from transformers import AutoModel

    from hf_transfer.loading import quiet

    prefix = model.base_model_prefix
    if not name or not isinstance(getattr(model, prefix, None), torch.nn.Module):
        return {}
    own = set(getattr(model, prefix).state_dict())
    with torch.device("meta"):
        names = set(AutoModel.from_config(model.config).state_dict())
    if names <= own:
        return {}
    with quiet():
        whole, info = AutoModel.from_pretrained(
            name, dtype="float32", output_loading_info=True, ignore_mismatched_sizes=True
        )
    lacking = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    state = whole.state_dict()
    return {f"{prefix}.{key}": state[key] for key in sorted(names - own) if key not in lacking}


def add_weights(folder: Path, tensors: dict[str, Any]) -> None:
    """Put tensors beside those that `save_pretrained` wrote into `folder`, in a file of their own where it wrote several."""
    if not tensors:
        return
    from safetensors.torch import load_file, save_file

    own = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    if (folder / WEIGHTS).is_file():
        save_file(load_file(folder / WEIGHTS) | own, folder / WEIGHTS, metadata={"format": "pt"})
        return
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    save_file(own, folder / BESIDE, metadata={"format": "pt"})
    index["weight_map"] |= dict.fromkeys(own, BESIDE)
    (folder / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")
