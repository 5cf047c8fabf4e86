"""Images through the same `finetune`: decoding, every strategy, statistics that stand still, resume, predictions."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import architectures
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageClassification, TrainerCallback, ViTImageProcessor, pipeline
from transformers.image_utils import load_image

import hf_transfer.data.pixels as pixels
from hf_transfer import IMAGE_CLASSIFICATION, Problems, finetune, load
from hf_transfer.data import read_rows
from hf_transfer.exits import problem_list
from hf_transfer.tasks import image_classification as task

ROOT = Path(__file__).resolve().parent.parent
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SPLIT/CLASS/ images, 24 and 8, in all modes: reddish and bluish ones."""
    root = tmp_path_factory.mktemp("images")
    for split, count in (("train", 12), ("validation", 4)):
        for tint, name in ((2, "blue"), (0, "red")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                mode = ("RGB", "RGBA", "P")[i % 3]
                noise(1000 * count + 100 * tint + i, mode, tint=tint).save(root / split / name / f"{i}.png")
    return root


def save(name: str, where: Path) -> str:
    """A tiny model with random weights and its image processor as a folder."""
    model = architectures.make(name)
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
    options = {"args": args, "strategy": strategy, "cpu_threads": 1, "skip_reload_check": True, **more}
    return finetune("image-classification", model, folder, **options)


# Decoding.


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
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, processor = load(IMAGE_CLASSIFICATION, folder), ViTImageProcessor(size={"height": 32, "width": 32})
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


def test_rows_go_to_a_spawned_worker_without_their_cache(folder: Path) -> None:
    data, processor = load(IMAGE_CLASSIFICATION, folder), ViTImageProcessor(size={"height": 32, "width": 32})
    rows = task.prepare(data, processor, None).splits["train"]
    copy = pickle.loads(pickle.dumps(rows))
    assert copy._cache is None and torch.equal(copy[1]["pixel_values"], rows[1]["pixel_values"])
    assert (
        rows.remove_columns("labels").column_names
        == ["pixel_values"]
        == list(rows.remove_columns("labels")[0])
    )


# What does not fit is said before training.


def test_a_corrupt_image_is_named_and_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    for split in ("train", "validation"):
        for label in ("blue", "red"):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for path in sorted((folder / split / label).iterdir()):
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


def test_images_have_no_length(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Problems, match="--max_length"):
        run("vit", folder, tmp_path, max_length=12)


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


def test_a_missing_timm_is_named_with_the_command_that_brings_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils import import_utils

    name, message = save("timm-resnet18", tmp_path), import_utils.BACKENDS_MAPPING["timm"][1]
    monkeypatch.setitem(import_utils.BACKENDS_MAPPING, "timm", (lambda: False, message))
    with pytest.raises(Problems) as error:
        run(name, folder, tmp_path)
    assert 'needs timm, which is not installed\n  -> pip install "hf-transfer-learning[images]"' in str(
        error.value
    )


def test_pillow_alone_will_do(folder: Path) -> None:
    """The backend that transformers falls back to without torchvision."""
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    processor = ViTImageProcessorPil(size={"height": 32, "width": 32})
    assert task.fit(processor, architectures.make("vit")) == []
    row = task.prepare(load(IMAGE_CLASSIFICATION, folder), processor, None).splits["train"][0]
    assert row["pixel_values"].shape == (3, 32, 32) and row["pixel_values"].dtype == torch.float32


def test_tensorflow_rates_are_turned_round() -> None:
    model = architectures.make("mobilenet_v2")
    notes = task.tensorflow_rates(model)
    assert len(notes) == 2 and "0.8" in notes[0] and "0.997" in notes[1]
    assert {round(m.p, 6) for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.2}
    assert model.config.classifier_dropout_prob == pytest.approx(0.2)
    assert {m.momentum for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.1}
    assert task.tensorflow_rates(architectures.make("resnet")) == []


# Whole runs.

CASES = [
    ("vit", "full", False),
    ("swin", "two-phase", False),
    ("convnext", "partial:1", False),
    ("resnet", "feature-extraction", False),
    ("timm-resnet18", "feature-extraction", False),
    ("mobilenet_v2", "full", True),
    ("timm-mobilenetv2", "full", True),
]


@pytest.mark.parametrize(("name", "strategy", "lora"), CASES)
def test_a_run_from_folder_to_pipeline(
    name: str, strategy: str, lora: bool, folder: Path, tmp_path: Path
) -> None:
    from peft import LoraConfig

    config = LoraConfig(r=4, lora_alpha=8) if lora else None
    proved = name in ("vit", "mobilenet_v2")  # loaded in fresh processes, which takes seconds
    found = run(name, folder, tmp_path, strategy, peft_config=config, skip_reload_check=not proved)
    record = found.record
    assert record["task"] == "image-classification" and record["labels"] == ["blue", "red"]
    assert found.metrics["eval_samples"] == 8 and 0 <= found.metrics["eval_accuracy"] <= 1
    proof = record["reload_check"]
    assert not proved or proof["max_difference"] <= 1e-3
    assert not (lora and proved) or proof["adapter_difference"] <= 1e-4
    paths = [str(p) for p in sorted(folder.glob("validation/*/*.png"))]
    classify = pipeline("image-classification", model=found.output_dir, device="cpu")
    expected = [{cell["label"]: cell["score"] for cell in row} for row in classify(paths)]
    for given in (paths, [Image.open(path) for path in paths]):
        for row, other in zip(found.predict(given), expected, strict=True):
            assert row["probabilities"] == pytest.approx(other, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "strategy"), [("resnet", "feature-extraction"), ("timm-mobilenetv2", "partial:2")]
)
def test_statistics_of_what_is_frozen_are_bit_identical(
    name: str, strategy: str, folder: Path, tmp_path: Path
) -> None:
    from hf_transfer.anatomy import layer_groups

    source = save(name, tmp_path)
    model = AutoModelForImageClassification.from_pretrained(
        source,
        num_labels=2,
        id2label={0: "blue", 1: "red"},
        label2id={"blue": 0, "red": 1},
        ignore_mismatched_sizes=True,
    )
    before = {key: value.clone() for key, value in model.state_dict().items()}
    groups = layer_groups(model)
    found = finetune(
        "image-classification",
        model,
        folder,
        args={"output_dir": str(tmp_path / "run"), **QUIET, **SHORT},
        strategy=strategy,
        skip_reload_check=True,
    )
    after = AutoModelForImageClassification.from_pretrained(found.output_dir).state_dict()
    kept = ("head",) if strategy == "feature-extraction" else ("head", *(g.name for g in groups[-3:]))
    still = [n for g in groups if g.name not in kept for n in (*g.parameters, *g.buffers)]
    assert any("running_mean" in n for n in still) and all(torch.equal(before[n], after[n]) for n in still)
    learned = [n for g in groups if g.name in kept for n in (*g.parameters, *g.buffers)]
    moved = [n for n in learned if not torch.equal(before[n], after[n])]
    assert any("classifier.weight" in n or "classifier.1.weight" in n for n in moved)
    assert strategy == "feature-extraction" or any("running_mean" in n for n in moved)


