"""Kinds of task, one file each, the same names in each: a `Task` is a frozen record of functions, never subclassed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_transfer.tasks.task import Task

__all__ = ["IMAGE_CLASSIFICATION", "TEXT_CLASSIFICATION", "Task", "find"]


def __getattr__(name: str) -> Any:
    if name == "TEXT_CLASSIFICATION":
        from hf_transfer.tasks.text_classification import TEXT_CLASSIFICATION

        return TEXT_CLASSIFICATION
    if name == "IMAGE_CLASSIFICATION":
        from hf_transfer.tasks.image_classification import IMAGE_CLASSIFICATION

        return IMAGE_CLASSIFICATION
    if name == "Task":
        from hf_transfer.tasks.task import Task

        return Task
    raise AttributeError(name)


def find(name: str) -> Task:
    """The task with this pipeline tag, e.g. `text-classification`."""
    from hf_transfer.problems import Problem, Problems, nearest

    names = {"text-classification": "TEXT_CLASSIFICATION", "image-classification": "IMAGE_CLASSIFICATION"}
    if name not in names:
        what = f"there is no task {name!r}{nearest(name, list(names))}"
        raise Problems(Problem("task", what, f"choose {', '.join(names)}"))
    return __getattr__(names[name])
