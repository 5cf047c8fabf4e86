"""What is written down of a phase: its entry in the plan and the ledger, its lines in the history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.anatomy import HEAD, is_copy
from hf_transfer.run_folder import write_text
from hf_transfer.strategies.rates import decay_names, group_rates

if TYPE_CHECKING:
    from hf_transfer.training.setup import Setup
    from hf_transfer.training.trainer import PhaseTrainer


def phase_entry(setup: Setup, number: int, args: Any, steps: int = 0) -> dict[str, Any]:
    """What the plan shows before and the ledger keeps after: groups, sizes, rates, schedule.

    Args:
        args: the phase's arguments.
        steps: that it will take, for the warmup.
    """
    phase = setup.phases[number - 1]
    rates = {} if phase.solve else group_rates(setup.groups, phase, setup.args.learning_rate)
    parameters = dict(setup.model.named_parameters())
    decayed = decay_names(setup.model)
    rows = []
    for group in setup.groups:
        some = group.parameters if phase.solve != "knn" else ()  # where neighbours vote, nothing learns
        learning = [name for name in some if parameters[name].requires_grad]
        rows.append(
            {
                "name": group.name,
                "parameters": sum(parameters[name].numel() for name in group.parameters if not is_copy(name)),
                "learning": sum(parameters[name].numel() for name in learning),
                "learns": bool(learning),
                "learning_rate": rates.get(group.name) if learning else None,
                "decayed": sum(parameters[name].numel() for name in learning if name in decayed),
                "head": group.name == HEAD,
            }
        )
    if phase.solve:
        return {"name": phase.name, "solve": phase.solve, "groups": rows}
    return {
        "name": phase.name,
        "learning_rate": args.learning_rate,
        "optimizer": str(getattr(args.optim, "value", args.optim)),
        "schedule": str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
        "weight_decay": args.weight_decay,
        "warmup_steps": args.get_warmup_steps(steps),
        "groups": rows,
    }


def planned_steps(trainer: PhaseTrainer) -> int:
    """Optimizer steps that a phase will take."""
    args = trainer.args
    if args.max_steps > 0:
        return args.max_steps
    batches = len(trainer.get_train_dataloader())
    per_epoch = max(1, -(-batches // args.gradient_accumulation_steps))
    return max(1, -int(-args.num_train_epochs * per_epoch // 1))


def train_loss(trainer: PhaseTrainer, begun: int) -> float:
    """Mean loss over all steps of the phase; over those since it was resumed where the checkpoint does not tell.

    Stock tells the mean since then only, or, in older versions, that sum divided by all steps.
    """
    steps = trainer.state.global_step - (0 if trainer.recalled else begun)
    return float(trainer._total_loss_scalar) / max(1, steps)


def rows_seen(trainer: PhaseTrainer, begun: int) -> int:
    """Rows seen by this process's part of the phase (a resumed one counts from where it went on), all ranks together."""
    steps = trainer.state.global_step - begun
    total = steps * trainer.get_total_train_batch_size(trainer.args)
    rows = len(trainer.train_dataset)  # type: ignore[arg-type]
    return min(total, int(rows * (trainer.state.epoch or 0)) or total)


def best_of(trainer: PhaseTrainer) -> dict[str, Any] | None:
    """Metric, value and step that the phase's weights were chosen by; None where nothing was measured."""
    state = trainer.state
    if state.best_metric is None:
        return None
    return {
        "metric": trainer.args.metric_for_best_model,
        "value": state.best_metric,
        "step": state.best_global_step,
    }


def write_history(path: Path, number: int, log: list[dict[str, Any]]) -> None:
    """Put a phase's log behind those of the phases before it (its own, from an interrupted try, is replaced)."""
    kept = (
        [line for line in path.read_text().splitlines() if json.loads(line)["phase"] < number]
        if path.is_file()
        else []
    )
    own = [json.dumps({"phase": number, **row}) for row in log if "train_runtime" not in row]
    write_text(path, "".join(line + "\n" for line in [*kept, *own]))
