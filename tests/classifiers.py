"""Architectures for texts and for images that small trainings take, each from a config of a few thousand weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as t

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
WORDS = {"vocab_size": 100, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LABELS = {"num_labels": 3}
STAGES = {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 2, 1, 1]}
PAIR = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}


def timm(name: str, **options: Any) -> Any:
    return t.TimmWrapperConfig(
        architecture=name, initializer_range=0.02, model_args=options or None, **LABELS
    )


TEXT: dict[str, Callable[[], Any]] = {
    "bert": lambda: t.BertConfig(**SMALL, **WORDS, **LABELS),
    "roberta": lambda: t.RobertaConfig(
        max_position_embeddings=64, **SMALL, **(WORDS | {"pad_token_id": 1}), **LABELS
    ),
    "deberta": lambda: t.DebertaConfig(**SMALL, **WORDS, **LABELS),
    "deberta-v2": lambda: t.DebertaV2Config(
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        norm_rel_ebd="layer_norm",
        **SMALL,
        **WORDS,
        **LABELS,
    ),
    "distilbert": lambda: t.DistilBertConfig(
        dim=32, n_layers=3, n_heads=4, hidden_dim=64, vocab_size=100, pad_token_id=0, **LABELS
    ),
    "electra": lambda: t.ElectraConfig(embedding_size=16, **SMALL, **WORDS, **LABELS),
    "albert": lambda: t.AlbertConfig(embedding_size=16, **SMALL, **WORDS, **LABELS),
    "modernbert": lambda: t.ModernBertConfig(cls_token_id=1, sep_token_id=2, **SMALL, **WORDS, **LABELS),
    "mpnet": lambda: t.MPNetConfig(**SMALL, **(WORDS | {"pad_token_id": 1}), **LABELS),
    "xlnet": lambda: t.XLNetConfig(
        vocab_size=100, d_model=32, n_layer=3, n_head=4, d_inner=64, pad_token_id=0, **LABELS
    ),
    "gpt2": lambda: t.GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=64, **WORDS, **LABELS),
    "llama": lambda: t.LlamaConfig(num_key_value_heads=2, **SMALL, **WORDS, **LABELS),
    "t5": lambda: t.T5Config(
        d_model=32, d_kv=8, d_ff=64, num_layers=3, num_heads=4, decoder_start_token_id=0, **WORDS, **LABELS
    ),
    "bart": lambda: t.BartConfig(
        **PAIR,
        max_position_embeddings=64,
        decoder_start_token_id=2,
        **WORDS,
        **LABELS,
    ),
    "opt": lambda: t.OPTConfig(
        ffn_dim=64,
        word_embed_proj_dim=32,
        max_position_embeddings=64,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        **WORDS,
        **LABELS,
    ),
}
IMAGES: dict[str, Callable[[], Any]] = {
    "vit": lambda: t.ViTConfig(image_size=32, patch_size=8, **SMALL, **LABELS),
    "siglip": lambda: t.SiglipConfig(
        vision_config={"image_size": 32, "patch_size": 8, **SMALL}, text_config={**SMALL}, **LABELS
    ),
    "beit": lambda: t.BeitConfig(
        image_size=32, patch_size=8, use_relative_position_bias=True, **SMALL, **LABELS
    ),
    "swin": lambda: t.SwinConfig(
        image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4, **LABELS
    ),
    "dinov2": lambda: t.Dinov2Config(image_size=32, patch_size=8, **SMALL, **LABELS),
    "convnext": lambda: t.ConvNextConfig(**STAGES, **LABELS),
    "convnextv2": lambda: t.ConvNextV2Config(**STAGES, **LABELS),
    "resnet": lambda: t.ResNetConfig(embedding_size=8, **STAGES, **LABELS),
    "resnet-bottleneck": lambda: t.ResNetConfig(
        embedding_size=8, layer_type="bottleneck", **STAGES, **LABELS
    ),
    "regnet": lambda: t.RegNetConfig(embedding_size=8, groups_width=8, **STAGES, **LABELS),
    "segformer": lambda: t.SegformerConfig(
        hidden_sizes=[16, 16, 32, 32], depths=[2, 1, 1, 1], num_attention_heads=[1, 2, 2, 4], **LABELS
    ),
    "mobilenet_v2": lambda: t.MobileNetV2Config(depth_multiplier=0.35, **LABELS),
    "timm-resnet18": lambda: timm("resnet18"),
    "timm-vit": lambda: timm("vit_tiny_patch16_224", img_size=64, embed_dim=48, depth=3),
    "timm-mobilenetv2": lambda: timm("mobilenetv2_050"),
    "timm-regnet": lambda: timm("regnetx_002"),
    "timm-convnext": lambda: timm("convnext_atto", dims=[8, 16, 16, 32], depths=[1, 1, 2, 1]),
}
