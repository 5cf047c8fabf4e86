"""Some ninety architectures, each made from a config in milliseconds, and inputs for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as t

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
WORDS = {"vocab_size": 100, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
LABELS = {"num_labels": 3}
STAGES = {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 2, 1, 1]}


def _timm(name: str, **options: Any) -> Any:
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
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
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
    "timm-resnet18": lambda: _timm("resnet18"),
    "timm-vit": lambda: _timm("vit_tiny_patch16_224", img_size=64, embed_dim=48, depth=3),
    "timm-mobilenetv2": lambda: _timm("mobilenetv2_050"),
    "timm-regnet": lambda: _timm("regnetx_002"),
    "timm-convnext": lambda: _timm("convnext_atto", dims=[8, 16, 16, 32], depths=[1, 1, 2, 1]),
}
# Further transformers models: the class, its config, and what goes in. Made for their anatomy alone.
LIST = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
PAIR = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
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
FURTHER: dict[str, tuple[str, Callable[[], Any], str]] = {
    "xlm": (
        "XLMForSequenceClassification",
        lambda: t.XLMConfig(emb_dim=32, n_layers=3, n_heads=4, vocab_size=100, **LABELS),
        "words",
    ),
    "flaubert": (
        "FlaubertForTokenClassification",
        lambda: t.FlaubertConfig(emb_dim=32, n_layers=3, n_heads=4, vocab_size=100, **LABELS),
        "words",
    ),
    "canine": ("CanineForTokenClassification", lambda: t.CanineConfig(**LIST, **LABELS), "words"),
    "funnel": (
        "FunnelForTokenClassification",
        lambda: t.FunnelConfig(
            vocab_size=100, block_sizes=[1, 2], d_model=32, n_head=4, d_head=8, d_inner=64, **LABELS
        ),
        "words",
    ),
    "longformer": (
        "LongformerForSequenceClassification",
        lambda: t.LongformerConfig(attention_window=4, **LIST, **(WORDS | {"pad_token_id": 1}), **LABELS),
        "words",
    ),
    "big_bird": (
        "BigBirdForMaskedLM",
        lambda: t.BigBirdConfig(attention_type="original_full", **LIST, **WORDS),
        "words",
    ),
    "mobilebert": (
        "MobileBertForMultipleChoice",
        lambda: t.MobileBertConfig(
            embedding_size=32, true_hidden_size=32, intra_bottleneck_size=32, **LIST, **WORDS
        ),
        "choices",
    ),
    "roformer": (
        "RoFormerForTokenClassification",
        lambda: t.RoFormerConfig(**LIST, **WORDS, **LABELS),
        "words",
    ),
    "nystromformer": (
        "NystromformerForSequenceClassification",
        lambda: t.NystromformerConfig(**LIST, **WORDS, **LABELS),
        "words",
    ),
    "fnet": ("FNetForSequenceClassification", lambda: t.FNetConfig(**LIST, **WORDS, **LABELS), "words"),
    "layoutlm": (
        "LayoutLMForTokenClassification",
        lambda: t.LayoutLMConfig(**LIST, **WORDS, **LABELS),
        "words",
    ),
    "squeezebert": (
        "SqueezeBertForSequenceClassification",
        lambda: t.SqueezeBertConfig(embedding_size=32, **LIST, **WORDS, **LABELS),
        "words",
    ),
    "mamba": (
        "MambaForCausalLM",
        lambda: t.MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4, **WORDS),
        "words",
    ),
    "mixtral": (
        "MixtralForSequenceClassification",
        lambda: t.MixtralConfig(num_key_value_heads=2, num_local_experts=2, **LIST, **WORDS, **LABELS),
        "words",
    ),
    "bloom": (
        "BloomForSequenceClassification",
        lambda: t.BloomConfig(hidden_size=32, n_layer=2, n_head=4, **WORDS, **LABELS),
        "words",
    ),
    "pegasus": (
        "PegasusForConditionalGeneration",
        lambda: t.PegasusConfig(**PAIR, **WORDS, decoder_start_token_id=0),
        "pairs",
    ),
    "fsmt": (
        "FSMTForConditionalGeneration",
        lambda: t.FSMTConfig(**PAIR, src_vocab_size=100, tgt_vocab_size=100, langs=["en", "de"]),
        "pairs",
    ),
    "whisper": (
        "WhisperForAudioClassification",
        lambda: t.WhisperConfig(**PAIR, num_mel_bins=8, max_source_positions=16, **LABELS),
        "spectrum",
    ),
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
        "sound",
    ),
    "pvt": (
        "PvtForImageClassification",
        lambda: t.PvtConfig(image_size=64, **PYRAMID, **LABELS),
        "images",
    ),
    "pvt_v2": ("PvtV2ForImageClassification", lambda: t.PvtV2Config(**PYRAMID, **LABELS), "images"),
    "poolformer": (
        "PoolFormerForImageClassification",
        lambda: t.PoolFormerConfig(**STAGES, **LABELS),
        "images",
    ),
    "cvt": (
        "CvtForImageClassification",
        lambda: t.CvtConfig(embed_dim=[8, 16, 32], num_heads=[1, 2, 4], depth=[1, 2, 3], **LABELS),
        "images",
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
        "images",
    ),
    "efficientnet": (
        "EfficientNetForImageClassification",
        lambda: t.EfficientNetConfig(
            image_size=64, width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320, **LABELS
        ),
        "images",
    ),
    "mobilevit": (
        "MobileViTForImageClassification",
        lambda: t.MobileViTConfig(
            image_size=64, hidden_sizes=[16, 16, 16], neck_hidden_sizes=[8, 8, 8, 16, 16, 16, 32], **LABELS
        ),
        "images",
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
        "images",
    ),
    "bit": (
        "BitForImageClassification",
        lambda: t.BitConfig(
            embedding_size=32, num_groups=4, **(STAGES | {"hidden_sizes": [32, 32, 64, 64]}), **LABELS
        ),
        "images",
    ),
    "swinv2": (
        "Swinv2ForImageClassification",
        lambda: t.Swinv2Config(
            image_size=64, embed_dim=8, depths=[1, 2], num_heads=[1, 2], window_size=4, **LABELS
        ),
        "images",
    ),
    "deit": (
        "DeiTForImageClassification",
        lambda: t.DeiTConfig(image_size=64, patch_size=16, **LIST, **LABELS),
        "images",
    ),
    "segformer-masks": ("SegformerForSemanticSegmentation", lambda: IMAGES["segformer"](), "images"),
    "beit-masks": (
        "BeitForSemanticSegmentation",
        lambda: t.BeitConfig(
            image_size=64,
            patch_size=16,
            out_indices=[1, 2, 3, 4],
            **(LIST | {"num_hidden_layers": 4}),
            **LABELS,
        ),
        "images",
    ),
    "upernet": (
        "UperNetForSemanticSegmentation",
        lambda: t.UperNetConfig(
            backbone_config=t.ConvNextConfig(out_features=["stage1", "stage2", "stage3", "stage4"], **STAGES),
            hidden_size=16,
            auxiliary_in_channels=16,
            pool_scales=[1],
            **LABELS,
        ),
        "images",
    ),
    "eomt": (
        "EomtForUniversalSegmentation",
        lambda: t.EomtConfig(image_size=64, patch_size=16, num_blocks=1, num_queries=4, **LIST, **LABELS),
        "images",
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
        "images",
    ),
    "detr": ("DetrForObjectDetection", lambda: t.DetrConfig(**DETECTION), "images"),
    "conditional_detr": (
        "ConditionalDetrForObjectDetection",
        lambda: t.ConditionalDetrConfig(**DETECTION),
        "images",
    ),
    "yolos": (
        "YolosForObjectDetection",
        lambda: t.YolosConfig(image_size=[64, 64], num_detection_tokens=4, **LIST, **LABELS),
        "images",
    ),
    "clip": ("CLIPModel", lambda: t.CLIPConfig(**TOWERS), "towers"),
    "siglip-towers": ("SiglipModel", lambda: t.SiglipConfig(**TOWERS), "towers"),
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
)
OTHERS: dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "bert-masked": (t.BertForMaskedLM, TEXT["bert"]),
    "gpt2-causal": (t.GPT2LMHeadModel, TEXT["gpt2"]),
    "llama-causal": (t.LlamaForCausalLM, TEXT["llama"]),
    "t5-seq2seq": (t.T5ForConditionalGeneration, TEXT["t5"]),
    "bert-tokens": (t.BertForTokenClassification, TEXT["bert"]),
    "bert-bare": (t.BertModel, TEXT["bert"]),
}
NAMES = (*TEXT, *IMAGES, *OTHERS)


def make(name: str, seed: int = 0, **changes: Any) -> Any:
    """The model with random weights, in eval mode; `changes` replaces values of its config. timm's are on `meta`."""
    torch.manual_seed(seed)
    if name in TIMM:
        with torch.device("meta"):
            return t.AutoModelForImageClassification.from_config(_timm(name)).eval()
    if name in OTHERS:
        build, config = OTHERS[name][0], OTHERS[name][1]()
    elif name in FURTHER:
        build, config = getattr(t, FURTHER[name][0]), FURTHER[name][1]()
    else:
        config = (TEXT | IMAGES)[name]()
        auto = t.AutoModelForSequenceClassification if name in TEXT else t.AutoModelForImageClassification
        build = auto.from_config
    for key, value in changes.items():
        setattr(config, key, value)
    return build(config).eval()


def inputs(name: str, rows: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    """A batch that the model takes."""
    generator = torch.Generator().manual_seed(seed)
    if name in TIMM:
        return {"pixel_values": torch.zeros((rows, 3, 224, 224), device="meta")}
    kind = FURTHER[name][2] if name in FURTHER else "images" if name in IMAGES else "words"
    if kind == "sound":
        return {"input_values": torch.randn((rows, 800), generator=generator)}
    if kind == "spectrum":
        return {"input_features": torch.randn((rows, 8, 32), generator=generator)}
    found = {}
    if kind in ("images", "towers"):
        size = 64 if name.startswith("timm") or (name in FURTHER and kind == "images") else 32
        found = {"pixel_values": torch.randn((rows, 3, size, size), generator=generator)}
        if kind == "images":
            return found
    ids = torch.randint(5, 100, (rows, 10), generator=generator)
    ids[:, -1] = 2  # T5 reads the score off its end token
    if kind == "choices":
        ids = ids[:, None].repeat(1, 2, 1)
    more = {"decoder_input_ids": ids} if name == "t5-seq2seq" or kind == "pairs" else {}
    return found | {"input_ids": ids, "attention_mask": torch.ones_like(ids), **more}
