"""From an image file or object to the pixels that the model sees."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import architectures
import numpy as np
import pytest
import torch
from image_runs import noise
from PIL import Image
from transformers import ViTImageProcessor
from transformers.image_utils import load_image

import hf_transfer.data.pixels as pixels
from hf_transfer import IMAGE_CLASSIFICATION, load
from hf_transfer.data import read_rows
from hf_transfer.tasks import image_classification as task


def encode_file(path: Path, processor: Any) -> torch.Tensor:
    return task.encode(read_rows(IMAGE_CLASSIFICATION, [path]), processor)[0]["pixel_values"]


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_any_mode_becomes_the_pixels_that_pipeline_sees(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    noise(1, mode).save(path)
    processor = ViTImageProcessor(size={"height": 32, "width": 32})
    expected = processor(load_image(str(path)), return_tensors="pt")["pixel_values"][0]
    assert torch.equal(encode_file(path, processor), expected)


def test_a_photo_is_turned_as_its_exif_tag_says(tmp_path: Path) -> None:
    upright = Image.new("RGB", (64, 64))
    upright.paste((255, 255, 255), (0, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    upright.rotate(90, expand=True).save(tmp_path / "photo.jpg", exif=exif, quality=100)
    found = encode_file(tmp_path / "photo.jpg", ViTImageProcessor(size={"height": 32, "width": 32}))
    assert found[:, :14].min() > 0.9 and found[:, 18:].max() < -0.9


def test_images_from_python_keep_what_was_done_to_them(tmp_path: Path) -> None:
    """An image opened from a file and shrunk in place is not read from the file again, nor compressed twice."""
    noise(1, size=(64, 64)).save(tmp_path / "a.jpg")
    image = Image.open(tmp_path / "a.jpg")
    image.thumbnail((16, 16))
    for given in ([image], [{"image": image}]):
        found = read_rows(IMAGE_CLASSIFICATION, given)[0]["image"]
        assert np.array_equal(np.asarray(found), np.asarray(image))


def test_pixels_are_made_once_where_they_fit_and_each_time_where_not(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, processor = (
        load(IMAGE_CLASSIFICATION, image_folder),
        ViTImageProcessor(size={"height": 32, "width": 32}),
    )
    decoded: list[Any] = []
    upright = pixels.upright
    monkeypatch.setattr(pixels, "upright", lambda cell: decoded.append(cell) or upright(cell))
    kept = task.prepare(data, processor, None).splits["train"]
    first, again = kept[[3, 5, 3]], kept.select([5, 3])
    assert len(decoded) == 2 and torch.equal(again[1]["pixel_values"], first["pixel_values"][0])
    assert len(decoded) == 2
    monkeypatch.setattr(task, "free_memory", lambda: 1000)
    fresh = task.prepare(data, processor, None)
    for count in (3, 4):
        row = fresh.splits["train"][3]
        assert torch.equal(row["pixel_values"], first["pixel_values"][0]) and len(decoded) == count
    assert row["labels"] == data.splits["train"]["label"][3]
    assert "anew" in fresh.plan["images"]


def test_rows_go_to_a_spawned_worker_without_their_cache(image_folder: Path) -> None:
    data, processor = (
        load(IMAGE_CLASSIFICATION, image_folder),
        ViTImageProcessor(size={"height": 32, "width": 32}),
    )
    rows = task.prepare(data, processor, None).splits["train"]
    copy = pickle.loads(pickle.dumps(rows))
    assert copy._cache is None and torch.equal(copy[1]["pixel_values"], rows[1]["pixel_values"])
    assert (
        rows.remove_columns("labels").column_names
        == ["pixel_values"]
        == list(rows.remove_columns("labels")[0])
    )


def test_deep_images_are_warned_about(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(20):
        (tmp_path / f"class{i % 2}").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 60000, (8, 8)).astype(np.uint16)).save(
            tmp_path / f"class{i % 2}/{i}.png"
        )
    prepared = task.prepare(
        load(IMAGE_CLASSIFICATION, tmp_path), ViTImageProcessor(size={"height": 8, "width": 8}), None
    )
    assert (
        "more than 8 bits a channel (16 of train, 2 of validation, 2 of test)" in prepared.warnings[0]["what"]
    )


def test_pillow_alone_will_do(image_folder: Path) -> None:
    """The backend that transformers falls back to without torchvision."""
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    processor = ViTImageProcessorPil(size={"height": 32, "width": 32})
    assert task.fit(processor, architectures.make("vit")) == []
    row = task.prepare(load(IMAGE_CLASSIFICATION, image_folder), processor, None).splits["train"][0]
    assert row["pixel_values"].shape == (3, 32, 32) and row["pixel_values"].dtype == torch.float32
