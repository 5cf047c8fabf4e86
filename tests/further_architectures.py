"""Architectures made for their anatomy alone: by what goes in, the class and its config; and timm's by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as t
from classifiers import IMAGES, LABELS, PAIR, STAGES, WORDS

LIST = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
PYRAMID = {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 2, 1, 1], "num_attention_heads": [1, 2, 2, 4]}
DETECTION = {
    **PAIR,
    "num_queries": 4,
    "backbone_config": t.ResNetConfig(embedding_size=8, out_features=["stage4"], **STAGES),
    "use_timm_backbone": False,
    **LABELS,
}
TOWERS = {
    "text_config": {**LIST, "vocab_size": 100, "eos_token_id": 2},
    "vision_config": {**LIST, "image_size": 32, "patch_size": 8},
    "projection_dim": 16,
}
FURTHER: dict[str, dict[str, tuple[str, Callable[[], Any]]]] = {
    "words": {
        "xlm": (
            "XLMForSequenceClassification",
            lambda: t.XLMConfig(emb_dim=32, n_layers=3, n_heads=4, vocab_size=100, **LABELS),
        ),
        "flaubert": (
            "FlaubertForTokenClassification",
            lambda: t.FlaubertConfig(emb_dim=32, n_layers=3, n_heads=4, vocab_size=100, **LABELS),
        ),
        "canine": ("CanineForTokenClassification", lambda: t.CanineConfig(**LIST, **LABELS)),
        "funnel": (
            "FunnelForTokenClassification",
            lambda: t.FunnelConfig(
                vocab_size=100, block_sizes=[1, 2], d_model=32, n_head=4, d_head=8, d_inner=64, **LABELS
            ),
        ),
        "longformer": (
            "LongformerForSequenceClassification",
            lambda: t.LongformerConfig(attention_window=4, **LIST, **(WORDS | {"pad_token_id": 1}), **LABELS),
        ),
        "big_bird": (
            "BigBirdForMaskedLM",
            lambda: t.BigBirdConfig(attention_type="original_full", **LIST, **WORDS),
        ),
        "roformer": ("RoFormerForTokenClassification", lambda: t.RoFormerConfig(**LIST, **WORDS, **LABELS)),
        "nystromformer": (
            "NystromformerForSequenceClassification",
            lambda: t.NystromformerConfig(**LIST, **WORDS, **LABELS),
        ),
        "fnet": ("FNetForSequenceClassification", lambda: t.FNetConfig(**LIST, **WORDS, **LABELS)),
        "layoutlm": ("LayoutLMForTokenClassification", lambda: t.LayoutLMConfig(**LIST, **WORDS, **LABELS)),
        "squeezebert": (
            "SqueezeBertForSequenceClassification",
            lambda: t.SqueezeBertConfig(embedding_size=32, **LIST, **WORDS, **LABELS),
        ),
        "mamba": (
            "MambaForCausalLM",
            lambda: t.MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4, **WORDS),
        ),
        "mixtral": (
            "MixtralForSequenceClassification",
            lambda: t.MixtralConfig(num_key_value_heads=2, num_local_experts=2, **LIST, **WORDS, **LABELS),
        ),
        "bloom": (
            "BloomForSequenceClassification",
            lambda: t.BloomConfig(hidden_size=32, n_layer=2, n_head=4, **WORDS, **LABELS),
        ),
    },
    "choices": {
        "mobilebert": (
            "MobileBertForMultipleChoice",
            lambda: t.MobileBertConfig(
                embedding_size=32, true_hidden_size=32, intra_bottleneck_size=32, **LIST, **WORDS
            ),
        ),
    },
    "pairs": {
        "pegasus": (
            "PegasusForConditionalGeneration",
            lambda: t.PegasusConfig(**PAIR, **WORDS, decoder_start_token_id=0),
        ),
        "fsmt": (
            "FSMTForConditionalGeneration",
            lambda: t.FSMTConfig(**PAIR, src_vocab_size=100, tgt_vocab_size=100, langs=["en", "de"]),
        ),
    },
    "spectrum": {
        "whisper": (
            "WhisperForAudioClassification",
            lambda: t.WhisperConfig(**PAIR, num_mel_bins=8, max_source_positions=16, **LABELS),
        ),
    },
    "sound": {
        "wav2vec2": (
            "Wav2Vec2ForSequenceClassification",
            lambda: t.Wav2Vec2Config(
                conv_dim=(8, 8),
                conv_kernel=(10, 3),
                conv_stride=(5, 2),
                num_conv_pos_embeddings=4,
                num_conv_pos_embedding_groups=2,
                **LIST,
                **LABELS,
            ),
        ),
    },
    "images": {
        "pvt": ("PvtForImageClassification", lambda: t.PvtConfig(image_size=64, **PYRAMID, **LABELS)),
        "pvt_v2": ("PvtV2ForImageClassification", lambda: t.PvtV2Config(**PYRAMID, **LABELS)),
        "poolformer": ("PoolFormerForImageClassification", lambda: t.PoolFormerConfig(**STAGES, **LABELS)),
        "cvt": (
            "CvtForImageClassification",
            lambda: t.CvtConfig(embed_dim=[8, 16, 32], num_heads=[1, 2, 4], depth=[1, 2, 3], **LABELS),
        ),
        "levit": (
            "LevitForImageClassification",
            lambda: t.LevitConfig(
                image_size=64,
                hidden_sizes=[16, 32, 32],
                num_attention_heads=[1, 2, 2],
                depths=[1, 1, 1],
                key_dim=[8, 8, 8],
                **LABELS,
            ),
        ),
        "efficientnet": (
            "EfficientNetForImageClassification",
            lambda: t.EfficientNetConfig(
                image_size=64, width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320, **LABELS
            ),
        ),
        "mobilevit": (
            "MobileViTForImageClassification",
            lambda: t.MobileViTConfig(
                image_size=64,
                hidden_sizes=[16, 16, 16],
                neck_hidden_sizes=[8, 8, 8, 16, 16, 16, 32],
                **LABELS,
            ),
        ),
        "focalnet": (
            "FocalNetForImageClassification",
            lambda: t.FocalNetConfig(
                image_size=64,
                embed_dim=8,
                depths=[1, 1, 2, 1],
                focal_levels=[1] * 4,
                focal_windows=[3] * 4,
                **LABELS,
            ),
        ),
        "bit": (
            "BitForImageClassification",
            lambda: t.BitConfig(
                embedding_size=32, num_groups=4, **(STAGES | {"hidden_sizes": [32, 32, 64, 64]}), **LABELS
            ),
        ),
        "swinv2": (
            "Swinv2ForImageClassification",
            lambda: t.Swinv2Config(
                image_size=64, embed_dim=8, depths=[1, 2], num_heads=[1, 2], window_size=4, **LABELS
            ),
        ),
        "deit": (
            "DeiTForImageClassification",
            lambda: t.DeiTConfig(image_size=64, patch_size=16, **LIST, **LABELS),
        ),
        "segformer-masks": ("SegformerForSemanticSegmentation", lambda: IMAGES["segformer"]()),
        "beit-masks": (
            "BeitForSemanticSegmentation",
            lambda: t.BeitConfig(
                image_size=64,
                patch_size=16,
                out_indices=[1, 2, 3, 4],
                **(LIST | {"num_hidden_layers": 4}),
                **LABELS,
            ),
        ),
        "upernet": (
            "UperNetForSemanticSegmentation",
            lambda: t.UperNetConfig(
                backbone_config=t.ConvNextConfig(
                    out_features=["stage1", "stage2", "stage3", "stage4"], **STAGES
                ),
                hidden_size=16,
                auxiliary_in_channels=16,
                pool_scales=[1],
                **LABELS,
            ),
        ),
        "eomt": (
            "EomtForUniversalSegmentation",
            lambda: t.EomtConfig(image_size=64, patch_size=16, num_blocks=1, num_queries=4, **LIST, **LABELS),
        ),
        "dpt": (
            "DPTForDepthEstimation",
            lambda: t.DPTConfig(
                image_size=64,
                patch_size=16,
                backbone_out_indices=[0, 1, 2, 3],
                neck_hidden_sizes=[8, 8, 16, 16],
                fusion_hidden_size=16,
                is_hybrid=False,
                **(LIST | {"num_hidden_layers": 4}),
            ),
        ),
        "detr": ("DetrForObjectDetection", lambda: t.DetrConfig(**DETECTION)),
        "conditional_detr": (
            "ConditionalDetrForObjectDetection",
            lambda: t.ConditionalDetrConfig(**DETECTION),
        ),
        "yolos": (
            "YolosForObjectDetection",
            lambda: t.YolosConfig(image_size=[64, 64], num_detection_tokens=4, **LIST, **LABELS),
        ),
    },
    "videos": {
        "videomt": (
            "VideomtForUniversalSegmentation",
            lambda: t.VideomtConfig(
                image_size=64,
                patch_size=16,
                num_blocks=1,
                num_queries=4,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                **LABELS,
            ),
        ),
    },
    "towers": {
        "clip": ("CLIPModel", lambda: t.CLIPConfig(**TOWERS)),
        "siglip-towers": ("SiglipModel", lambda: t.SiglipConfig(**TOWERS)),
        "git": (
            "GitModel",
            lambda: t.GitConfig(vision_config=TOWERS["vision_config"], vocab_size=100, **LIST),
        ),
        "owlvit": ("OwlViTForObjectDetection", lambda: t.OwlViTConfig(**TOWERS | {"projection_dim": 32})),
        "owlv2": ("Owlv2ForObjectDetection", lambda: t.Owlv2Config(**TOWERS | {"projection_dim": 32})),
    },
}
# timm's models run on the meta device: they are of full size.
TIMM = (
    "vgg11_bn",
    "densenet121",
    "efficientnet_b0",
    "mobilenetv3_small_050",
    "dla34",
    "hrnet_w18_small",
    "repvgg_a0",
    "ghostnet_050",
    "mixer_s32_224",
    "pit_ti_224",
    "levit_128s",
    "edgenext_xx_small",
    "swin_tiny_patch4_window7_224",
    "deit_tiny_distilled_patch16_224",
    "inception_v3",
    "pvt_v2_b0",
    "eca_nfnet_l0",
    "twins_svt_small",
    "coat_lite_tiny",
    "crossvit_tiny_240",
    "fasternet_t0",
    "lcnetv2_small",
    "inception_v4",
)
