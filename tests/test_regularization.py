"""Regularisation through `finetune` and the flags: refused before training, said in the plan, and the same when reloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from architectures import IMAGES, TEXT, inputs, make
from PIL import Image
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    ViTImageProcessor,
)

from hf_transfer import Arguments, Problems, Regularization, finetune, parse
from hf_transfer.anatomy import layer_groups
from hf_transfer.strategies.dropout import noise, set_dropout
from hf_transfer.strategies.freezing import still_modules
from hf_transfer.strategies.phases import Phase
from hf_transfer.strategies.reinit import reinitialise

ARGS: dict[str, Any] = {"max_steps": 4, "report_to": "none", "disable_tqdm": True, "learning_rate": 1e-3}
ARGS |= {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}
ARGS |= {"per_device_train_batch_size": 8}
FAST: dict[str, Any] = {"cpu_threads": 1, "skip_reload_check": True, "probe": False}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_bert(tmp_path_factory.mktemp("base"))


def run(base: Path, folder: Path, chosen: Regularization, kind: str = "single", **more: Any) -> Any:
    args = ARGS | {"output_dir": str(folder / "run")} | more.pop("args", {})
    rows = more.pop("rows", tiny.rows(48, kind))
    options = FAST | {"args": args, "regularization": chosen} | more
    return finetune("text-classification", base, rows, **options)


# Refused, with nothing left behind.

ON = Regularization
HEAD = [Phase("head", ("head",))]
REFUSED: list[tuple[Regularization, dict[str, Any], str]] = [
    (ON(focal_gamma=2, class_weights="auto", r_drop=1), {"kind": "regression"}, "--focal_gamma: is for labels"),
    (ON(weighted_sampling=True), {"kind": "multi"}, "--weighted_sampling: is for one label a row"),
    (ON(logit_adjustment=1), {"kind": "multi"}, "--logit_adjustment: is for one label a row"),
    (ON(mixup=0.2), {}, "--mixup: mixes images, and these are texts"),
    (ON(class_weights={"positve": 2}), {}, "no label 'positve' .did you mean positive"),
    (ON(class_weights={"positive": -1}), {}, "positive has the weight -1"),
    (ON(class_weights="auto", weighted_sampling=True), {}, "correct the same imbalance twice"),
    (ON(l2_sp_new=0.1), {}, "--l2_sp_new: has no effect without --l2_sp"),
    (ON(mixout=1.0), {}, "--mixout: found 1, expected above 0 and below 1"),
    (ON(wise_ft=1.5), {}, "--wise_ft: found 1.5"),
    (ON(soup=1), {}, "--soup: found 1"),
    (ON(soup=3), {"args": {"eval_strategy": "no", "save_strategy": "no"}}, "--soup: chooses among evaluations"),
    (ON(soup=3, wise_ft="auto"), {}, "both choose the final weights"),
    (ON(ema=0.9), {"args": {"do_train": False}}, "--ema: has no effect with --do_train false"),
    (ON(mixout=0.1), {"args": {"gradient_checkpointing": True}}, "--mixout: does not work with --gradient_ch"),
    (ON(reinit_layers=3), {}, "--reinit_layers: 3 does not fit: this model has 2 blocks"),
    (ON(reinit_layers=1), {"strategy": HEAD}, "they would stay random"),
    (ON(mixout=0.1), {"strategy": HEAD}, "--mixout: no pretrained matrix of the blocks learns"),
    (ON(ema=0.9), {"strategy": "ridge"}, "--ema: has no effect under --strategy ridge: its head is solved"),
    (ON(), {"strategy": "ridge", "args": {"label_smoothing_factor": 0.1}}, "smoothing_factor: has no effect under"),
    (ON(l2_sp=0.1), {"strategy": "contrastive"}, "--l2_sp: acts on the loss of single rows, and phase pairs"),
    (ON(r_drop=1, dropout=0.0), {}, "--r_drop: phase full has no dropout above 0"),
    (ON(class_weights={"positive": 2}), {"objective": lambda model, batch: None}, "so does the objective"),
]  # fmt: skip


@pytest.mark.parametrize(("chosen", "more", "said"), REFUSED)
def test_what_makes_no_sense_is_refused(
    chosen: Regularization, more: dict[str, Any], said: str, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(Problems, match=said):
        run(base, tmp_path, chosen, **more)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["l2_sp", "mixout", "reinit_layers"])
def test_what_changes_pretrained_weights_is_refused_under_lora(name: str, base: Path, tmp_path: Path) -> None:
    from peft import LoraConfig

    with pytest.raises(Problems, match=f"--{name}: changes the pretrained weights, which stand still"):
        chosen = Regularization(**{name: 1 if name == "reinit_layers" else 0.5})
        run(base, tmp_path, chosen, peft_config=LoraConfig(r=2))


def test_another_choice_is_another_run(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path, Regularization(ema=0.9), args={"max_steps": 2})
    with pytest.raises(Problems, match=r"--ema: .* begun with 0.9, and this is none") as error:
        run(base, tmp_path, Regularization(), args={"resume_from_checkpoint": True, "max_steps": 2})
    assert len(error.value.problems) == 1


# From the command line.


def test_flags_are_the_fields() -> None:
    flags = ["--class_weights", "positive=2", "a=b=0.5", "--r_drop", "1", "--wise_ft", "0.5", "--ema", "0.99"]
    found = parse(Arguments, [*flags, "--weighted_sampling"]).regularization()
    wanted = Regularization(
        class_weights={"positive": 2.0, "a=b": 0.5}, r_drop=1.0, wise_ft=0.5, ema=0.99, weighted_sampling=True
    )
    assert found == wanted
    auto = parse(Arguments, ["--class_weights", "auto", "--wise_ft", "auto"]).regularization()
    assert auto == Regularization(class_weights="auto", wise_ft="auto")
    assert parse(Arguments, []).regularization() == Regularization()
    wrong = parse(Arguments, ["--class_weights", "positive", "--wise_ft", "half"])
    with pytest.raises(Problems, match="--class_weights.*(?s:.*)--wise_ft: found 'half'"):
        wrong.regularization()


# Whole runs, reloaded.


def assert_reloads(found: Any, auto: Any, batch: dict[str, Any]) -> None:
    """Whether the folder gives the model that was measured."""
    again = auto.from_pretrained(found.output_dir).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(**batch)["logits"], found.model.eval()(**batch)["logits"])


ALL = {
    "single": ON(class_weights="auto", focal_gamma=1, r_drop=1, l2_sp=0.01, mixout=0.2, reinit_layers=1,
                 dropout=0.2, ema=0.9, soup=2, wise_ft=0.9),
    "multi": ON(class_weights="auto", focal_gamma=1, r_drop=1, l2_sp=0.01, wise_ft="auto"),
    "regression": ON(l2_sp=0.01, mixout=0.2, reinit_layers=1, dropout=0.1, ema=0.9, wise_ft="auto"),
}  # fmt: skip


@pytest.mark.filterwarnings("error:Label smoothing is not compatible")
@pytest.mark.parametrize("kind", ALL)
def test_a_text_model_with_everything_is_saved_as_measured(kind: str, base: Path, tmp_path: Path) -> None:
    args = {"label_smoothing_factor": 0.1} if kind != "regression" else {}
    found = run(base, tmp_path, ALL[kind], kind, args=args, probe=True)
    batch = inputs("bert", 4)
    batch["input_ids"] %= 40
    assert_reloads(found, AutoModelForSequenceClassification, batch)
    notes = " ".join(found.record["plan_notes"])
    assert "L2-SP, alpha 0.01 on" in notes and "in place of weight decay (0.01)" in notes
    (entry,) = json.loads((Path(found.output_dir) / "phases.json").read_text())
    assert entry["weight_decay"] == 0
    probed = any("_probe_" in name for name in found.metrics)
    assert probed == (ALL[kind].reinit_layers is None)  # it is one of the untouched checkpoint
    assert ("ema" in entry) == (ALL[kind].ema is not None) and "wise_ft" in entry
    if kind == "single":
        assert noise(found.model) and set(noise(found.model).values()) == {0.2}
        again = AutoModelForSequenceClassification.from_pretrained(found.output_dir)
        assert noise(again) == noise(found.model)
    if kind != "single":
        assert "chosen on validation (--wise_ft auto)" in (Path(found.output_dir) / "README.md").read_text()


def test_adapters_are_averaged_too(base: Path, tmp_path: Path) -> None:
    """The merged model and the adapter are what was measured; both are loaded in a fresh process."""
    from peft import LoraConfig

    chosen = Regularization(ema=0.9, soup=2, wise_ft=0.5, r_drop=1.0)
    found = run(base, tmp_path, chosen, peft_config=LoraConfig(r=2), skip_reload_check=False)
    assert found.record["reload_check"]["adapter_difference"] < 1e-4


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SPLIT/CLASS/ images, 16 and 8: reddish and bluish ones, one odd in number."""
    root = tmp_path_factory.mktemp("images")
    for split, count in (("train", 10), ("validation", 4)):
        for tint, name in ((2, "blue"), (0, "red")):
            (root / split / name).mkdir(parents=True)
            for i in range(count - (tint == 2 and split == "train")):
                values = np.random.default_rng(100 * tint + i).integers(0, 120, (40, 48, 3), dtype=np.uint8)
                values[..., tint] += 100
                Image.fromarray(values).save(root / split / name / f"{i}.png")
    return root