class StopAfter(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise RuntimeError("stopped by the test")


def test_vit_resumes_exactly_and_ends_with_its_best_weights(folder: Path, tmp_path: Path) -> None:
    """transformers saves ViT under other names than in memory; stock Trainer then loads nothing, with a warning."""
    name = save("vit", tmp_path)
    # The largest loss is asked for, so that the best epoch is surely not the last.
    rates = {
        "learning_rate": 0.03,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": True,
        "num_train_epochs": 3,
    }
    whole = run(name, folder, tmp_path / "whole", args=rates)
    log = [json.loads(line) for line in (Path(whole.output_dir) / "history.jsonl").read_text().splitlines()]
    losses = [row["eval_loss"] for row in log if "eval_loss" in row]
    assert max(losses) > losses[-1] + 0.01
    assert whole.metrics["eval_loss"] == pytest.approx(max(losses), rel=1e-5)

    with pytest.raises(RuntimeError, match="stopped"):
        run(name, folder, tmp_path / "cut", args=rates, callbacks=[StopAfter(7)])
    again = run(name, folder, tmp_path / "cut", args=rates | {"resume_from_checkpoint": True})
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key]), key


def test_several_labels_an_image(tmp_path: Path) -> None:
    rows = [
        {"image": noise(i, tint=i % 3), "label": [["r", "g", "b"][i % 3]] + ["even"] * (i % 2 == 0)}
        for i in range(40)
    ]
    found = run("vit", rows, tmp_path)
    assert found.record["problem_type"] == "multi_label_classification" and "test_f1_micro" in found.metrics
    picture = noise(7)
    classify = pipeline("image-classification", model=found.output_dir, device="cpu", top_k=4)
    expected = {row["label"]: row["score"] for row in classify(picture)}
    assert found.predict([picture])[0]["probabilities"] == pytest.approx(expected, abs=1e-5)


def test_workers_give_the_same_model(folder: Path, tmp_path: Path) -> None:
    name = save("vit", tmp_path)
    alone = run(name, folder, tmp_path / "a", args={"num_train_epochs": 1})
    helped = run(name, folder, tmp_path / "b", args={"num_train_epochs": 1, "dataloader_num_workers": 2})
    for key, value in alone.model.state_dict().items():
        assert torch.equal(value, helped.model.state_dict()[key]), key


# The recipe.


def recipe() -> Any:
    sys.path.insert(0, str(ROOT / "recipes"))
    try:
        import image_classification

        return image_classification.main
    finally:
        sys.path.remove(str(ROOT / "recipes"))


def test_the_recipe_says_what_to_give() -> None:
    with pytest.raises(Problems) as error:
        recipe()([])
    assert "--dataset_name" in problem_list(error.value) and "SPLIT/CLASS/*.jpg" in problem_list(error.value)
    with pytest.raises(Problems, match="--text_column"):
        recipe()(["--text_column", "body"])


def test_recipe_on_the_real_checkpoint(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    model = shared_data / "models" / "mobilenetv2_100_timm"
    flags = ["--strategy", "feature-extraction", "--num_train_epochs", "4", "--max_train_samples", "48"]
    flags += ["--max_eval_samples", "24", "--output_dir", str(tmp_path / "run"), "--disable_tqdm", "true"]
    images = str(shared_data / "hymenoptera")
    found = recipe()(["--dataset_name", images, "--model_name_or_path", str(model), *flags])
    assert found.record["recipe"] == "image_classification"
    assert found.metrics["eval_accuracy"] >= 0.8  # 0.96 on all rows
    assert found.record["reload_check"]["max_difference"] <= 1e-4
    paths = [str(path) for path in sorted((shared_data / "hymenoptera/validation/bees").glob("*.jpg"))[:3]]
    classify = pipeline("image-classification", model=found.output_dir, device="cpu")
    shown = [{cell["label"]: cell["score"] for cell in row} for row in classify(paths)]
    for one, other in zip(found.predict(paths), shown, strict=True):
        assert one["probabilities"] == pytest.approx(other, abs=1e-5)
