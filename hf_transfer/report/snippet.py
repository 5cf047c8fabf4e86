"""The code in a model card that loads the model and asks it once."""

from __future__ import annotations

from .names import hub_id
from .read import Record

AUTO_CLASSES = {
    "text-classification": "AutoModelForSequenceClassification",
    "image-classification": "AutoModelForImageClassification",
    "fill-mask": "AutoModelForMaskedLM",
    "text-generation": "AutoModelForCausalLM",
}
PLACEHOLDER = "<repo id or folder>"


def snippet(record: Record, repo_id: str | None = None, adapter_only: bool = False) -> str:
    """Python code that loads the model with plain transformers and asks it once; an input of its own, none of ours."""
    task, kind = str(record.run.get("task")), record.problem_type
    text = '"A text of your own."'
    if "text_pair" in (record.data.get("columns") or {}):
        text = '{"text": "A text of your own.", "text_pair": "And the one it goes with."}'
    if record.pooled:
        return _by_sentence_transformers(record, repo_id or PLACEHOLDER)
    images = "image" in task
    given = '"picture.jpg"' if images else f"{text}, truncation=True"
    model = repo_id or PLACEHOLDER
    lines = ["from transformers import pipeline", "", f'model = pipeline("{task}", model="{model}")']
    if record.voting:
        lines.insert(0, "import hf_transfer.knn  # pip install hf-transfer-learning")
    alone = (record.run.get("peft") or {}).get("merged") is False
    if alone:
        lines = _with_adapter_beside(record, task, model)
    elif adapter_only:
        lines = _with_adapter(task, model)
    if kind == "language_modeling":
        masked = 'f"Here a word is {model.tokenizer.mask_token}."'
        lines += [
            f"print(model({masked}))" if task == "fill-mask" else f"print(model({text}, max_new_tokens=30))"
        ]
    elif kind == "regression":
        lines += [
            f'result = model({given}, function_to_apply="none")',
            "print(result)  # the score is the value",
        ]
    elif kind == "multi_label_classification":
        lines += _with_thresholds(record, given)
    else:
        lines += [f"print(model({given}))  # label and probability"]
    return "\n".join(lines)


def _with_adapter(task: str, model: str) -> list[str]:
    """The base model with the adapter and its head: `config` holds the labels, which the base model does not know."""
    images = "image" in task
    auto = AUTO_CLASSES[task]
    processor = "AutoImageProcessor" if images else "AutoTokenizer"
    keyword = "image_processor" if images else "tokenizer"
    return [
        f"from transformers import AutoConfig, {processor}, {auto}, pipeline  # and peft installed",
        "",
        f'name = "{model}"',
        f"adapted = {auto}.from_pretrained(name, config=AutoConfig.from_pretrained(name))",
        f'model = pipeline("{task}", model=adapted, {keyword}={processor}.from_pretrained(name))',
    ]


def _with_adapter_beside(record: Record, task: str, model: str) -> list[str]:
    """The base model with an adapter that cannot be merged: two lines load it, a third makes the pipeline."""
    images = "image" in task
    auto = AUTO_CLASSES[task]
    processor = "AutoImageProcessor" if images else "AutoTokenizer"
    keyword = "image_processor" if images else "tokenizer"
    base = hub_id(record.base.get("id")) or "the base model"
    return [
        "from hf_transfer import load_adapter  # pip install hf-transfer-learning",
        f"from transformers import AutoConfig, {processor}, {auto}, pipeline",
        "",
        f'name, config = "{model}", AutoConfig.from_pretrained("{model}")',
        f'base = {auto}.from_pretrained("{base}", config=config, ignore_mismatched_sizes=True)',
        'adapted = load_adapter(base, name, "adapter")',
        f'model = pipeline("{task}", model=adapted, {keyword}={processor}.from_pretrained(name))',
    ]


def _by_sentence_transformers(record: Record, model: str) -> str:
    """A model that reads the mean over its tokens: its `encode` gives the logits."""
    pairs = "text_pair" in (record.data.get("columns") or {})
    given = '("A text of your own.", "And the one it goes with.")' if pairs else '"A text of your own."'
    lines = [
        "from sentence_transformers import SentenceTransformer  # version 6 or newer",
        "",
        f'model = SentenceTransformer("{model}")',
        f"(logits,) = model.encode([{given}], convert_to_tensor=True)",
    ]
    labels = "labels = model[0].model.config.id2label"
    if record.problem_type == "regression":
        lines += ["print(logits.item())  # the value"]
    elif record.problem_type == "multi_label_classification":
        values = record.run.get("thresholds") or [0.5] * len(record.labels)
        lines += [
            labels,
            f"thresholds = [{', '.join(f'{value:.6g}' for value in values)}]  # in the order of the labels",
            "print([labels[i] for i, p in enumerate(logits.sigmoid().tolist()) if p >= thresholds[i]])",
        ]
    else:
        lines += [
            labels,
            "print({labels[i]: p for i, p in enumerate(logits.softmax(0).tolist())})  # probabilities",
        ]
    return "\n".join(lines)


def _with_thresholds(record: Record, given: str) -> list[str]:
    values = record.run.get("thresholds") or [0.5] * len(record.labels)
    limits = ", ".join(
        f"{_literal(label)}: {value:.6g}" for label, value in zip(record.labels, values, strict=False)
    )
    return [
        f"thresholds = {{{limits}}}",
        f"scores = model({given}, top_k=None)",
        'print([score["label"] for score in scores if score["score"] >= thresholds[score["label"]]])',
    ]


def _literal(label: str) -> str:
    """A Python string literal; a backtick in it cannot end the card's code block."""
    return repr(label).replace("`", "\\x60")
