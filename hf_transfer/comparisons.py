"""What is measured beside the result, to tell what the transfer was worth: probe, from scratch, forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_transfer.finishing import Job
    from hf_transfer.pretrained import Pretrained
    from hf_transfer.tasks.task import Task


@dataclass(frozen=True)
class Comparisons:
    """What was asked for, or after `possible` what will be done of it.

    Attributes:
        probe: a solved head on the untouched checkpoint.
        compare_scratch: the same model from random weights.
        watch_forgetting: features, weights and answers of the checkpoint, before and after.
        forgetting_file: a text file on which the checkpoint's language model is asked; general: lines of it.
    """

    probe: bool = True
    compare_scratch: bool = False
    watch_forgetting: bool = False
    forgetting_file: str | Path | None = None
    general: Sequence[str] = ()


def possible(asked: Comparisons, task: Task, args: Any, base: Pretrained) -> tuple[Comparisons, list[str]]:
    """What can be compared, and for the plan why not where something was asked for.

    Raises:
        Problems: something was asked for that cannot be had with this model or task.
    """
    from hf_transfer.anatomy import unwrapped
    from hf_transfer.forgetting import watching
    from hf_transfer.general_text import general_lines, no_language_head
    from hf_transfer.scratch import comparing

    scratch, notes = comparing(asked.compare_scratch, task, unwrapped(base.model)[0], args.do_train)
    probe = asked.probe and args.do_train and bool(task.target)
    if probe and base.redrawn:
        probe = False
        notes.append("There is no probe of the untouched checkpoint: blocks of it are drawn anew.")
    general = general_lines(asked.forgetting_file, asked.watch_forgetting, task)
    watched, told = watching(asked.watch_forgetting, args.do_train, base.redrawn)
    notes += told
    if general and (why := no_language_head(base.facts["name"], base.processor)):
        general = []
        notes.append(why)
    return replace(
        asked, probe=probe, compare_scratch=scratch, watch_forgetting=watched, general=general
    ), notes


def measured_before(job: Job, chosen: Comparisons) -> Job:
    """The job with what has to be measured on the untouched checkpoint."""
    from hf_transfer.finishing import measured_splits
    from hf_transfer.forgetting import before
    from hf_transfer.language import read_losses, shifts
    from hf_transfer.probing import probe

    setup, splits = job.setup, measured_splits(job.setup.args, job.data)
    if chosen.probe:
        job = replace(job, probe=probe(setup, splits))
    if setup.args.do_train and not job.task.target:
        job = replace(job, untouched=read_losses(setup, splits, shifts(job.task)))
    if chosen.watch_forgetting:
        job = replace(job, before=before(setup, own_head=not job.base["new"]), general=chosen.general)
    return job
