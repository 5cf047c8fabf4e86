"""From phases to a trained model: each phase in a Trainer of its own, entered in a ledger when it is done."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from hf_transfer.adapters import adapter_of, restore_adapter, save_adapter
from hf_transfer.again import goes_on
from hf_transfer.final_weights import averaged_end, state_before
from hf_transfer.loading import load_weights, quiet
from hf_transfer.problems import Diverged, Problem, Problems
from hf_transfer.progress import EvaluationClock
from hf_transfer.ranks import wait
from hf_transfer.run_folder import HISTORY, PHASES, read_json, write_json
from hf_transfer.saved import newest_checkpoint, placed
from hf_transfer.shift.pseudo_labels import joined
from hf_transfer.shift.settling import entry_of
from hf_transfer.signals import Stopped, stopping
from hf_transfer.strategies.freezing import freeze
from hf_transfer.strategies.soups import CANDIDATES
from hf_transfer.training.ledger import (
    best_of,
    phase_entry,
    planned_steps,
    rows_seen,
    train_loss,
    write_history,
)
from hf_transfer.training.phase import phase_trainer
from hf_transfer.training.setup import Setup, phase_folder, phase_weights
from hf_transfer.training.writing import tidy
from hf_transfer.voting import solve_by_vote, take_up


def train(setup: Setup, resume: bool = False, checkpoint: Path | None = None) -> list[dict[str, Any]]:
    """Run every phase that the ledger does not hold yet; the model ends with the last phase's best weights.

    Returns:
        The ledger: per phase what learned, for how long, at which rates (the content of `phases.json`).
    """
    try:
        return _train(setup, resume, checkpoint)
    except BaseException as error:
        error.safe = what_is_safe(setup, error)  # type: ignore[attr-defined]  # said last, by exits.command
        raise


def what_is_safe(setup: Setup, error: BaseException | None = None) -> str:
    """The newest whole checkpoint of the run and how to go on from it."""
    folders = [phase_folder(setup, number) for number in range(len(setup.phases), 0, -1)]
    newest = next((found for folder in folders if (found := newest_checkpoint(folder)) is not None), None)
    done = len(read_json(setup.folder / PHASES)) if (setup.folder / PHASES).is_file() else 0
    if newest is None and not done:
        return "No checkpoint had been saved yet: run the same command again with --overwrite_output_dir."
    saved = (
        f"Safe on disk: {newest}" if newest else f"Safe on disk: {done} finished phase(s) in {setup.folder}"
    )
    if isinstance(error, Diverged):  # what goes on from there, with the same flags, comes to the same
        return f"{saved}\nOther flags make another run: start it with --overwrite_output_dir, or in another folder."
    if setup.command:
        return f"{saved}\nGo on with:\n  {goes_on(setup.command, setup.folder)}"
    again = f"output_dir={str(setup.folder)!r} and resume_from_checkpoint=True"
    return f"{saved}\nGo on with the same call and, in its training arguments, {again}"


def _train(setup: Setup, resume: bool, checkpoint: Path | None) -> list[dict[str, Any]]:
    ledger = read_json(setup.folder / PHASES) if resume and (setup.folder / PHASES).is_file() else []
    if ledger and setup.phases[len(ledger) - 1].solve == "knn":
        take_up(setup, phase_weights(setup, len(ledger)))
    elif ledger:
        restore(setup.model, phase_weights(setup, len(ledger)))
    for number in range(len(ledger) + 1, len(setup.phases) + 1):
        start = (checkpoint or newest_checkpoint(phase_folder(setup, number))) if resume else None
        ledger.append(_run_phase(setup, number, start))
        checkpoint = None
        if setup.args.should_save:
            write_json(setup.folder / PHASES, ledger)
            shutil.rmtree(phase_folder(setup, number) / CANDIDATES, ignore_errors=True)
    return ledger


def start_of(setup: Setup, checkpoint: Path | None) -> str:
    """Where a resumed run goes on, as a sentence for the plan.

    Raises:
        Problems: the named checkpoint is another phase's than the one to go on with.
    """
    done = len(read_json(setup.folder / PHASES)) if (setup.folder / PHASES).is_file() else 0
    others = [n for n in range(1, len(setup.phases) + 1) if n != done + 1 and len(setup.phases) > 1]
    if checkpoint and checkpoint.parent.resolve() in [phase_folder(setup, n).resolve() for n in others]:
        what = f"{checkpoint} is not of phase {done + 1}, with which the run goes on"
        raise Problems(Problem("--resume_from_checkpoint", what, "give true for the newest"))
    if done >= len(setup.phases):
        return "Training was finished already: nothing is trained again, only evaluated and saved."
    found = checkpoint or newest_checkpoint(phase_folder(setup, done + 1))
    if found is not None:
        return f"The run goes on from {found}."
    return (
        f"The run goes on after phase {done}." if done else "No whole checkpoint was found: it starts again."
    )


def _step_of(checkpoint: Path | None) -> int:
    """The optimizer step after which a checkpoint was written; 0 without one."""
    return int(read_json(checkpoint / "trainer_state.json")["global_step"]) if checkpoint else 0


def save_weights(model: Any, folder: Path) -> None:
    """Save a model, or its adapter, beside and move it into `folder`: what stands there is whole at every moment."""
    with placed(folder) as beside, quiet():
        if adapter_of(model) is not None:
            save_adapter(model, beside)
        else:
            model.save_pretrained(str(beside))


def restore(model: Any, folder: Path) -> None:
    """Load a finished phase's weights into the model, an adapter's into its adapter."""
    if adapter_of(model) is not None:
        restore_adapter(model, folder)
    else:
        load_weights(model, folder)


def _run_phase(setup: Setup, number: int, checkpoint: Path | None) -> dict[str, Any]:
    if setup.phases[number - 1].solve:
        return _solve_phase(setup, number)
    setup.features.clear()  # what is trained changes them
    last = number == len(setup.phases) and setup.shift.threshold is not None
    more = joined(setup, phase_folder(setup, number), checkpoint is not None) if last else None
    trainer = phase_trainer(setup, number, more)
    start = state_before(setup, number)
    begun = _step_of(checkpoint)  # read now: the checkpoint may be rotated away
    if begun:
        trainer.args.eval_on_start = False
    started = time.monotonic()
    clock = EvaluationClock()
    trainer.add_callback(clock)
    with stopping() as stop:
        trainer.add_callback(stop)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if stop.number is not None:
        raise Stopped(stop.number)
    seconds = max(1e-6, time.monotonic() - started - clock.seconds)
    model = setup.model = trainer.plain_model()
    entry = phase_entry(setup, number, trainer.args, planned_steps(trainer))
    entry |= {
        "seconds": round(seconds, 3),
        "samples": rows_seen(trainer, begun),
        "train_loss": train_loss(trainer, begun),
        "epochs": trainer.state.epoch,
        "steps": trainer.state.global_step,
        "best": best_of(trainer),
        "stopped_early": trainer.state.global_step < trainer.state.max_steps,
    }
    entry |= entry_of(setup, trainer)
    entry |= {"pseudo_labels": more.facts} if more else {}
    entry |= averaged_end(setup, number, trainer, phase_folder(setup, number), start)
    if setup.args.should_save:
        tidy(trainer)
        write_history(setup.folder / HISTORY, number, trainer.state.log_history)
        save_weights(model, phase_weights(setup, number))
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.free_memory()
    return entry


def _solve_phase(setup: Setup, number: int) -> dict[str, Any]:
    """A phase without steps: nothing is lost where it is interrupted, it takes seconds and begins again."""
    from hf_transfer.solving import solve

    phase = setup.phases[number - 1]
    freeze(setup.model, setup.groups, phase.learns, setup.trainable)
    facts, logits = solve_by_vote(setup) if phase.solve == "knn" else solve(setup, phase)
    entry = phase_entry(setup, number, setup.args)
    entry |= {"seconds": facts["seconds"], "samples": facts["rows"], "train_loss": facts["train_loss"]}
    entry |= {"epochs": 0, "steps": 0, "best": None, "stopped_early": False, "solved": facts}
    log: dict[str, Any] = {"epoch": 0, "step": 0}
    if logits is not None and setup.args.eval_strategy != "no":
        labels = np.asarray(setup.prepared.splits["validation"]["labels"])
        measured = setup.compute_metrics(SimpleNamespace(predictions=logits, label_ids=labels))
        log |= {f"eval_{name}": value for name, value in measured.items()} | {"eval_loss": facts["eval_loss"]}
    if setup.args.should_save:
        write_history(setup.folder / HISTORY, number, [log])
        save_weights(setup.model, phase_weights(setup, number))
    wait(setup.args)
    return entry
