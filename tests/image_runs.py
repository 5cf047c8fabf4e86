"""Images of noise, tiny image models as folders, and short runs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import architectures
import numpy as np
import torch
from PIL import Image
from transformers import ViTImageProcessor

from hf_transfer import finetune

QUIET = {"disable_tqdm": True, "report_to": "none", "use_cpu": True, "dataloader_pin_memory": False}


SHORT = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-3,
    "optim": "adamw_torch",
}


def noise(seed: int, mode: str = "RGB", size: tuple[int, int] = (48, 40), tint: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 120, (size[1], size[0], 3), dtype=np.uint8)
    values[..., tint] += 100
    return Image.fromarray(values).convert(mode)


def save(name: str, where: Path) -> str:
    """A tiny model with random weights and its image processor as a folder; batch norms have seen images."""
    model = architectures.make(name).train()
    with torch.no_grad():
        for seed in range(20):
            model(**architectures.inputs(name, rows=8, seed=seed))
    if name.startswith("timm"):
        middle = {"mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0, "interpolation": "bilinear"}
        model.config.pretrained_cfg = {"input_size": [3, 64, 64], **middle}
    else:
        ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(str(where / name))
    model.save_pretrained(str(where / name))
    return str(where / name)


def run(name: str, folder: Any, where: Path, strategy: str = "full", **more: Any) -> Any:
    args = {"output_dir": str(where / "run"), **QUIET, **SHORT, **more.pop("args", {})}
    model = name if "/" in name else save(name, where)
    fast = {"cpu_threads": 1, "skip_reload_check": True, "probe": False}
    options = {"args": args, "strategy": strategy, **fast, **more}
    return finetune("image-classification", model, folder, **options)
