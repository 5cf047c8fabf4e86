"""The model card: what anyone who meets the model on the Hub should know, without a row of the data or a local path."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from hf_transfer.run import write_text

from ..licenses import front_matter
from . import tables, training
from .figures import (
    Figure,
    baseline_words,
    figures,
    forgetting_words,
    headline,
    measured_words,
    probe_words,
    scratch_words,
)
from .html import ALTERNATIVES, facts
from .read import Record, read_record
from .wording import count, duration, metric_name, number, rate, settings, share, without_paths, without_texts

AUTO_CLASSES = {
    "text-classification": "AutoModelForSequenceClassification",
    "image-classification": "AutoModelForImageClassification",
    "fill-mask": "AutoModelForMaskedLM",
    "text-generation": "AutoModelForCausalLM",
}
PLACEHOLDER = "<repo id or folder>"
LISTED_LABELS = 60


def write_card(folder: Path | str, repo_id: str | None = None) -> Path:
    """Write the model card `README.md` of a run folder; returns its path.

    Args:
        folder: of the run; plots that lie in its `plots/` are shown, so write the report first.
        repo_id: where the model is published, for the name and the snippet; else a placeholder stands there.

    Raises `Problems` when the folder is no run folder.
    """
    record = read_record(folder)
    path = record.folder / "README.md"
    write_text(path, card_text(record, repo_id))
    return path


def card_text(record: Record, repo_id: str | None = None, adapter_only: bool = False) -> str:
    """The model card of a run; with `adapter_only` of its adapter alone."""
    from huggingface_hub import ModelCard

    data = card_data(record, repo_id, adapter_only)
    text = _environment().get_template("card.md.jinja").render(**_view(record, repo_id, adapter_only))
    card = ModelCard(
        f"---\n{data.to_yaml()}\n---\n\n{text}"
    )  # parsed here, so a broken card is never written
    return str(card.content)


def card_data(record: Record, repo_id: str | None = None, adapter_only: bool = False) -> Any:
    """The card's front matter as `huggingface_hub.ModelCardData`: Hub ids only, metrics as model-index."""
    from huggingface_hub import ModelCardData

    peft = (record.run.get("peft") or {}).get("type")
    task, dataset = record.run.get("task"), hub_id(record.data.get("hub_id"))
    licence = front_matter(record.base.get("license"), record.data.get("license"), record.base)
    base = hub_id(record.base.get("id"))
    measured = figures(record, record.measured)
    library = "hf_transfer" if record.voting else "sentence-transformers" if record.pooled else "transformers"
    return ModelCardData(
        model_name=model_name(record, repo_id),
        library_name="peft" if adapter_only else library,
        pipeline_tag=task,
        base_model=base,
        base_model_relation=("adapter" if adapter_only else "finetune") if base else None,
        datasets=[dataset] if dataset else None,
        metrics=[figure.key for figure in measured] or None,
        tags=["hf_transfer", "transfer-learning", *([str(peft).lower()] if peft else [])],
        eval_results=[_result(record, figure) for figure in measured] or None,
        license=licence["license"],
        license_name=licence.get("license_name"),
        license_link=licence.get("license_link"),
    )


def _result(record: Record, figure: Figure) -> Any:
    """One metric for the model-index; interval and baseline go along as its `args`."""
    from huggingface_hub import EvalResult

    name = data_name(record)
    beside = {"ci95_low": figure.low, "ci95_high": figure.high, "baseline": figure.baseline}
    beside |= {"probe": figure.probe} if figure.probe is not None else {}
    beside |= {"scratch": figure.scratch} if figure.scratch is not None else {}
    return EvalResult(
        task_type=str(record.run.get("task")),
        dataset_type=hub_id(record.data.get("hub_id")) or slug(name),
        dataset_name=name,
        dataset_split=record.split,
        metric_type=figure.key,
        metric_name=figure.name,
        metric_value=round(figure.value, 6),
        metric_args={key: round(value, 6) for key, value in beside.items() if value is not None} or None,
    )


def hub_id(name: Any) -> str | None:
    """The name if it has the form of a Hub id (`name` or `owner/name`), else None: a folder must not be published."""
    fits = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name)
    return str(name) if fits else None


