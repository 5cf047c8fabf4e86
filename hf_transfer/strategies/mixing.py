"""Mixup and CutMix: training on images made of two, with both labels by their shares."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from hf_transfer.problems import Problem, Problems

PIXELS = "pixel_values"


def mixing(
    collate: Callable[[list[Any]], dict[str, Any]], labels: int, mixup: float = 0.0, cutmix: float = 0.0
) -> Mixing:
    """A collator of training batches that mixes each image with another one of its micro-batch.

    torchvision's MixUp (Zhang et al. 2018) and CutMix (Yun et al. 2019); with both, one of them by chance for each batch, as
    in timm. What is drawn comes from torch's CPU generator, which is set for each batch (`drawing.py`), so an interrupted
    run goes on exactly.

    Args:
        collate: the task's; its batches hold `pixel_values` (rows, channels, height, width) and `labels`, ids (rows,) or 0/1
            (rows, labels).
        labels: how many there are.
        mixup, cutmix: alpha of the Beta distribution that shares are drawn from; 0 leaves it out.

    Raises:
        Problems: torchvision is not installed.
    """
    if importlib.util.find_spec("torchvision") is None:
        mend = 'pip install "hf-transfer-learning[images]"'
        raise Problems(Problem("--mixup, --cutmix", "torchvision is not installed", mend))
    from torchvision.transforms import v2

    kinds = ((v2.MixUp, mixup), (v2.CutMix, cutmix))
    return Mixing(collate, labels, tuple(kind(alpha=alpha) for kind, alpha in kinds if alpha))


@dataclass(frozen=True)
class Mixing:
    """The collator of `mixing`: `labels` come out as shares (rows, labels)."""

    collate: Callable[[list[Any]], dict[str, Any]]
    labels: int
    kinds: tuple[Callable[..., Any], ...]

    def __call__(self, rows: list[Any]) -> dict[str, Any]:
        """A batch of mixed images."""
        batch = self.collate(rows)
        given: torch.Tensor = batch["labels"]
        shares = given if given.dim() == 2 else torch.nn.functional.one_hot(given, self.labels)
        kind = self.kinds[int(torch.randint(len(self.kinds), ()))]
        pixels, mixed = kind(batch[PIXELS], shares.float())
        return {**batch, PIXELS: pixels, "labels": mixed}
