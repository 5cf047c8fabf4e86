"""What accelerate leaves on a model that it has prepared for training, and how it is taken away again."""

from __future__ import annotations

from typing import Any

import torch


def unprepared(model: Any) -> Any:
    """The model as it was before a Trainer had it: its own `forward`, no mark, no code compiled for what learned then.

    accelerate marks what it has prepared, in one process the model itself, and gives a marked model back as it is: a second
    phase would not be computed in bf16 or compiled any more. Its own way back (`unwrap_model(keep_fp32_wrapper=False)`)
    takes the decorators of transformers' `forward` away with its wrapper, and hidden states are asked for in vain.
    """
    original = model.__dict__.pop("_original_forward", None)
    if original is not None:
        if getattr(original, "__func__", None) is type(model).forward:
            del model.forward
        else:
            model.forward = original
    model.__dict__.pop("_is_accelerate_prepared", None)
    torch._dynamo.reset()
    return model
