"""An adapter on a model, of peft's or of ours: what it is, saved, restored, and put on a base model again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hf_transfer.problems import Problem, Problems
from hf_transfer.run_folder import ADAPTER
from hf_transfer.strategies.peft_methods import kind_of, merges

CONFIG = "adapter_config.json"


def adapter_of(model: Any) -> Any:
    """The configuration of the adapter in a model: peft's object or a `BottleneckConfig`; None without one."""
    ours = getattr(model, "bottleneck_config", None)
    return ours or next(iter(getattr(model, "peft_config", {}).values()), None)


def can_merge(model: Any) -> bool:
    """Whether the model's adapter can be written into its weights."""
    config = adapter_of(model)
    return config is not None and merges(kind_of(config))


def merged(model: Any, safe: bool = False) -> Any:
    """The plain model with peft's adapter written into its weights, the trained head included.

    peft's LN tuning (0.21) leaves the head in its wrapper, which would be saved under names that nobody reads.

    Args:
        safe: look for weights that are no numbers.
    """
    from peft.utils import ModulesToSaveWrapper

    plain = model.merge_and_unload(safe_merge=safe)
    for name, module in list(plain.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            plain.set_submodule(name, module.modules_to_save[module.active_adapters[0]])
    return plain


def save_adapter(model: Any, folder: str | Path) -> None:
    """Write the adapter and the head that was trained with it."""
    if getattr(model, "bottleneck_config", None) is not None:
        from hf_transfer.strategies.bottleneck_files import save_bottleneck

        save_bottleneck(model, folder)
        return
    model.save_pretrained(str(folder))
    (Path(folder) / "README.md").unlink(missing_ok=True)  # PEFT's empty template card


def restore_adapter(model: Any, folder: str | Path) -> None:
    """Load a saved adapter into the model's own, which goes on learning."""
    if getattr(model, "bottleneck_config", None) is not None:
        from hf_transfer.strategies.bottleneck_files import restore_bottleneck

        restore_bottleneck(model, folder)
    else:
        model.load_adapter(str(folder), model.active_adapters[0], is_trainable=True)


def load_adapter(model: Any, folder: str | Path, subfolder: str = "") -> Any:
    """A plain transformers model with a saved adapter on it, and the head that was trained with it, in eval mode.

    Args:
        model: the base model, with as many labels as the adapter's head.
        folder: the adapter's folder, or a repository of the Hub, with the `subfolder` that holds the adapter.

    Returns:
        For peft's adapters a PeftModel; for bottleneck adapters the model itself.

    Raises:
        Problems: there is no adapter, or it does not fit the model.
    """
    place = Path(folder)
    if not place.exists() and str(folder).count("/") == 1:
        from huggingface_hub import snapshot_download

        place = Path(
            snapshot_download(str(folder), allow_patterns=[f"{subfolder}/*" if subfolder else "adapter_*"])
        )
    place = place / subfolder
    if not (place / CONFIG).is_file():
        raise Problems(
            Problem(str(place), f"no adapter here (there is no {CONFIG})", "give the folder that holds it")
        )
    from hf_transfer.strategies.bottleneck_files import load_bottleneck, read_bottleneck

    if read_bottleneck(place) is not None:
        return load_bottleneck(model, place)
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(place)).eval()


def has_only_adapter(folder: str | Path) -> bool:
    """Whether a run folder holds an adapter that is not merged, and no weights of a whole model."""
    adapter = Path(folder) / ADAPTER / CONFIG
    return not any(Path(folder).glob("*.safetensors")) and adapter.is_file()


def load_adapted(folder: str | Path, auto_class: str) -> Any:
    """The model of a run whose adapter cannot be merged: the base model it names, with the adapter and the labels.

    Raises:
        Problems: the base model is not where it was.
    """
    import transformers

    from hf_transfer.training.checkpoints import load_pretrained

    told = json.loads((Path(folder) / ADAPTER / CONFIG).read_text(encoding="utf-8"))
    name = told.get("base_model_name_or_path")
    if not name:
        what = f"{told.get('peft_type', 'the adapter')} cannot be merged, and its base model has no name"
        mend = f"load it by hand: hf_transfer.load_adapter(model, {str(Path(folder) / ADAPTER)!r})"
        raise Problems(Problem(str(folder), what, mend))
    config = transformers.AutoConfig.from_pretrained(str(folder))
    base = load_pretrained(
        auto_class, str(name), config=config, dtype="float32", ignore_mismatched_sizes=True
    )
    return load_adapter(base, Path(folder) / ADAPTER)
