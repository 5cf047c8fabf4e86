"""Layer groups of some ninety architectures, held against what the models really do when they run."""

from __future__ import annotations

import re
from typing import Any

import architectures
import pytest
import torch
from architectures import KINDS, NAMES, TIMM, make
from classifiers import timm
from torch import nn

from hf_transfer.anatomy import (
    head_leaves,
    head_modules,
    layer_groups,
    linear_layers,
    max_positions,
)
from hf_transfer.problems import Problems

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
    **dict.fromkeys(("pegasus", "fsmt", "beit-masks", "dpt", "clip", "siglip-towers"), 4),
    "funnel": 5,  # three that halve, two of its decoder
    "wav2vec2": 2,
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
}
NO_HEAD = ("gpt2-causal", "t5-seq2seq")
HEADS = {
    "bert": ["bert.pooler.dense", "classifier"],
    "roberta": ["classifier.dense", "classifier.out_proj"],
    "deberta-v2": ["classifier", "pooler.dense"],
    "distilbert": ["classifier", "pre_classifier"],
    "albert": ["albert.pooler", "classifier"],
    "modernbert": ["classifier", "head.dense", "head.norm"],
    "xlnet": ["logits_proj", "sequence_summary.summary"],
    "gpt2": ["score"],
    "t5": ["classification_head.dense", "classification_head.out_proj"],
    "llama-causal": ["lm_head"],
    "bert-masked": [
        "cls.predictions",
        "cls.predictions.transform.LayerNorm",
        "cls.predictions.transform.dense",
    ],
    "vit": ["classifier"],
    "siglip": [
        "classifier",
        "vision_model.head",
        "vision_model.head.attention",
        "vision_model.head.attention.out_proj",
        "vision_model.head.layernorm",
        "vision_model.head.mlp.fc1",
        "vision_model.head.mlp.fc2",
    ],
    "bert-bare": ["pooler.dense"],
    "resnet": ["classifier.1"],
    "timm-resnet18": ["timm_model.fc"],
    "timm-convnext": ["timm_model.head.fc"],
    "timm-mobilenetv2": ["timm_model.classifier"],
}
LAST_NORM = {
    "modernbert": "model.final_norm",
    "gpt2": "transformer.ln_f",
    "llama": "model.norm",
    "opt": "model.decoder.final_layer_norm",  # registered before the blocks
    "t5": "transformer.decoder.final_layer_norm",
    "vit": "vit.layernorm",
    "swin": "swin.layernorm",
    "dinov2": "dinov2.layernorm",
    "convnext": "convnext.layernorm",
    "timm-vit": "timm_model.norm",
    "timm-convnext": "timm_model.head.norm",
    "bert-bare": None,
}


def depths(model: nn.Module) -> dict[str, int]:
    """Parameter name to the position of its group."""
    return {name: i for i, group in enumerate(layer_groups(model)) for name in group.parameters}


def owners(names: tuple[str, ...]) -> list[str]:
    return sorted({name.rpartition(".")[0] for name in names})


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
    )  # whose scores are tied to the words
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


@pytest.mark.parametrize(("name", "expected"), HEADS.items())
def test_the_head_is_all_that_makes_the_scores(name: str, expected: list[str]) -> None:
    model = make(name)
    assert owners(layer_groups(model)[-1].parameters) == expected  # a pooler is head
    if name != "bert-masked":  # whose decoder is tied to the embeddings
        inner = [leaf for leaf in expected if any(leaf.startswith(f"{other}.") for other in expected)]
        assert sorted([*head_leaves(model), *inner]) == expected  # PEFT cannot save a layer inside another


@pytest.mark.parametrize(("name", "norm"), [item for item in LAST_NORM.items() if item[1]])
def test_a_final_norm_stays_with_the_last_block(name: str, norm: str) -> None:
    last = [group for group in layer_groups(make(name)) if group.name.startswith("block.")][-1]
    assert f"{norm}.weight" in last.parameters


def test_norms_of_embeddings_are_embeddings_wherever_they_are_registered() -> None:
    assert depths(make("deberta-v2"))["deberta.encoder.LayerNorm.weight"] == 0
    bart = depths(make("bart"))
    assert (
        bart["model.encoder.layernorm_embedding.weight"]
        == bart["model.decoder.layernorm_embedding.weight"]
        == 0
    )


def test_tokens_and_tables_are_embeddings() -> None:
    for name, parameter in {
        "vit": "vit.embeddings.cls_token",
        "timm-vit": "timm_model.pos_embed",
        "mpnet": "mpnet.encoder.relative_attention_bias.weight",  # registered behind the blocks
        "xlnet": "transformer.mask_emb",
        "gpt2": "transformer.wpe.weight",
    }.items():
        assert depths(make(name))[parameter] == 0, parameter


def test_what_lies_between_stages_joins_the_neighbour_that_follows_or_precedes() -> None:
    swin, convnext = depths(make("swin")), depths(make("convnext"))
    assert (
        swin["swin.encoder.layers.0.downsample.reduction.weight"] == 2
    )  # at the end of stage 0, of blocks 1 and 2
    assert (
        convnext["convnext.encoder.stages.1.downsampling_layer.1.weight"] == 2
    )  # before the first block of stage 1


def test_a_tied_weight_counts_once_under_its_first_name() -> None:
    for name, tied in {
        "gpt2-causal": "transformer.wte.weight",
        "bert-masked": "bert.embeddings.word_embeddings.weight",
    }.items():
        model = make(name)
        where = depths(model)
        assert where[tied] == 0
        assert sum(p.numel() for p in model.parameters()) == sum(
            model.get_parameter(n).numel() for n in where
        )
    untied = make("gpt2-causal", tie_word_embeddings=False)
    assert layer_groups(untied)[-1].parameters == ("lm_head.weight",)


