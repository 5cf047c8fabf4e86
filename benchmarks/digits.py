"""Fine-tuning can distort features: a miniature of Kumar et al. 2022 on scikit-learn's digits, which needs no download.

    python benchmarks/digits.py --seeds 5 --out docs/digits.csv

A small convolution net with batch norm learns 0 to 5 from images of changing contrast, brightness and noise, some inverted. Then it is
adapted to 6 to 9 with 10 clean images of each, from scratch, whole, head first (lp-ft) and by its features alone, and measured on clean
images and on inverted, noisy ones that the adaptation never saw. One row of the csv for each run.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from results_file import add, held

STRATEGIES = ("scratch", "full", "lp-ft", "feature-extraction")
FIELDS = ("seed", "strategy", "clean", "shifted")
QUIET = {
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
    "eval_strategy": "no",
    "load_best_model_at_end": False,
}


def images(values: np.ndarray) -> list[Any]:
    """Digits (n, 8, 8) of 0 .. 1 as RGB images of 32 x 32."""
    from PIL import Image

    grey = (np.clip(values, 0, 1) * 255).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    return [Image.fromarray(one).convert("RGB") for one in grey]


def broad(values: np.ndarray, drawn: np.random.Generator) -> np.ndarray:
    """Half of them inverted, contrast, brightness and noise drawn for each."""
    size = (len(values), 1, 1)
    inverted = drawn.random(size) < 0.5
    found = np.where(inverted, 1 - values, values) * (0.4 + 0.6 * drawn.random(size)) + 0.3 * drawn.random(
        size
    )
    return found + 0.15 * drawn.normal(size=values.shape)


def shifted(values: np.ndarray, drawn: np.random.Generator) -> np.ndarray:
    """All inverted, flat and noisy."""
    return (1 - values) * 0.7 + 0.1 + 0.15 * drawn.normal(size=values.shape)


def rows(values: np.ndarray, labels: np.ndarray) -> Any:
    """A data set with `image` and `label`, the digit as text."""
    from datasets import Dataset, Features, Image, Value

    kinds = Features({"image": Image(), "label": Value("string")})
    return Dataset.from_dict({"image": images(values), "label": [str(d) for d in labels]}, features=kinds)


def save_new(folder: Path, seed: int) -> Path:
    """An untrained net and its image processor."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=16, hidden_sizes=[32, 64, 128], depths=[1, 1, 1], layer_type="basic")
    ResNetForImageClassification(config).save_pretrained(str(folder))
    ViTImageProcessor(size={"height": 32, "width": 32}, resample=0).save_pretrained(str(folder))
    return folder


def one_seed(seed: int, folder: Path, strategies: tuple[str, ...] = STRATEGIES) -> list[dict[str, Any]]:
    """Pretrain once, adapt in every way; rows for the csv."""
    from datasets import DatasetDict
    from sklearn.datasets import load_digits

    from hf_transfer import finetune

    drawn, (pixels, digits) = np.random.default_rng(seed), load_digits(return_X_y=True)
    pixels = pixels.reshape(-1, 8, 8) / 16
    source, target = np.flatnonzero(digits < 6), drawn.permutation(np.flatnonzero(digits >= 6))
    many = np.tile(source, 3)
    cut = len(many) - 200
    order = drawn.permutation(many)
    values = broad(pixels[order], drawn)
    splits = {
        "train": rows(values[:cut], digits[order[:cut]]),
        "validation": rows(values[cut:], digits[order[cut:]]),
    }

    def tuned(model: Path, data: Any, strategy: str, name: str, epochs: int, batch: int) -> Any:
        args = QUIET | {"output_dir": str(folder / name), "num_train_epochs": epochs, "learning_rate": 3e-3,
                        "per_device_train_batch_size": batch, "warmup_steps": 0.2}  # fmt: skip
        options: dict[str, Any] = {"skip_reload_check": True, "probe": False, "seed": seed}
        return finetune("image-classification", str(model), data, strategy=strategy, args=args, **options)

    new = save_new(folder / "new", seed)
    pretrained = Path(tuned(new, DatasetDict(splits), "full", "pretrained", 6, 64).output_dir)
    test, rest = target[:400], target[400:]
    few = np.concatenate([rest[digits[rest] == digit][:10] for digit in range(6, 10)])
    held = np.setdiff1d(rest, few)[:100]
    data = {"train": few, "validation": held, "test": test}
    own = DatasetDict({split: rows(pixels[index], digits[index]) for split, index in data.items()})
    far, found = images(shifted(pixels[test], drawn)), []
    for strategy in strategies:
        scratch = strategy == "scratch"
        run = tuned(new if scratch else pretrained, own, "full" if scratch else strategy, strategy, 60, 20)
        guesses = [int(answer["label"]) for answer in run.predict(far)]
        right = float(np.mean(np.array(guesses) == digits[test]))
        found.append(
            {
                "seed": seed,
                "strategy": strategy,
                "clean": round(run.metrics["test_accuracy"], 4),
                "shifted": round(right, 4),
            }
        )
    return found


def main() -> None:
    """Every seed that the csv does not hold yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    done = {int(seed) for (seed,) in held(asked.out, ["seed"])}
    for seed in sorted(set(range(asked.seeds)) - done):
        with tempfile.TemporaryDirectory() as folder:
            found = one_seed(seed, Path(folder))
        for row in found:
            add(asked.out, row, FIELDS)
        print(*found, sep="\n", flush=True)


if __name__ == "__main__":
    main()
