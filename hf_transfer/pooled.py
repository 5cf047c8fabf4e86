"""A text classifier that reads the mean over its tokens, saved as sentence-transformers reads it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hf_transfer.strategies.features import hidden_states, mean_of

SENTENCE_TRANSFORMERS = "6.2.0"  # whose layout is written
POOLING, NORMALIZE, DENSE = "1_Pooling", "2_Normalize", "3_Dense"
MODULES = (
    ("", "sentence_transformers.base.modules.transformer.Transformer"),
    (POOLING, "sentence_transformers.sentence_transformer.modules.pooling.Pooling"),
    (NORMALIZE, "sentence_transformers.base.modules.normalize.Normalize"),
    (DENSE, "sentence_transformers.base.modules.dense.Dense"),
)
TEXTS = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}


class PooledClassifier(nn.Module):
    """A backbone, the mean over the tokens of the attention mask at length one, one linear layer.

    Args:
        backbone: the bare model, as `AutoModel` makes it.
        config: the checkpoint's, with `id2label` and `problem_type`.
        width: length of the backbone's vectors, which is not always `config.hidden_size` (OPT-350m).
        head: name of the layer that the checkpoint's own class reads its scores off. Saved models carry an empty tensor
            of that name, so that this class refuses them: it would draw a head at random and read the first token.
    """

    base_model_prefix = "backbone"

    def __init__(self, backbone: Any, config: Any, width: int, head: str = "") -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.config, self.head = config, head
        self.classifier = nn.Linear(width, config.num_labels)

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        labels: Any = None,
        **inputs: Any,
    ) -> dict[str, torch.Tensor]:
        """`logits` (B, C), and with `labels` the `loss` that transformers' classes have for the problem type."""
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        found = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **inputs)
        logits = self.classifier(mean_of(hidden_states(found), attention_mask))
        if labels is None:
            return {"logits": logits}
        from transformers.loss.loss_utils import ForSequenceClassificationLoss

        return {"loss": ForSequenceClassificationLoss(labels, logits, self.config), "logits": logits}

    def gradient_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
        """The backbone's."""
        self.backbone.gradient_checkpointing_enable(*args, **kwargs)

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        """Write a sentence-transformers folder, whose `encode` gives the logits; the library is not needed."""
        from safetensors.torch import save_file

        place = Path(folder)
        self.backbone.save_pretrained(str(place))
        if self.head:
            _guard(place, self.head)
        config = copy.deepcopy(self.config)
        config.architectures = None  # `pipeline` would take the class that is named there, which has no head
        config.save_pretrained(str(place))
        for name, content in _layout(self.classifier).items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        linear = {f"linear.{name}": value.detach().cpu().contiguous() for name, value in
                  self.classifier.named_parameters()}  # fmt: skip
        save_file(linear, str(place / DENSE / "model.safetensors"), metadata={"format": "pt"})


def load(folder: str | Path) -> PooledClassifier:
    """The model that `PooledClassifier.save_pretrained` wrote, in eval mode, in fp32."""
    from safetensors.torch import load_file
    from transformers import AutoModel

    from hf_transfer.loading import quiet

    with quiet():
        backbone, info = AutoModel.from_pretrained(str(folder), dtype=torch.float32, output_loading_info=True)
    guards = [name.removesuffix(".weight") for name in info["unexpected_keys"]]
    linear = load_file(Path(folder) / DENSE / "model.safetensors")
    width = linear["linear.weight"].shape[1]
    model = PooledClassifier(backbone, copy.deepcopy(backbone.config), width, guards[0] if guards else "")
    model.classifier.load_state_dict({name.removeprefix("linear."): value for name, value in linear.items()})
    return model.eval()


def load_state(model: PooledClassifier, folder: str | Path) -> None:
    """Load a saved model, or a Trainer's checkpoint of it, into `model` in place."""
    from safetensors.torch import load_file

    whole = (Path(folder) / DENSE).is_dir()
    state = load(folder).state_dict() if whole else load_file(Path(folder) / "model.safetensors")
    model.load_state_dict(state)


def pools(model: Any, tokens: str | None) -> bool:
    """Whether `AutoModel`, which loads the saved backbone, makes the very class that is inside `model`."""
    from transformers import AutoModel

    if tokens is None:
        return False
    found = AutoModel._model_mapping.get(type(model.config), ())
    classes = found if isinstance(found, tuple) else (found,)
    return type(model.get_submodule(tokens)) in classes[:1]


def made_for_the_mean(name: str) -> bool:
    """Whether sentence-transformers' files beside a checkpoint (folder or Hub id) say that it is read by the mean."""
    from transformers.utils import cached_file

    def content(file: str) -> Any:
        quiet = ("missing_entries", "connection_errors", "gated_repo")
        path = cached_file(name, file, **{f"_raise_exceptions_for_{what}": False for what in quiet})
        return json.loads(Path(path).read_text(encoding="utf-8")) if path else None

    try:
        modules = content("modules.json") or []
        place = next(module["path"] for module in modules if module["type"].endswith("Pooling"))
        said = content(f"{place}/config.json")
        # Old files have a flag for each mode, later ones the mode's name.
        modes = {key for key, value in said.items() if key.startswith("pooling_mode_") and value is True}
        return (modes or {said.get("pooling_mode")}) in ({"pooling_mode_mean_tokens"}, {"mean"})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return False


def _guard(folder: Path, head: str) -> None:
    """Put an empty tensor under the name of a head's weights: a class with such a head stops at its shape."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    if path.is_file():  # not in shards
        save_file(load_file(path) | {f"{head}.weight": torch.zeros(0)}, str(path), metadata={"format": "pt"})


def _layout(linear: nn.Linear) -> dict[str, Any]:
    """sentence-transformers' own files, by name."""
    import transformers

    versions = {
        "sentence_transformers": SENTENCE_TRANSFORMERS,
        "transformers": transformers.__version__,
        "pytorch": torch.__version__,
    }
    return {
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(MODULES)
        ],
        "config_sentence_transformers.json": {
            "__version__": versions,
            "default_prompt_name": None,
            "model_type": "SentenceTransformer",
            "prompts": {},
            "similarity_fn_name": "cosine",
        },
        "sentence_bert_config.json": TEXTS,
        f"{POOLING}/config.json": {
            "embedding_dimension": linear.in_features,
            "pooling_mode": "mean",
            "include_prompt": True,
        },
        f"{NORMALIZE}/config.json": {
            "module_input_name": "sentence_embedding",
            "module_output_name": "sentence_embedding",
        },
        f"{DENSE}/config.json": {
            "in_features": linear.in_features,
            "out_features": linear.out_features,
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
            "module_input_name": "sentence_embedding",
            "module_output_name": "sentence_embedding",
        },
    }
