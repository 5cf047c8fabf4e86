"""Which group a part of a model belongs to: heads, norms, tables, tied weights, stages, towers, adapters."""

from __future__ import annotations

import pytest
import torch
from architectures import make
from classifiers import timm
from layer_depths import depths, owners

from hf_transfer.anatomy import (
    head_leaves,
    head_modules,
    layer_groups,
    linear_layers,
    max_positions,
)

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
    "crossvit_tiny_240": [
        "timm_model.head.0",
        "timm_model.head.1",
    ],  # not the matrices that end its last stage
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
        "eomt": "query.weight",  # taken without a call, registered behind the norm that makes the scores
        "videomt": "query.weight",
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


@pytest.mark.parametrize("name", ["eomt", "videomt"])
def test_lists_that_run_behind_the_last_whole_layer_are_head(name: str) -> None:
    where = depths(make(name))  # two layers; masks are made in two steps of widening
    assert {where[f"upscale_block.block.{i}.conv1.weight"] for i in range(2)} == {3}
    assert where["class_predictor.weight"] == where["mask_head.fc3.weight"] == 3
    assert where["layernorm.weight"] == where["layers.1.mlp.fc1.weight"] == 2


def test_boxes_and_classes_are_head_though_each_layer_of_the_decoder_asks_its_own() -> None:
    import transformers

    with torch.device("meta"):
        model = transformers.RTDetrV2ForObjectDetection(transformers.RTDetrV2Config())
    where, last = depths(model), len(layer_groups(model)) - 1
    assert where["model.decoder.class_embed.5.weight"] == last
    assert where["model.decoder.bbox_embed.5.layers.2.weight"] == last
    assert where["model.decoder.layers.5.mlp.fc2.weight"] == last - 1


@pytest.mark.parametrize("name", ["owlvit", "owlv2"])
def test_the_last_norm_of_a_first_tower_stays_with_it_though_the_scores_ask_it_again(name: str) -> None:
    where = depths(make(name))  # two blocks see, then two read, then the boxes are made of what was seen
    assert where[f"{name}.vision_model.post_layernorm.weight"] == 2
    assert where[f"{name}.text_model.final_layer_norm.weight"] == 4
    assert where["layer_norm.weight"] == where[f"{name}.visual_projection.weight"] == 5


def test_two_heads_of_a_distilled_timm_model() -> None:
    torch.manual_seed(0)
    config = timm("deit_tiny_distilled_patch16_224", img_size=64, embed_dim=48, depth=2)
    import transformers

    model = transformers.AutoModelForImageClassification.from_config(config)
    assert head_modules(model) == ["timm_model.head", "timm_model.head_dist"]
