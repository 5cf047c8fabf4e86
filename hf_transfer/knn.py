"""Models that answer by their nearest neighbours, as transformers loads them: `import hf_transfer.knn` makes it know them.

A model holds the backbone, in the checkpoint's own class with its last layer left out, and the features and labels of the
rows that vote. Nothing is run from the folder it lies in.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_transfer.run_folder import NEIGHBOURS
from hf_transfer.strategies.features import Readout, mean_of, read
from hf_transfer.strategies.features import hidden_states as last_states
from hf_transfer.strategies.neighbours import TEMPERATURE, nearest, vote

# What timm's image processor reads of the model's configuration.
PREPROCESSING = ("pretrained_cfg", "architecture")


class KnnTextConfig(PreTrainedConfig):
    """Of a model for texts.

    Attributes:
        base: configuration of the backbone's class, with its `model_type`.
        scores, dense, tokens: full names of its layers, as in `strategies.features.Readout`.
        pooling: what is compared: `own`, what the class reads, or `mean`, the mean over the tokens.
        k, temperature, scale: of the vote (`strategies.neighbours`).
        reference_rows, feature_size: how many rows vote, and of how many numbers each.
    """

    model_type = NEIGHBOURS[0]

    base: dict[str, Any] | None = None
    scores: str = ""
    dense: str | None = None
    tokens: str | None = None
    pooling: str = "own"
    k: int = 1
    temperature: float = TEMPERATURE
    scale: float = 1.0
    reference_rows: int = 1
    feature_size: int = 1


class KnnImageConfig(KnnTextConfig):
    """As `KnnTextConfig`, for images."""

    model_type = NEIGHBOURS[1]


class KnnForSequenceClassification(PreTrainedModel):
    """Texts by the labels of the most similar rows (`--strategy knn`)."""

    config: Any
    reference_features: torch.Tensor
    reference_labels: torch.Tensor
    config_class = KnnTextConfig
    base_model_prefix = "base"
    auto_class_of_base: ClassVar[Any] = AutoModelForSequenceClassification
    _supports_sdpa = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        inside = CONFIG_MAPPING[config.base["model_type"]].from_dict(dict(config.base))
        self.base = _headless(self.auto_class_of_base.from_config(inside), config.scores)
        one = config.problem_type == "single_label_classification"
        labels = (
            torch.zeros(config.reference_rows, dtype=torch.int64)
            if one
            else torch.zeros(config.reference_rows, len(config.id2label))
        )
        self.register_buffer("reference_features", torch.zeros(config.reference_rows, config.feature_size))
        self.register_buffer("reference_labels", labels)
        self.post_init()

    def features(self, inputs: dict[str, Any]) -> torch.Tensor:
        """What is compared (B, D) of a batch without labels."""
        config = self.config
        if config.pooling == "own":
            return read(self.base, Readout(config.scores, config.dense), inputs)
        mask = inputs.get("attention_mask")
        mask = torch.ones_like(inputs["input_ids"]) if mask is None else mask
        return mean_of(last_states(self.base.get_submodule(config.tokens)(**inputs)), mask)

    def logits_of(self, features: torch.Tensor) -> torch.Tensor:
        """The vote (B, C) on features (B, D)."""
        config = self.config
        found = nearest(features.float(), self.reference_features.float(), config.k)
        problem, labels = config.problem_type, self.reference_labels
        return vote(problem, *found, labels, len(config.id2label), config.scale, config.temperature)

    def forward(self, input_ids: Any = None, labels: Any = None, **inputs: Any) -> SequenceClassifierOutput:
        """`logits` (B, C), and with `labels` the `loss` that transformers' classes have for the problem type."""
        if input_ids is not None:
            inputs["input_ids"] = input_ids
        logits = self.logits_of(self.features(inputs))
        if labels is None:
            return SequenceClassifierOutput(logits=logits)
        from transformers.loss.loss_utils import ForSequenceClassificationLoss

        loss = ForSequenceClassificationLoss(labels, logits, self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class KnnForImageClassification(KnnForSequenceClassification):
    """Images by the labels of the most similar ones (`--strategy knn`)."""

    config_class = KnnImageConfig
    main_input_name = "pixel_values"
    input_modalities = "image"
    auto_class_of_base: ClassVar[Any] = AutoModelForImageClassification


def voting_model(
    base: Any, readout: Readout, pooling: str, features: torch.Tensor, labels: torch.Tensor, **of_vote: Any
) -> KnnForSequenceClassification:
    """A model of `base`'s backbone and of reference rows; `base` becomes part of it and loses its last layer.

    Args:
        base: a transformers model for texts or images, with `id2label` and `problem_type`.
        features: (m, D), of any length; labels: from `strategies.neighbours.as_targets`.
        of_vote: `k`, `scale`.
    """
    config, images = base.config, getattr(base, "main_input_name", "") == "pixel_values"
    inside = copy.deepcopy(config)
    inside._name_or_path = ""
    told = inside.to_dict()
    names: dict[str, Any] = {"id2label": dict(config.id2label), "label2id": dict(config.label2id)}
    found = (KnnImageConfig if images else KnnTextConfig)(
        base=told, scores=readout.scores, dense=readout.dense, tokens=readout.tokens, pooling=pooling,
        reference_rows=len(features), feature_size=features.shape[1], problem_type=config.problem_type,
        **names, **of_vote,
    )  # fmt: skip
    if "pretrained_cfg" in told:
        found.image_processor_type = "TimmWrapperImageProcessor"
        for name in PREPROCESSING:
            setattr(found, name, told[name])
    with torch.device("meta"):
        model = (KnnForImageClassification if images else KnnForSequenceClassification)(found)
    device = next(base.parameters()).device
    model.base = _headless(base, readout.scores)
    model.reference_features = torch.nn.functional.normalize(features, dim=1).float().to(device)
    model.reference_labels = labels.to(device)
    return model.eval()


def load(folder: str | Path, task: str) -> Any:
    """The model of a run folder, in eval mode, in fp32."""
    from hf_transfer.loading import quiet

    kind = KnnForImageClassification if "image" in task else KnnForSequenceClassification
    with quiet():
        return kind.from_pretrained(str(folder), dtype="float32").eval()


def _headless(base: Any, scores: str) -> Any:
    base.set_submodule(scores, nn.Identity())
    return base


for _config, _model, _auto in (
    (KnnTextConfig, KnnForSequenceClassification, AutoModelForSequenceClassification),
    (KnnImageConfig, KnnForImageClassification, AutoModelForImageClassification),
):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    _auto.register(_config, _model, exist_ok=True)
