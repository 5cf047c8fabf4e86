"""Weights from disk into a model that is there already, and transformers kept quiet meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_transfer.adapters import restore_adapter


def load_weights(model: Any, folder: str | Path) -> None:
    """Load a saved model of the same class into `model`, in place; every tensor must be there.

    Of a model with bottleneck adapters, these and the head: nothing else was saved.

    Raises:
        RuntimeError: the folder lacks a tensor or holds one of another shape.
    """
    if getattr(model, "bottleneck_config", None) is not None:
        restore_adapter(model, folder)
        return
    if getattr(model, "base_model_prefix", "") == "backbone":
        from hf_transfer.pooled import PooledClassifier, load_state

        if isinstance(model, PooledClassifier):
            load_state(model, folder)
            return
    with quiet():
        fresh, info = type(model).from_pretrained(
            str(folder), config=model.config, dtype=model.dtype, output_loading_info=True
        )
    if info["missing_keys"] or info["mismatched_keys"]:
        raise RuntimeError(
            f"{folder} does not fit the model: {info['missing_keys'] or info['mismatched_keys']}"
        )
    model.load_state_dict(fresh.state_dict())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' bars and reports for every file it reads or writes."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