@pytest.mark.parametrize("name", ["bert", "t5", "vit", "swin", "resnet", "timm-convnext"])
def test_the_meta_device_gives_the_same_groups(name: str) -> None:
    with torch.device("meta"):
        model = make(name)
    assert model.device.type == "meta"
    assert layer_groups(model) == layer_groups(make(name))


@pytest.mark.parametrize(
    "name",
    [
        "bert",
        "distilbert",
        "modernbert",
        "gpt2",
        "vit",
        "convnext",
        "timm-convnext",
        "xlm",
        "pvt",
    ],
)
def test_a_model_inside_peft_has_the_same_groups(name: str) -> None:
    from peft import LoraConfig

    from hf_transfer.strategies.lora import adapt

    plain = make(name)
    before = {group.name: owners(group.parameters) for group in layer_groups(plain)}
    targets = linear_layers(plain)
    model = adapt(plain, LoraConfig(r=2))
    where, groups = depths(model), layer_groups(model)
    assert [group.name for group in groups] == list(before)
    assert sorted(where) == sorted(n for n, _ in model.named_parameters())
    block = {t: f"{g}" for g, names in before.items() for t in names if t in targets}
    for parameter, depth in where.items():
        target = next((t for t in targets if f".{t}.lora_" in parameter), None)
        if target:
            assert groups[depth].name == block[target], parameter
        if "modules_to_save" in parameter or "original_module" in parameter:
            assert groups[depth].name == "head", parameter


def test_matrix_layers_are_those_inside_the_blocks() -> None:
    bert = linear_layers(make("bert"))
    assert len(bert) == 3 * 6 and all(".encoder.layer." in name for name in bert)
    assert all("classifier" not in name and "embeddings" not in name for name in linear_layers(make("vit")))
    assert len(linear_layers(make("gpt2"))) == 3 * 4  # Conv1D
    resnet = linear_layers(make("resnet"))
    assert resnet and all(".stages." in name for name in resnet)
    depthwise = [n for n in linear_layers(make("convnext")) if n.endswith(("dwconv", "depthwise_conv"))]
    assert not depthwise


def test_positions_are_read_from_the_tables() -> None:
    assert max_positions(make("roberta")) == 62  # two rows of 64 are reserved
    assert max_positions(make("bert", max_position_embeddings=40)) == 40
    assert max_positions(make("gpt2")) == 64
    assert max_positions(make("t5")) is None  # relative positions alone


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.norm = nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(Problems, match=r"Flat has no repeated blocks[^|]*a \(Linear\)[^|]*patterns="):
        layer_groups(Flat())


def test_groups_can_be_named_by_hand() -> None:
    groups = layer_groups(Flat(), patterns={"embeddings": r"a\.", "head": r"b\.|norm\."})
    assert [(group.name, group.parameters) for group in groups] == [
        ("embeddings", ("a.weight", "a.bias")),
        ("head", ("b.weight", "b.bias")),
    ]
    assert "norm.running_mean" in groups[1].buffers


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ({"embeddings": r"a\."}, "b.weight and 1 more: matches no pattern"),
        ({"embeddings": r"a\.", "head": r"[ab]\."}, "a.weight and 1 more: matches more than one"),
        (
            {"embeddings": r"a\.", "block.1": r"weight", "head": r"b\."},
            "pattern of block.1: 'weight' matches no",
        ),
        ({"embeddings": r"a("}, "no regular expression"),
        ({}, "none is given"),
    ],
)
def test_patterns_must_fit(patterns: dict[str, str], message: str) -> None:
    with pytest.raises(Problems, match=re.escape(message)):
        layer_groups(Flat(), patterns=patterns)


def test_lists_that_run_in_step_make_one_block() -> None:
    where = depths(make("xlm"))
    for i in range(3):
        parts = (f"attentions.{i}.q_lin", f"layer_norm1.{i}", f"ffns.{i}.lin1", f"layer_norm2.{i}")
        assert {where[f"transformer.{part}.weight"] for part in parts} == {i + 1}


def test_the_second_of_two_towers_follows_in_the_order_of_the_forward_pass() -> None:
    where = depths(make("clip"))  # whose text model is registered first, and run last
    assert where["vision_model.encoder.layers.0.mlp.fc1.weight"] == 1
    assert where["text_model.encoder.layers.0.mlp.fc1.weight"] == 3
    assert where["text_model.embeddings.token_embedding.weight"] == 0
    assert where["text_projection.weight"] == where["logit_scale"] == 5


def test_two_heads_of_a_distilled_timm_model() -> None:
    torch.manual_seed(0)
    config = timm("deit_tiny_distilled_patch16_224", img_size=64, embed_dim=48, depth=2)
    import transformers

    model = transformers.AutoModelForImageClassification.from_config(config)
    assert head_modules(model) == ["timm_model.head", "timm_model.head_dist"]


@pytest.mark.full
@pytest.mark.parametrize("task", ["SEQUENCE_CLASSIFICATION", "TOKEN_CLASSIFICATION", "IMAGE_CLASSIFICATION"])
def test_all_of_transformers_is_understood(task: str) -> None:
    """Each class of the Auto mapping from its default config, on the meta device."""
    import transformers
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
            assert [g.name for g in groups][:2] == ["embeddings", "block.1"], name
            # ShieldGemma's scores are those of two words, tied to the embeddings.
            assert (groups[-1].name == "head") == (name != "ShieldGemma2ForImageClassification"), name
            assert sorted(n for g in groups for n in g.parameters) == sorted(
                n for n, _ in model.named_parameters()
            )
    assert tried >= 35
