"""Layer groups of some ninety architectures, held against what the models really do when they run."""

from __future__ import annotations

from typing import Any

import architectures
import pytest
import torch
import transformers
from architectures import KINDS, NAMES, TIMM, make
from classifiers import timm
from layer_depths import depths
from torch import nn

from hf_transfer.anatomy import (
    layer_groups,
)

BLOCKS = {
    "albert": 1,  # one layer, applied again and again
    "t5": 6,
    "bart": 4,
    "t5-seq2seq": 6,
    "swin": 4,
    "mobilenet_v2": 16,
    "timm-resnet18": 8,
    "timm-mobilenetv2": 17,
    "timm-regnet": 13,
    **dict.fromkeys(("convnext", "convnextv2", "resnet", "resnet-bottleneck", "regnet", "segformer"), 5),
    "timm-convnext": 5,
}


# Blocks of the further ones; BLOCKS of timm's are those that its authors count, stages taken apart.
FURTHER_BLOCKS = {
    **dict.fromkeys(("xlm", "flaubert"), 3),
    "canine": 4,  # one on characters, two in the depth, one on characters again
    **dict.fromkeys(
        ("pegasus", "fsmt", "beit-masks", "dpt", "clip", "git", "siglip-towers", "owlvit", "owlv2"), 4
    ),
    "funnel": 5,  # three that halve, two of its decoder
    **dict.fromkeys(("wav2vec2", "eomt", "videomt"), 2),
    **dict.fromkeys(("pvt", "pvt_v2", "poolformer", "focalnet", "bit", "segformer-masks", "upernet"), 5),
    **dict.fromkeys(("detr", "conditional_detr"), 9),
    "cvt": 6,
    "swinv2": 3,
    "vgg11_bn": 8,
    "densenet121": 58,
    "pvt_v2_b0": 8,
    "pit_ti_224": 12,
    "mixer_s32_224": 8,
    "swin_tiny_patch4_window7_224": 12,
    "twins_svt_small": 18,
    "crossvit_tiny_240": 21,  # three times one, four and two
    "fasternet_t0": 13,
    "lcnetv2_small": 10,
    "inception_v4": 19,
}


# ShieldGemma's scores are those of two words, tied to the embeddings; PP-DocLayoutV3's are made before its last blocks.
HEADLESS = ("ShieldGemma2ForImageClassification", "PPDocLayoutV3ForObjectDetection")
NO_HEAD = ("gpt2-causal", "t5-seq2seq")


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_and_buffer_is_in_exactly_one_group(name: str) -> None:
    model = make(name)
    groups = layer_groups(model)
    blocks = BLOCKS.get(name, 3)
    expected = [
        "embeddings",
        *(f"block.{i + 1}" for i in range(blocks)),
        *(["head"] if name not in NO_HEAD else []),
    ]
    assert [group.name for group in groups] == expected
    # Lists, so that a name given twice is seen.
    assert sorted(n for g in groups for n in g.parameters) == sorted(n for n, _ in model.named_parameters())
    assert sorted(n for g in groups for n in g.buffers) == sorted(n for n, _ in model.named_buffers())
    assert all(group.parameters or group.buffers for group in groups)


@pytest.mark.parametrize("name", [*KINDS, *TIMM])
def test_further_architectures_have_every_tensor_in_exactly_one_group(name: str) -> None:
    model = make(name)
    groups = layer_groups(model)
    names = [group.name for group in groups]
    count = sum(name.startswith("block.") for name in names)
    assert names[0] == "embeddings" and names[1 : count + 1] == [f"block.{i + 1}" for i in range(count)]
    assert names[count + 1 :] == ["head"] or name in (
        "pegasus",
        "mamba",
        "git",
    )  # whose scores are tied to the words, or that gives none
    assert count == FURTHER_BLOCKS.get(name, count) and count > 1
    assert sorted(n for g in groups for n in g.parameters) == sorted(n for n, _ in model.named_parameters())
    assert sorted(n for g in groups for n in g.buffers) == sorted(n for n, _ in model.named_buffers())


