"""Bottleneck adapters on disk: `adapter_config.json` and `adapter_model.safetensors`, with the head, beside no base weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.bottleneck import BottleneckConfig, config_of, insert, is_adapter

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LIBRARY = "hf_transfer"  # says in the configuration whose adapter it is


def save_bottleneck(model: Any, folder: str | Path) -> None:
    """Write the adapters of a model and the head that was trained with them."""
    from safetensors.torch import save_file

    config = config_of(model)
    if config is None:
        raise Problems(
            Problem("model", "it has no bottleneck adapters", "put some in: insert(model, config)")
        )
    Path(folder).mkdir(parents=True, exist_ok=True)
    kept = {n: t.detach().contiguous().cpu() for n, t in model.state_dict().items() if _is_saved(n, config)}
    save_file(kept, str(Path(folder) / WEIGHTS), metadata={"format": "pt"})
    told = {"library": LIBRARY, **config.to_dict()}
    (Path(folder) / CONFIG).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def read_bottleneck(folder: str | Path) -> BottleneckConfig | None:
    """The configuration in a folder; None where the adapter there is not of this kind (peft's)."""
    told = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    if told.pop("library", None) != LIBRARY:
        return None
    told["places"] = tuple((reads, behind) for reads, behind in told["places"])
    told["modules_to_save"] = tuple(told["modules_to_save"])
    return BottleneckConfig(**told)


def restore_bottleneck(model: Any, folder: str | Path) -> None:
    """Load saved adapters and head into a model that has the same adapters.

    Raises:
        Problems: the folder holds others.
    """
    from safetensors.torch import load_file

    config = config_of(model)
    saved = load_file(str(Path(folder) / WEIGHTS))
    own = {n: t.shape for n, t in model.state_dict().items() if config is not None and _is_saved(n, config)}
    wrong = [n for n in {**own, **saved} if n not in own or n not in saved or own[n] != saved[n].shape]
    if wrong:
        what = f"does not fit the model: {len(wrong)} tensors are missing or of another shape, {wrong[0]} among them"
        raise Problems(
            Problem(str(folder), what, "load it into the model it was trained on, with as many labels")
        )
    model.load_state_dict(saved, strict=False)


def load_bottleneck(model: Any, folder: str | Path) -> Any:
    """A plain model with saved bottleneck adapters put into it and their head in place of its own, in eval mode.

    Raises:
        Problems: the adapters do not fit the model.
    """
    config = read_bottleneck(folder)
    if config is None:
        raise Problems(
            Problem(str(folder), "holds an adapter of peft's", "load it with peft.PeftModel.from_pretrained")
        )
    names = {name for name, _ in model.named_modules()}
    lacking = [n for place in config.places for n in place if n not in names]
    if lacking:
        what = f"{type(model).__name__} has no layer {lacking[0]}"
        raise Problems(
            Problem(str(folder), what, f"load it into {config.base_model_name_or_path or 'its base model'}")
        )
    restore_bottleneck(insert(model, config), folder)
    return model.requires_grad_(False).eval()


def _is_saved(name: str, config: BottleneckConfig) -> bool:
    return is_adapter(name) or any(name.startswith(f"{leaf}.") for leaf in config.modules_to_save)
