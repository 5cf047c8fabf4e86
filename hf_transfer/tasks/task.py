"""What a task is: a record of plain functions named as the Hub's pipeline tag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

IGNORED = -100  # a label that the loss leaves out


@dataclass(frozen=True)
class Prepared:
    """Data as the model takes it.

    Attributes:
        splits: model inputs and `labels` per split, rows as in `Data.splits`; a Dataset, or what does as one.
        lengths: tokens per row and split, where rows differ in length.
        facts: JSON for the record: `max_length`, share of rows cut per split, length quantiles.
        warnings: what the user should know, as the audit's warnings.
        plan: lines for the plan, by their headings.
        origins: per split the row of `Data.splits` that each row came from, where they are not the same.
    """

    splits: dict[str, Any]
    lengths: dict[str, list[int]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[dict[str, str]] = field(default_factory=list)
    plan: dict[str, str] = field(default_factory=dict)
    origins: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One kind of task.

    Attributes:
        name: the Hub's pipeline tag.
        auto_class: transformers' Auto class for models; processor_class: that for tokenizers or image processors.
        inputs: roles of the input columns; optional: those among them that may be absent; target: the label's role, ""
            for language modelling, which has none.
        fit: `(processor, model) -> notes`, makes both fit each other or raises Problems.
        prepare: `(data, processor, model, max_length) -> Prepared`.
        encode: `(rows, processor, max_length) -> Dataset` of model inputs, for prediction.
        collator: `(processor) -> callable` that makes batches.
        raw: `(rows) -> list`, inputs as `pipeline` takes them.
        train_collator: that of training batches, where it is another.
    """

    name: str
    auto_class: str
    processor_class: str
    inputs: tuple[str, ...]
    optional: tuple[str, ...]
    target: str
    fit: Callable[[Any, Any], list[str]]
    prepare: Callable[..., Prepared]
    encode: Callable[..., Any]
    collator: Callable[[Any], Any]
    raw: Callable[[Any], list[Any]]
    train_collator: Callable[[Any], Any] | None = None


def countable(labels: Any) -> Any:
    """Labels by which the items of a batch are counted: among values -100 is one like any other, among ids it is `IGNORED`."""
    values = hasattr(labels, "is_floating_point") and labels.is_floating_point()
    return labels.new_zeros(labels.shape) if values else labels