def slug(text: str) -> str:
    """Letters, digits, dot, dash and underscore only: usable as a name on the Hub."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "data"


def data_name(record: Record) -> str:
    """The data's name without folders."""
    return (
        hub_id(record.data.get("hub_id"))
        or without_paths(str(record.data.get("name") or ""))
        or "unnamed data"
    )


def base_name(record: Record) -> str:
    """The base model's Hub id, or its name without folders."""
    return (
        hub_id(record.base.get("id"))
        or without_paths(str(record.base.get("name") or ""))
        or "an unnamed model"
    )


def model_name(record: Record, repo_id: str | None = None) -> str:
    """The last part of `repo_id`, else base model and data joined."""
    if repo_id:
        return repo_id.split("/")[-1]
    data = re.sub(r"\.(csv|tsv|jsonl?|parquet|txt)$", "", data_name(record).split("/")[-1])
    return f"{slug(base_name(record).split('/')[-1])}-{slug(data)}"


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


def _escape(value: Any) -> Any:
    """Text as Markdown shows it unchanged: no tag, table cell, emphasis, link or formula comes out of a label."""
    from markupsafe import Markup

    if isinstance(value, Markup):
        return value
    text = re.sub(r"\s+", " ", str("" if value is None else value))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))", r"\\\1", text)


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    here = FileSystemLoader(Path(__file__).parent)
    # Markdown, not HTML: every printed value goes through `_escape` instead of jinja's own escaping.
    environment = Environment(
        loader=here,
        autoescape=select_autoescape(["html"]),
        finalize=_escape,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "count": count,
        "share": share,
        "rate": rate,
        "duration": duration,
    }
    return environment


def _view(record: Record, repo_id: str | None, adapter_only: bool) -> dict[str, Any]:
    """Everything the template shows, worked out beforehand."""
    from markupsafe import Markup

    plots = ("learning_curve", "confusion", "per_class", "scatter", "drift")
    measured = figures(record, record.measured)
    columns = record.data.get("columns") or {}
    known = [*record.labels, *map(str, columns.values()), *map(str, record.data.get("files") or [])]
    hidden = ("Data", "Base model", "Base licence", "Data licence", "Task", "New parameters", "Versions")
    return {
        "name": model_name(record, repo_id),
        "record": record,
        "run": record.run,
        "kind": record.problem_type.split("_")[0],
        "base": base_name(record),
        "base_url": hub_id(record.base.get("id")),
        "data": data_name(record),
        "data_url": hub_id(record.data.get("hub_id")),
        "listed": record.labels[:LISTED_LABELS],
        "more": max(0, len(record.labels) - LISTED_LABELS),
        "measured": measured,
        "headline": headline(record),
        "where": measured_words(record),
        "baseline": baseline_words(record),
        "probe": probe_words(record),
        "scratch": scratch_words(record),
        "forgetting": forgetting_words(record),
        "rows": record.audit.get("rows") or {},
        "how": {split: _published(how, known) for split, how in (record.data.get("how") or {}).items()},
        "warnings": [
            {key: _published(text, known) for key, text in item.items()} for item in tables.warnings(record)
        ],
        "cut": (record.audit.get("lengths") or {}).get("cut") or {},
        "max_length": (record.audit.get("lengths") or {}).get("max_length"),
        "phases": record.phases,
        "kept": training.kept(record),
        "how_solved": [training.solved_words(phase.get("solved") or {}) for phase in record.phases],
        "chosen": training.chosen_words(record.phases[-1].get("solved") or {}) if record.phases else "",
        "learned": [
            sum(g.get("learning", g["parameters"]) for g in p.get("groups") or [] if g["learns"])
            for p in record.phases
        ],
        "facts": [pair for pair in facts(record) if pair[0] not in hidden],
        "settings": settings(record.run.get("arguments") or {}),
        "versions": record.run.get("versions") or {},
        "snippet": Markup(snippet(record, repo_id, adapter_only)),
        "adapter_only": adapter_only,
        "repo": repo_id or PLACEHOLDER,
        "plots": [
            (Markup(name), ALTERNATIVES[name])
            for name in plots
            if (record.folder / f"plots/{name}.png").is_file()
        ],
        "metric_name": metric_name,
    }


def _published(text: str, known: list[str]) -> str:
    return without_texts(without_paths(text), known)
