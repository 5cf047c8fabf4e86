"""After training: measure, save, prove, record, report, push."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.hub.access import Access
from hf_transfer.hub.push import push
from hf_transfer.ranks import from_first, wait
from hf_transfer.run import Run
from hf_transfer.run_folder import MARKER, PREDICTIONS, RESULTS, write_json

if TYPE_CHECKING:
    from hf_transfer.assess import Assessment
    from hf_transfer.data import Data
    from hf_transfer.forgetting import Before
    from hf_transfer.probing import Probe
    from hf_transfer.scratch import Scratch
    from hf_transfer.tasks.task import Task
    from hf_transfer.training.setup import Setup

NO_FIT = "--forgetting_file was not used: the trained backbone does not fit the checkpoint's head for masked words."


@dataclass(frozen=True)
class Job:
    """A run as it was asked for: what its end needs to know beside what was trained."""

    task: Task
    data: Data
    setup: Setup
    base: dict[str, Any]  # of the pretrained model: name, class, parameters it lacked
    plan: dict[str, Any]
    recipe: str | None
    metrics: Sequence[Any]
    peft_config: Any
    base_model_id: str | None
    skip_reload_check: bool
    hub: Access | None = None  # where to push, as checked before training
    probe: Probe | None = None  # a solved head on the untouched checkpoint
    scratch: Scratch | None = None  # the same model, trained from random weights
    before: Before | None = None  # the untouched checkpoint, where forgetting is watched
    general: Sequence[str] = ()  # lines of text that the checkpoint's language model is asked about
    untouched: dict[str, Any] = field(
        default_factory=dict
    )  # its token losses per split, for language modelling


def finish(job: Job, ledger: list[dict[str, Any]]) -> Run:
    """Measure the trained model, save it, prove that it was saved, write record, report and card, push.

    Args:
        job: the run.
        ledger: its phases, from `training.train`; empty if nothing was trained.

    Raises:
        RuntimeError: the saved model is not the trained one; `safe` on any error says what is safe on disk.
        NotPushed: everything is on disk, but the push that was asked for failed.
    """
    from hf_transfer.assess import PREFIX
    from hf_transfer.forgetting import after
    from hf_transfer.probing import beside_results
    from hf_transfer.training.train import what_is_safe

    args, data = job.setup.args, job.data
    try:
        found = _measured(job)
        found.results |= beside_results(data, "probe", job.probe.logits if job.probe else {}, PREFIX)
        found.results |= beside_results(data, "scratch", job.scratch.logits if job.scratch else {}, PREFIX)
        found.forgetting = after(job.setup, job.before) if job.before else None
        run = Run(args.output_dir, _train_results(ledger) | found.results)
        if args.process_index == 0:
            _write(run, job, found, ledger)
    except BaseException as error:
        if ledger:
            error.safe = what_is_safe(job.setup, error)  # type: ignore[attr-defined]  # said last, by exits.command
        raise
    wait(args)  # no rank leaves before the first has written everything
    if (hub := job.hub) is not None:
        from_first(args, lambda: push(run.output_dir, hub.push))
    return run


def _measured(job: Job) -> Assessment:
    """How good the trained model is."""
    from hf_transfer.assess import assess
    from hf_transfer.language import assess_language, shifts

    args, splits = job.setup.args, measured_splits(job.setup.args, job.data)
    if not job.task.target:
        return assess_language(job.setup, job.data, splits, shifts(job.task), job.untouched)
    return assess(
        job.setup.model.to(args.device),
        job.data,
        job.setup.prepared,
        job.setup.collator,
        splits,
        batch_size=args.per_device_eval_batch_size,
        extra=tuple(job.metrics),
        world=(args.process_index, args.world_size),
    )


def measured_splits(args: Any, data: Data) -> list[str]:
    """The splits that the end of a run measures."""
    asked = (("validation", args.do_eval), ("test", args.do_predict))
    return [split for split, on in asked if on and split in data.splits]


def _write(run: Run, job: Job, found: Assessment, ledger: list[dict[str, Any]]) -> None:
    """Everything that the first process leaves in the run folder, and the table of results."""
    from hf_transfer.evaluation.classification import headline
    from hf_transfer.forgetting import add_weights
    from hf_transfer.plan import print_results
    from hf_transfer.record import next_commands, write_record
    from hf_transfer.report import write_card, write_report
    from hf_transfer.saved import placed
    from hf_transfer.saving import check_saved, reference, save
    from hf_transfer.scratch import forget
    from hf_transfer.shift.settling import warnings_after
    from hf_transfer.validated import chosen_on_validation
    from hf_transfer.verdicts import verdicts
    from hf_transfer.voting import votes

    folder = Path(run.output_dir)
    trained = None if job.skip_reload_check else reference(job, found)
    unused_of = "" if job.task.target else job.base["name"]
    run._model, run._processor = save(job.setup, found.thresholds, unused_of), job.setup.processor
    if found.forgetting and job.before:
        plain = run._model.base if votes(job.setup) else run._model
        add_weights(found.forgetting, job.before, plain)
        if job.general:
            found.forgetting["masked_lm"] = loss = _language_loss(job, plain)
            job.plan["notes"] += [] if loss else [NO_FIT]
    write_json(folder / RESULTS, run.metrics)
    if found.predictions is not None:
        with placed(folder) as beside:
            found.predictions.to_parquet(beside / PREDICTIONS)
    proof = None if trained is None else check_saved(job, trained)
    poor = [*warnings_after(ledger), *verdicts(job, found)]
    if job.scratch:
        forget(folder)
    job.plan["warnings"] += poor  # for the report and the limits in the card
    chosen = chosen_on_validation(job.setup, found, ledger)
    write_record(job, found, ledger, proof, chosen)
    write_report(folder)
    write_card(folder)
    (folder / MARKER).unlink(missing_ok=True)
    moved = any(not entry.get("solved") for entry in ledger)
    commands = next_commands(job.recipe, run, job.task, moved)
    masked, drawn = job.task.name == "fill-mask", not job.task.target and bool(job.base["new"])
    name = headline(job.data.problem_type)
    print_results(run.metrics, name, run.output_dir, commands, poor, masked, drawn, chosen)


def _language_loss(job: Job, model: Any) -> dict[str, Any] | None:
    """That of the saved model; None for an adapter beside the weights, which has no language model to answer with."""
    from hf_transfer.adapters import has_only_adapter
    from hf_transfer.general_text import language_loss

    if has_only_adapter(job.setup.folder):
        return None
    return language_loss(job.base["name"], model, job.setup.processor, list(job.general))


def _train_results(ledger: list[dict[str, Any]]) -> dict[str, float]:
    """Totals over phases; evaluation and saving are left out of the time."""
    if not ledger:
        return {}
    seconds, samples = sum(p["seconds"] for p in ledger), sum(p["samples"] for p in ledger)
    steps = [p["steps"] for p in ledger] if any(p["steps"] for p in ledger) else [1] * len(ledger)
    return {
        "train_loss": sum(p["train_loss"] * n for p, n in zip(ledger, steps, strict=True)) / sum(steps),
        "train_runtime": seconds,
        "train_samples_per_second": samples / max(seconds, 1e-6),
    }
