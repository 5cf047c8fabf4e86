"""Images through the same `finetune`: every strategy, statistics that stand still, resume, the recipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import architectures
import pytest
import torch
from conftest import ROOT
from image_runs import QUIET, SHORT, noise, run, save
from PIL import Image
from transformers import (
    AutoModelForImageClassification,
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    PPLCNetConfig,
    PPLCNetForImageClassification,
    TrainerCallback,
    ViTImageProcessor,
    pipeline,
)

from hf_transfer import Problems, finetune
from hf_transfer.exits import problem_list
from hf_transfer.tasks import image_classification as task

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
    name: str, strategy: str, lora: bool, image_folder: Path, tmp_path: Path
) -> None:
    from peft import LoraConfig

    config = LoraConfig(r=4, lora_alpha=8) if lora else None
    proved = name in ("vit", "mobilenet_v2")  # loaded in fresh processes, which takes seconds
    found = run(
        name, image_folder, tmp_path, strategy, peft_config=config, skip_reload_check=not proved, probe=proved
    )
    record = found.record
    assert record["task"] == "image-classification" and record["labels"] == ["blue", "red"]
    assert found.metrics["eval_samples"] == 8 and 0 <= found.metrics["eval_accuracy"] <= 1
    proof = record["reload_check"]
    assert not proved or proof["max_difference"] <= 1e-3
    assert not (lora and proved) or proof["adapter_difference"] <= 1e-4
    paths = [str(p) for p in sorted(image_folder.glob("validation/*/*.png"))]
    classify = pipeline("image-classification", model=found.output_dir, device="cpu")
    expected = [{cell["label"]: cell["score"] for cell in row} for row in classify(paths)]
    for given in (paths, [Image.open(path) for path in paths]):
        for row, other in zip(found.predict(given), expected, strict=True):
            assert row["probabilities"] == pytest.approx(other, abs=1e-4)  # one by one, and in a batch


@pytest.mark.parametrize(
    ("name", "strategy"), [("resnet", "feature-extraction"), ("timm-mobilenetv2", "partial:2")]
)
def test_statistics_of_what_is_frozen_are_bit_identical(
    name: str, strategy: str, image_folder: Path, tmp_path: Path
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
        image_folder,
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


def test_vit_resumes_exactly_and_ends_with_its_best_weights(image_folder: Path, tmp_path: Path) -> None:
    """transformers saves ViT under other names than in memory; stock Trainer then loads nothing, with a warning."""
    name = save("vit", tmp_path)
    # The largest loss is asked for, so that the best epoch is surely not the last.
    rates = {
        "learning_rate": 0.03,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": True,
        "num_train_epochs": 3,
    }
    whole = run(name, image_folder, tmp_path / "whole", args=rates)
    log = [json.loads(line) for line in (Path(whole.output_dir) / "history.jsonl").read_text().splitlines()]
    losses = [row["eval_loss"] for row in log if "eval_loss" in row]
    assert max(losses) > losses[-1] + 0.01
    assert whole.metrics["eval_loss"] == pytest.approx(max(losses), rel=1e-5)

    with pytest.raises(RuntimeError, match="stopped"):
        run(name, image_folder, tmp_path / "cut", args=rates, callbacks=[StopAfter(7)])
    again = run(name, image_folder, tmp_path / "cut", args=rates | {"resume_from_checkpoint": True})
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


def test_workers_give_the_same_model(image_folder: Path, tmp_path: Path) -> None:
    name = save("vit", tmp_path)
    alone = run(name, image_folder, tmp_path / "a", args={"num_train_epochs": 1})
    helped = run(
        name, image_folder, tmp_path / "b", args={"num_train_epochs": 1, "dataloader_num_workers": 2}
    )
    for key, value in alone.model.state_dict().items():
        assert torch.equal(value, helped.model.state_dict()[key]), key


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
    flags += ["--max_eval_samples", "24", "--per_device_train_batch_size", "8"]
    flags += ["--output_dir", str(tmp_path / "run"), "--disable_tqdm", "true"]
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


def test_tensorflow_rates_are_turned_round() -> None:
    model = architectures.make("mobilenet_v2")
    notes = task.tensorflow_rates(model)
    assert len(notes) == 2 and "0.8" in notes[0] and "0.997" in notes[1]
    assert {round(m.p, 6) for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.2}
    assert model.config.classifier_dropout_prob == pytest.approx(0.2)
    assert {m.momentum for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.1}
    assert task.tensorflow_rates(architectures.make("resnet")) == []


@pytest.mark.parametrize("strategy", ["feature-extraction", "partial:1", "knn"])
def test_a_class_that_has_scores_and_no_loss(strategy: str, image_folder: Path, tmp_path: Path) -> None:
    """Distilled DeiT: the mean of two heads, and labels that its `forward` does not know."""
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    model = DeiTForImageClassificationWithTeacher(DeiTConfig(image_size=32, patch_size=8, **small))
    model.save_pretrained(tmp_path / "deit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "deit")
    if strategy == "knn":
        with pytest.raises(Problems, match="not a linear function"):
            run(str(tmp_path / "deit"), image_folder, tmp_path, strategy)
        return
    found = run(str(tmp_path / "deit"), image_folder, tmp_path, strategy, args={"learning_rate": 1e-2})
    (entry,) = json.loads((tmp_path / "run" / "phases.json").read_text())
    assert (
        entry["learning_rate"] == 1e-2
    )  # as given, though the head of feature extraction could not be solved
    assert found.metrics["train_loss"] < 0.69 and found.metrics["eval_loss"] > 0
    paths = [str(p) for p in sorted(image_folder.glob("validation/*/*.png"))]
    classify = pipeline("image-classification", model=found.output_dir, device="cpu")
    for row, other in zip(found.predict(paths), classify(paths), strict=True):
        assert row["probabilities"] == pytest.approx({c["label"]: c["score"] for c in other}, abs=1e-4)


def test_a_class_that_gives_no_scores_is_refused(image_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    PPLCNetForImageClassification(PPLCNetConfig()).save_pretrained(tmp_path / "lcnet")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "lcnet")
    with pytest.raises(Problems, match="PPLCNetForImageClassification gives no scores"):
        run(str(tmp_path / "lcnet"), image_folder, tmp_path)
    assert not (tmp_path / "run").exists()
