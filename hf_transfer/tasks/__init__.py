"""Kinds of task, one file each, the same names in each: a `Task` is a frozen record of functions, never subclassed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_transfer.tasks.task import Task

__all__ = ["IMAGE_CLASSIFICATION", "TEXT_CLASSIFICATION", "Task", "find"]

NAMES = {
    "text-classification": "TEXT_CLASSIFICATION",
    "image-classification": "IMAGE_CLASSIFICATION",
    "fill-mask": "MASKED_LM",
    "text-generation": "CAUSAL_LM",
}


def __getattr__(name: str) -> Any:
    if name == "TEXT_CLASSIFICATION":
        from hf_transfer.tasks.text_classification import TEXT_CLASSIFICATION

        return TEXT_CLASSIFICATION
    if name == "IMAGE_CLASSIFICATION":
        from hf_transfer.tasks.image_classification import IMAGE_CLASSIFICATION

        return IMAGE_CLASSIFICATION
    if name in ("CAUSAL_LM", "MASKED_LM"):
        from hf_transfer.tasks import language_modeling as modeling

        return getattr(modeling, name)
    if name == "Task":
        from hf_transfer.tasks.task import Task

        return Task
    raise AttributeError(name)


def find(name: str) -> Task:
    """The task with this pipeline tag, e.g. `text-classification`."""
    from hf_transfer.problems import Problem, Problems, nearest

    if name not in NAMES:
        what = f"there is no task {name!r}{nearest(name, list(NAMES))}"
        raise Problems(Problem("task", what, f"choose {', '.join(NAMES)}"))
    return __getattr__(NAMES[name])