@pytest.mark.parametrize("name", ["resnet", "vit", "timm-convnext"])
def test_an_image_model_with_everything_is_saved_as_measured(name: str, images: Path, tmp_path: Path) -> None:
    model = make(name)
    if name.startswith("timm"):
        middle = {"mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0, "interpolation": "bilinear"}
        model.config.pretrained_cfg = {"input_size": [3, 64, 64], **middle}
    else:
        ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    more: dict[str, Any] = {"dropout": 0.1, "r_drop": 1.0, "mixout": 0.1} if name == "vit" else {}
    chosen = Regularization(
        mixup=0.4, cutmix=1.0, weighted_sampling=True, ema=0.9, l2_sp=0.01, reinit_layers=1, soup=2, **more
    )
    args = ARGS | {"output_dir": str(tmp_path / "run")}
    options = FAST | {"args": args, "regularization": chosen}
    found = finetune("image-classification", str(tmp_path / "model"), images, **options)
    assert_reloads(found, AutoModelForImageClassification, inputs(name, 3))


# The model before training.


@pytest.mark.parametrize("name", [n for n in (*TEXT, *IMAGES) if "timm" not in n or "18" in n])
def test_the_last_block_is_drawn_anew_and_nothing_else(name: str) -> None:
    """transformers marks what was loaded, and its own init functions then leave it as it is."""
    model = make(name)
    for tensor in (*model.parameters(), *model.buffers()):
        tensor._is_hf_initialized = True
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.37)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    groups = layer_groups(model)
    last = [g for g in groups if g.name.startswith("block.")][-1]
    for module in model.modules():
        model._init_weights(module)
    assert all(torch.equal(before[n], model.get_parameter(n)) for n in last.parameters) or "timm" in name
    model.load_state_dict(before, strict=False)
    torch.manual_seed(0)
    names = reinitialise(model, groups, 1)
    assert set(names) == set(last.parameters)
    moved = {n for n, p in model.named_parameters() if not torch.equal(before[n], p)}
    assert moved <= set(names)
    matrices = {n for n in names if model.get_parameter(n).dim() > 1}
    assert matrices <= moved
    assert all(getattr(p, "_is_hf_initialized") for p in model.parameters())  # noqa: B009


@pytest.mark.parametrize(
    "name", ["bert", "distilbert", "gpt2", "llama", "t5", "bart", "vit", "swin", "segformer"]
)
def test_the_configuration_says_the_dropout_that_the_model_has(name: str) -> None:
    model = make(name)
    set_dropout(model, 0.3)
    rates = {k: v for k, v in noise(model).items() if "path" not in k}
    assert set(rates.values()) == {0.3}
    with torch.device("meta"):
        fresh = type(model)(model.config)
    assert {k: v for k, v in noise(fresh).items() if "path" not in k} == rates
    batch = inputs(name)
    with torch.no_grad():
        assert not torch.equal(model.train()(**batch)["logits"], model(**batch)["logits"])


def test_dropout_of_what_stands_still_is_no_noise() -> None:
    model = make("bert")
    for n, parameter in model.named_parameters():
        parameter.requires_grad_(n.startswith("classifier"))
    assert set(noise(model, still_modules(model))) == {"dropout.p"}
