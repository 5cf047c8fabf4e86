"""Image classification: one or several labels, or a number, for an image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hf_transfer.data.keys import input_keys
from hf_transfer.data.pixels import PixelCache, PixelRows, deep, encoded, pixel_bytes, upright
from hf_transfer.hardware import free_memory
from hf_transfer.problems import Problem, Problems
from hf_transfer.tasks.classification import label_array
from hf_transfer.tasks.task import Prepared, Task

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_transfer.data import Data

KEPT = 0.25  # share of the free memory that pixels made once may stay in


def fit(processor: Any, model: Any) -> list[str]:
    """Check that the model takes what the image processor makes, whatever the form of the image.

    One grey image goes through the model, in eval mode, so that a wrong size or number of channels shows now.

    Raises:
        Problems: sizes differ by image, or the model does not take them.
    """
    import torch

    notes = tensorflow_rates(model)
    wide, tall = pixel_shape(processor, 320, 200), pixel_shape(processor, 150, 260)
    if wide != tall:
        what = f"the image processor makes images of different sizes ({wide} and {tall}), which no batch can hold"
        mend = 'give it a fixed size, as size={"height": 224, "width": 224} or do_center_crop=True'
        raise Problems(Problem("image processor", what, mend))
    was_training = model.training
    try:
        with torch.no_grad():  # BEiT keeps what it computes here, and could not train on inference tensors
            model.eval()(pixel_values=torch.zeros(1, *wide, device=next(model.parameters()).device))
    except (RuntimeError, ValueError, TypeError) as error:
        what = f"{type(model).__name__} does not take images of {_size(wide)}: {str(error).splitlines()[0][:200]}"
        mend = "take model and image processor from the same checkpoint"
        raise Problems(Problem("image processor", what, mend)) from error
    finally:
        model.train(was_training)
    return notes


def tensorflow_rates(model: Any) -> list[str]:
    """Mend rates that were carried over from TensorFlow the wrong way round, and say so.

    TensorFlow's `keep_prob` and `decay` are one minus PyTorch's dropout probability and batch norm momentum. Taken as
    they stood (transformers' MobileNetV1 and V2: dropout 0.999 and 0.8, momentum 0.9997 and 0.997), hardly anything
    gets through to a new head, and the running statistics are those of the last batch alone.
    """
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

    notes = []
    dropouts = [m for m in model.modules() if isinstance(m, nn.Dropout) and m.p >= 0.75]
    norms = [
        m
        for m in model.modules()
        if isinstance(m, _BatchNorm) and m.momentum is not None and m.momentum > 0.9
    ]
    if dropouts:
        was = dropouts[0].p
        for dropout in dropouts:
            dropout.p = 1 - dropout.p
        for name, value in model.config.to_dict().items():  # so that the saved model says it too
            if "dropout" in name and value == was:
                setattr(model.config, name, 1 - was)
        notes.append(
            f"The checkpoint's dropout of {was:g} is a rate of keeping, carried over as it stood: {1 - was:.3g} is used."
        )
    if norms:
        momentum = norms[0].momentum
        for norm in norms:
            norm.momentum = 0.1
        notes.append(
            f"Batch norm momentum {momentum:g} would keep the statistics of the last batch alone: PyTorch's 0.1 is used."
        )
    return notes


def prepare(data: Data, processor: Any, model: Any, max_length: int | None = None) -> Prepared:
    """Rows that are decoded and processed when they are asked for, without augmentation.

    The pixels of train and validation, which every epoch needs again, are kept as float32 where a split fits into a
    quarter of the free memory; the other rows are decoded each time. Both give the same numbers.
    """
    import torch

    if max_length is not None:
        raise Problems(Problem("--max_length", "images have no length in tokens", "leave it out"))
    shape = pixel_shape(processor)
    room = KEPT * free_memory() / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    splits, kept = {}, 0
    for split, rows in data.splits.items():
        need = pixel_bytes(len(rows), shape)
        cache = PixelCache(len(rows), shape) if split != "test" and kept + need <= room else None
        kept += need if cache else 0
        splits[split] = PixelRows(rows, processor, torch.from_numpy(label_array(rows, data)), cache)
    stays = f"up to {kept / 1e6:,.0f} MB of them stay in memory" if kept else "decoded anew each time"
    return Prepared(
        splits,
        facts={"pixels": list(shape)},
        plan={"images": f"{_size(shape)}, {stays}"},
        warnings=_deep(data),
    )


def encode(rows: Dataset, processor: Any, max_length: int | None = None) -> PixelRows:
    """Model inputs for rows with `image`.

    Raises:
        Problems: images that are missing or cannot be read, all of them.
    """
    keys, problems = input_keys(rows, "images")
    missing = [str(i) for i, key in enumerate(keys) if key == b""] if not problems else []
    if missing:
        problems = [
            Problem("images", f"there is none in row {', '.join(missing[:10])}", "leave these rows out")
        ]
    if problems:
        raise Problems(*problems)
    return PixelRows(rows, processor)


def collator(processor: Any) -> Any:
    """Stacks images of one size."""
    from transformers import DefaultDataCollator

    return DefaultDataCollator()


def raw(rows: Dataset) -> list[Any]:
    """Upright RGB images, as `pipeline` takes them; decoded, so for a few rows only."""
    return [upright(row["image"]) for row in encoded(rows)]


def pixel_shape(processor: Any, width: int = 320, height: int = 200) -> tuple[int, ...]:
    """(channels, height, width) that the processor makes of an RGB image of this size."""
    from PIL import Image

    image = Image.new("RGB", (width, height), (128, 128, 128))
    return tuple(processor(image, return_tensors="pt")["pixel_values"][0].shape)


def _size(shape: tuple[int, ...]) -> str:
    if len(shape) != 3:  # patches in a row
        return " x ".join(map(str, shape))
    channels, height, width = shape
    return f"{width} x {height} pixels, {channels} channels"


def _deep(data: Data) -> list[dict[str, str]]:
    """Images of 16 bits: `convert("RGB")`, in `pipeline` too, cuts what is above 255, so they turn white."""
    found = {split: deep(cell["image"] for cell in encoded(rows)) for split, rows in data.splits.items()}
    what = ", ".join(f"{count:,} of {split}" for split, count in found.items() if count)
    if not what:
        return []
    told = f"images of more than 8 bits a channel ({what}) are cut at 255 as pipeline does: nearly all white"
    return [{"where": "images", "what": told, "mend": "scale them to 8 bits first"}]


IMAGE_CLASSIFICATION = Task(
    name="image-classification",
    auto_class="AutoModelForImageClassification",
    processor_class="AutoImageProcessor",
    inputs=("image",),
    optional=(),
    target="label",
    fit=fit,
    prepare=prepare,
    encode=encode,
    collator=collator,
    raw=raw,
)
