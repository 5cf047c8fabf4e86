"""Pretrained checkpoints by name: there, or a message at once that says what to do."""

from __future__ import annotations

import os
import re
import textwrap
import traceback
from pathlib import Path
from typing import Any

from hf_transfer.problems import Problem, Problems
from hf_transfer.run_folder import is_neighbours

WHERE = "--model_name_or_path"


def checkpoint(name: str) -> str:
    """`name` itself, once it is sure that it can be loaded from: a folder, the cache, or a Hub that answers.

    Where the Hub does not answer, the libraries are put into offline mode, so that a cached model loads without a
    minute of retries.

    Raises:
        Problems: no such folder; or not in the cache, and the Hub cannot be reached.
    """
    load_whole()
    path = Path(name)
    if path.exists():
        if not (path / "config.json").is_file():
            what = f"{name} has no config.json" if path.is_dir() else f"{name} is a file"
            raise Problems(Problem(WHERE, what, "give a folder that save_pretrained wrote, or a Hub id"))
        if is_neighbours(path):
            what = f"{name} answers by its nearest neighbours and has no head that could learn"
            raise Problems(Problem(WHERE, what, "give the checkpoint that it was made from"))
        return name
    from huggingface_hub import constants, try_to_load_from_cache

    from hf_transfer.data.hub import HUB_ID, reachable

    if not HUB_ID.fullmatch(name):
        what = f"{name!r} is no folder here, and no Hub id"
        raise Problems(
            Problem(WHERE, what, "check the path, or give a Hub id such as google-bert/bert-base-uncased")
        )
    if constants.HF_HUB_OFFLINE or not reachable(constants.ENDPOINT):
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            why = (
                "HF_HUB_OFFLINE is set"
                if constants.HF_HUB_OFFLINE
                else f"{constants.ENDPOINT} cannot be reached"
            )
            mend = (
                f"check the path; or, where there is a network, hf download {name} --local-dir model, and give that "
                "folder; or, for texts, take the encoder that comes with the extra minilm and needs none: leave the flag out "
                "(in Python: hf_transfer.minilm())"
            )
            raise Problems(
                Problem(WHERE, f"{name!r} is no folder here, is not in the cache, and {why}", mend)
            )
        constants.HF_HUB_OFFLINE = True
    return name


def load_whole() -> None:
    """Let `from_pretrained` load whole models under ZeRO-3: new heads, the record and one rank alone need them so.

    Where accelerate has told transformers of ZeRO-3, every model is made in parts, by all processes together.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        from transformers.integrations.deepspeed import unset_hf_deepspeed_config

        unset_hf_deepspeed_config()


def revision_of(name: str) -> str | None:
    """The commit of a Hub model as it lies in the cache, from which it was loaded; None for a folder."""
    if Path(name).exists():
        return None
    from huggingface_hub import try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(name, "config.json")
    except ValueError:  # a name that is no Hub id
        return None
    return Path(cached).parent.name if isinstance(cached, str) else None


def load_pretrained(auto_class: str, name: str, **options: Any) -> Any:
    """`from_pretrained` of a transformers Auto class, by its name, with a message for people when it fails."""
    import transformers

    if "Model" in auto_class:
        options |= {"dtype": "float32", "ignore_mismatched_sizes": True}
    try:
        return getattr(transformers, auto_class).from_pretrained(name, **options)
    except Exception as error:
        raise unreadable(error) or error from error


def unreadable(error: Exception) -> Problems | None:
    """An error out of `from_pretrained` that is about the checkpoint, as a problem; None for any other error."""
    if not isinstance(error, (OSError, ValueError, KeyError, ImportError)):
        kind = type(error)
        if not kind.__module__.startswith(("safetensors", "huggingface_hub")):
            return None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    found = [
        f for f in frames if f.f_code.co_name == "from_pretrained" and "transformers" in f.f_code.co_filename
    ]
    if not found:
        return None
    name = found[0].f_locals.get("pretrained_model_name_or_path", "the checkpoint")
    reason = " ".join(str(error).split())
    missing = re.search(r"requires the (timm|torchvision) library", reason, re.IGNORECASE)
    if missing:
        what = f"{name} needs {missing[1].lower()}, which is not installed"
        return Problems(Problem(WHERE, what, 'pip install "hf-transfer-learning[images]"'))
    other = re.search(r"Unrecognized configuration class <class '[\w.]*?(\w+?)(Config)?'>", reason)
    if other:
        what = f"{name} holds a model of another kind ({other[1]}), which has no form for this task"
        return Problems(Problem(WHERE, what, "choose a checkpoint for this kind of data"))
    mend = "give a folder that save_pretrained wrote (config.json, safetensors, the tokenizer's or processor's files)"
    if not Path(str(name)).exists():
        mend = "check the spelling; a private or gated model needs `hf auth login` (or HF_TOKEN) and its terms accepted"
    return Problems(
        Problem(WHERE, f"{name} cannot be loaded: {textwrap.shorten(reason, 300, placeholder=' ...')}", mend)
    )
