"""From a name or an object to the model that is trained: its labels, its precision, its adapter."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.problems import Problem, Problems
from hf_transfer.training.checkpoints import checkpoint, load_pretrained

if TYPE_CHECKING:
    from hf_transfer.data import Data
    from hf_transfer.tasks.task import Task


def loaded(task: Task, model: Any, processor: Any, data: Data, seed: int) -> tuple[Any, Any]:
    """The model and processor as objects; by name in fp32, with the data's labels."""
    import transformers

    from hf_transfer.loading import quiet

    if not task.target:
        return _without_labels(task, model, processor, seed)
    if isinstance(model, (str, Path)):
        transformers.set_seed(seed)  # the new head is drawn here
        # num_labels says it again because timm's configuration goes by that alone.
        names = {"num_labels": len(data.id2label), "id2label": data.id2label, "label2id": data.label2id}
        with quiet():
            model = load_pretrained(task.auto_class, checkpoint(str(model)), **names)
    name = model.config._name_or_path
    if processor is None or isinstance(processor, (str, Path)):
        processor = load_pretrained(task.processor_class, str(processor or name))
    if model.config.num_labels != len(data.id2label):
        raise Problems(
            Problem(
                "model",
                f"its head has {model.config.num_labels} outputs, but the data has {len(data.id2label)} labels",
                "load it with id2label=data.id2label, label2id=data.label2id",
            )
        )
    model.config.id2label, model.config.label2id = dict(data.id2label), dict(data.label2id)
    if hasattr(model.config, "label_names"):  # timm's: saved in place of id2label
        model.config.label_names = list(data.id2label.values())
    model.config.problem_type = data.problem_type  # pipeline chooses softmax, sigmoid or neither by it
    return model, processor


def _without_labels(task: Task, model: Any, processor: Any, seed: int) -> tuple[Any, Any]:
    """A language model and its tokenizer."""
    import transformers

    from hf_transfer.loading import quiet

    if isinstance(model, (str, Path)):
        transformers.set_seed(seed)  # a head that the checkpoint lacks is drawn here
        with quiet():
            model = load_pretrained(task.auto_class, checkpoint(str(model)))
    if processor is None or isinstance(processor, (str, Path)):
        processor = load_pretrained(task.processor_class, str(processor or model.config._name_or_path))
    return model, processor


def in_fp32(model: Any) -> list[str]:
    """Widen a model that was loaded in half precision: training and saving are in fp32 (`bf16=True` speeds it up)."""
    import torch

    half = {p.dtype for p in model.parameters()} & {torch.float16, torch.bfloat16}
    if not half or getattr(model, "is_quantized", False):
        return []
    model.float()
    return [f"The model came in {str(half.pop()).removeprefix('torch.')}; it is trained and saved in fp32."]


def new_parameters(model: Any) -> list[str]:
    """Names of the parameters that the checkpoint lacked: `from_pretrained` marks those that it loaded."""
    marks = {
        name: getattr(parameter, "_is_hf_initialized", False) for name, parameter in model.named_parameters()
    }
    return [name for name, loaded in marks.items() if not loaded] if any(marks.values()) else []


def fingerprint(model: Any, new: list[str]) -> str:
    """A cheap mark of the pretrained weights: names, shapes and some values of what the checkpoint held.

    Of weights that no checkpoint gave, names and shapes only: they are drawn anew each time.
    """
    import torch

    mark, drawn = hashlib.sha256(), set(new)
    loaded = any(getattr(p, "_is_hf_initialized", False) for p in model.parameters())
    for name, parameter in model.named_parameters():
        mark.update(f"{name} {tuple(parameter.shape)}".encode())
        if loaded and name not in drawn:
            flat = parameter.detach().reshape(-1)
            some = flat[:: max(1, len(flat) // 64)][:64].to("cpu", torch.float32)
            mark.update(some.numpy().tobytes())
    return mark.hexdigest()[:16]


def adapted(model: Any, peft_config: Any, seed: int) -> Any:
    """The model with its adapter, whose matrices are drawn from `seed`; as it is without a config."""
    if peft_config is None:
        return model
    from transformers import set_seed

    from hf_transfer.strategies.lora import adapt

    set_seed(seed)  # LoRA's matrices do not depend on what was drawn before
    return adapt(model, peft_config)


def as_scored(model: Any, data: Data) -> tuple[Data, list[str]]:
    """For a model that is measured as it is: the data with its labels in the order of the checkpoint's head.

    Returns:
        The data, and a sentence for the plan where names or order differ.
    """
    from transformers import AutoConfig

    if data.problem_type == "regression" or not model.config._name_or_path:
        return data, []
    config = AutoConfig.from_pretrained(model.config._name_or_path)
    own = [config.id2label[i] for i in range(config.num_labels)]
    if own == list(data.labels) or len(own) != len(data.labels):
        return data, []
    found = {name.casefold(): name for name in data.labels}
    if {name.casefold() for name in own} == found.keys():
        ordered = data.with_labels([found[name.casefold()] for name in own])
        model.config.id2label, model.config.label2id = dict(ordered.id2label), dict(ordered.label2id)
        return ordered, [f"Labels stand in the checkpoint's order: {', '.join(ordered.labels[:8])}."]
    pairs = [f"{theirs} = {ours}" for theirs, ours in zip(own, data.labels, strict=True)]
    return data, [
        f"The checkpoint names its labels otherwise; they are matched by position: {', '.join(pairs[:8])}."
    ]