def seen_by_hooks(model: nn.Module, inputs: dict[str, torch.Tensor]) -> list[int]:
    """Depths of the leaves in the order of their first calls; the head's, which some ask in between, of their last.

    Left out are tables of a second model inside (a decoder's words run behind the encoder), and CANINE's pooler.
    """
    where, called = depths(model), dict[str, int]()
    head = len(layer_groups(model)) - 1 if layer_groups(model)[-1].name == "head" else None

    def note(owner: str, depth: int) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            if depth == head:
                called.pop(owner, None)
            called.setdefault(owner, depth)

        return hook

    for owner, module in model.named_modules():
        own = [f"{owner}.{n}" for n, _ in module.named_parameters(recurse=False) if f"{owner}.{n}" in where]
        table = "embed" in owner and where[own[0]] == 0 if own else False
        second = table and any(part in owner for part in ("decoder.", "text_model."))
        if own and not any(True for _ in module.children()) and not second and owner != "canine.pooler.dense":
            module.register_forward_pre_hook(note(owner, where[own[0]]))
    with torch.no_grad():
        model(**inputs)
    return list(called.values())


@pytest.mark.parametrize("name", [*NAMES, *KINDS, *TIMM])
def test_groups_are_in_the_order_of_the_forward_pass(name: str) -> None:
    model = make(name)
    seen = seen_by_hooks(model, architectures.inputs(name))
    assert len(set(seen)) >= len(layer_groups(model)) - 1  # the hooks saw the model
    assert seen == sorted(seen)


@pytest.mark.parametrize("name", ["bert", "t5", "vit", "swin", "resnet", "timm-convnext"])
def test_the_meta_device_gives_the_same_groups(name: str) -> None:
    with torch.device("meta"):
        model = make(name)
    assert model.device.type == "meta"
    assert layer_groups(model) == layer_groups(make(name))


@pytest.mark.full
@pytest.mark.parametrize(
    ("task", "least"),
    {
        "SEQUENCE_CLASSIFICATION": 35,
        "TOKEN_CLASSIFICATION": 35,
        "IMAGE_CLASSIFICATION": 35,
        "OBJECT_DETECTION": 12,
        "ZERO_SHOT_OBJECT_DETECTION": 4,
        "SEMANTIC_SEGMENTATION": 5,
        "UNIVERSAL_SEGMENTATION": 6,
    }.items(),
)
def test_all_of_transformers_is_understood(task: str, least: int) -> None:
    """Each class of the Auto mapping from its default config, on the meta device."""
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    tried = 0
    for kind, found in getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES").items():
        for name in [found] if isinstance(found, str) else found:
            try:
                with torch.device("meta"):
                    model = getattr(transformers, name)(CONFIG_MAPPING[kind]())
            except Exception:  # its default config cannot be built, or it needs a library that is not here
                continue
            groups = layer_groups(model)
            tried += 1
            blocks = [group.name for group in groups if group.name.startswith("block.")]
            assert groups[0].name == "embeddings" and blocks[0] == "block.1", name
            assert blocks == [f"block.{i + 1}" for i in range(len(blocks))], name
            assert (groups[-1].name == "head") == (name not in HEADLESS), name
            assert sorted(n for g in groups for n in g.parameters) == sorted(
                n for n, _ in model.named_parameters()
            )
    assert tried >= least


@pytest.mark.full
def test_all_of_timm_is_understood() -> None:
    """The first model of each family, on the meta device, in the order of its forward pass."""
    from timm.models import list_models, list_modules

    tried = 0
    for name in [names[0] for family in list_modules() if (names := list_models(module=family))]:
        try:
            with torch.device("meta"):
                model = transformers.AutoModelForImageClassification.from_config(timm(name)).eval()
        except Exception:  # no classifier, or it needs a library that is not here
            continue
        groups = [group.name for group in layer_groups(model)]
        size = model.timm_model.pretrained_cfg.get("input_size", (3, 224, 224))
        seen = seen_by_hooks(model, {"pixel_values": torch.zeros((2, *size), device="meta")})
        tried += 1
        assert (groups[0], groups[-1]) == ("embeddings", "head") and len(groups) > 3, name
        assert seen == sorted(seen), name
    assert tried >= 80
