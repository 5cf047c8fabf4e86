"""Images, processors and models that do not fit are named before training."""

from __future__ import annotations

from pathlib import Path

import architectures
import pytest
import torch
from image_runs import noise, run, save
from PIL import Image
from transformers import ViTImageProcessor

from hf_transfer import IMAGE_CLASSIFICATION, Problems
from hf_transfer.data import read_rows
from hf_transfer.tasks import image_classification as task


def test_a_corrupt_image_is_named_and_nothing_is_written(image_folder: Path, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        for label in ("blue", "red"):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for path in sorted((image_folder / split / label).iterdir()):
                (tmp_path / "data" / split / label / path.name).write_bytes(path.read_bytes())
    whole = (tmp_path / "data/train/red/5.png").read_bytes()
    (tmp_path / "data/train/red/5.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "data/train/red/7.png").write_text("no image")
    with pytest.raises(Problems, match=r"2 of 24 images cannot be read: .*5\.png.*7\.png"):
        run("vit", tmp_path / "data", tmp_path)
    assert not (tmp_path / "run").exists()


def test_predicting_names_every_image_that_cannot_be_read(tmp_path: Path) -> None:
    noise(1).save(tmp_path / "good.png")
    for name in ("bad.png", "worse.png"):
        (tmp_path / name).write_text("no image")
    rows = read_rows(IMAGE_CLASSIFICATION, [str(tmp_path / n) for n in ("good.png", "bad.png", "worse.png")])
    with pytest.raises(Problems, match=r"2 of 3 images cannot be read: .*bad\.png.*worse\.png"):
        task.encode(rows, ViTImageProcessor())
    with pytest.raises(Problems, match="there is none in row 1"):
        task.encode(
            read_rows(IMAGE_CLASSIFICATION, [{"image": noise(1)}, {"image": None}]), ViTImageProcessor()
        )


def test_a_processor_that_does_not_fit_the_model_is_a_problem() -> None:
    model = architectures.make("vit")
    with pytest.raises(Problems, match="ViTForImageClassification does not take images of 48 x 48 pixels"):
        task.fit(ViTImageProcessor(size={"height": 48, "width": 48}), model)

    def keeps_aspect(image: Image.Image, return_tensors: str) -> dict[str, torch.Tensor]:
        return {"pixel_values": torch.zeros(1, 3, image.height, image.width)}

    with pytest.raises(Problems, match="different sizes"):
        task.fit(keeps_aspect, model)


def test_images_have_no_length(image_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Problems, match="--max_length"):
        run("vit", image_folder, tmp_path, max_length=12)


def test_a_missing_timm_is_named_with_the_command_that_brings_it(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import import_utils

    name, message = save("timm-resnet18", tmp_path), import_utils.BACKENDS_MAPPING["timm"][1]
    monkeypatch.setitem(import_utils.BACKENDS_MAPPING, "timm", (lambda: False, message))
    with pytest.raises(Problems) as error:
        run(name, image_folder, tmp_path)
    assert 'needs timm, which is not installed\n  -> pip install "hf-transfer-learning[images]"' in str(
        error.value
    )
