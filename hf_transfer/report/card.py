"""The model card: what anyone who meets the model on the Hub should know, without a row of the data or a local path."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from hf_transfer.run_folder import write_text

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
from .names import base_name, data_name, hub_id, model_name, slug
from .read import Record, read_record
from .snippet import PLACEHOLDER, snippet
from .wording import (
    FILTERS,
    given,
    metric_name,
    without_paths,
    without_texts,
)

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
    environment.filters |= FILTERS
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
        "settings": given(record.run),
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
