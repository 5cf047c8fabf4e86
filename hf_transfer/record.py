"""What a run writes down about itself: the plan before, `run.json` after."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer import hardware
from hf_transfer.again import typed_command
from hf_transfer.anatomy import is_copy
from hf_transfer.data.texts import LANGUAGE
from hf_transfer.embedded import hub_id_of
from hf_transfer.evaluation.classification import headline
from hf_transfer.licenses import license_warnings
from hf_transfer.plan import duration, trial_step
from hf_transfer.run_folder import MARKER, RUN, read_json, write_json
from hf_transfer.strategies.peft_methods import merges, name_of
from hf_transfer.training.checkpoints import revision_of
from hf_transfer.training.resuming import begun_with
from hf_transfer.voting import votes

if TYPE_CHECKING:
    from hf_transfer.assess import Assessment
    from hf_transfer.data import Data
    from hf_transfer.finishing import Job
    from hf_transfer.run import Run
    from hf_transfer.tasks.task import Task
    from hf_transfer.training.setup import Setup

SHIPPED = ("everyday_sentiment",)  # data that come with the package


def make_plan(
    setup: Setup,
    task: Task,
    data: Data,
    base: dict[str, Any],
    recipe: str | None,
    strategy: Any,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The plan as plain data: a title, facts, a table per phase, notes and warnings."""
    entries, seconds, unread = _planned_phases(setup)
    facts = _facts(setup, data, base, strategy, _expected(seconds) if entries else "no training")
    licences = license_warnings(base.get("license"), data.source["license"], published=setup.args.push_to_hub)
    return {
        "title": _title(task, data),
        "recipe": recipe,
        "facts": facts | setup.prepared.plan,
        "phases": entries,
        "notes": list(notes),
        "warnings": [*data.audit["warnings"], *setup.prepared.warnings, *unread, *licences],
        "expected_seconds": seconds,
    }


def _title(task: Task, data: Data) -> str:
    """The task and the data, as it is printed: a bracket in a file's name is no markup."""
    from rich.markup import escape

    return escape(f"{task.name.replace('-', ' ')} on {data.source['name']}")


def _expected(seconds: float) -> str:
    return f"about {duration(seconds * 1.15 + 5)} of training" if seconds else "not known"


def _planned_phases(setup: Setup) -> tuple[list[dict[str, Any]], float, list[dict[str, str]]]:
    """What each phase will do, the seconds that all of them will take, and warnings of what will not learn."""
    from hf_transfer.strategies.freezing import freeze
    from hf_transfer.training.ledger import phase_entry, planned_steps
    from hf_transfer.training.phase import phase_trainer

    entries: list[dict[str, Any]] = []
    seconds, warnings = 0.0, list[dict[str, str]]()
    for number, phase in enumerate(setup.phases, 1):
        if not setup.args.do_train:
            break
        if phase.solve:
            freeze(setup.model, setup.groups, phase.learns, setup.trainable)
            entries.append(phase_entry(setup, number, setup.args) | {"steps": 0})
            once = sum(
                len(setup.prepared.splits[s]) for s in ("train", "validation") if s in setup.prepared.splits
            )
            seconds += once / setup.args.per_device_train_batch_size * _tried(setup)[0]
            continue
        trainer = phase_trainer(setup, number)
        steps = planned_steps(trainer)
        entries.append(phase_entry(setup, number, trainer.args, steps) | {"steps": steps})
        freeze(setup.model, setup.groups, phase.learns, setup.trainable, phase.only)
        each, unread = _tried(setup)
        seconds += steps * setup.args.gradient_accumulation_steps * each
        warnings += [] if phase.pairs else _not_read(setup, phase.name, unread)
    return entries, seconds, warnings


def _not_read(setup: Setup, name: str, unread: set[str]) -> list[dict[str, str]]:
    """A warning where a whole layer group should learn, and the scores do not depend on it."""
    learns = {name for name, p in setup.model.named_parameters() if p.requires_grad}
    groups = [g.name for g in setup.groups if (own := learns.intersection(g.parameters)) and own <= unread]
    if not groups:
        return []
    what = f"{', '.join(groups)} got no gradient in a trial step: the scores do not depend on what should learn there"
    return [
        {"where": f"phase {name}", "what": what, "mend": "let other layers learn, as --strategy full does"}
    ]


def _facts(setup: Setup, data: Data, base: dict[str, Any], strategy: Any, expected: str) -> dict[str, Any]:
    """Model, data, strategy, machine and licences in words."""
    args, sizes = setup.args, {split: len(rows) for split, rows in data.splits.items()}
    described = hardware.describe(args.device, args.world_size)
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    return {
        "model": f"{hub_id_of(base['name']) or Path(base['name']).name} ({base['class']}, "
        f"{sum(p.numel() for name, p in setup.model.named_parameters() if not is_copy(name)):,} parameters)",
        **({"adapted on": base["adapted_on"]} if "adapted_on" in base else {}),
        "new": _new(setup, base),
        "data": f"{data.source['name']}: " + ", ".join(f"{n:,} {split}" for split, n in sizes.items()),
        **({} if data.problem_type == LANGUAGE else {"labels": _shortened(data.labels) or "a number"}),
        "strategy": (strategy if isinstance(strategy, str) else "own phases")
        + (" with PEFT" if setup.is_peft else ""),
        "batch": ("no steps: neighbours vote" if votes(setup) else "no steps: the head is solved")
        if all(phase.solve for phase in setup.phases)
        else f"{batch} rows a step"
        + (
            f" = {args.per_device_train_batch_size} x {args.gradient_accumulation_steps} accumulated x {args.world_size} processes"
            if batch != args.per_device_train_batch_size
            else ""
        ),
        "best model": _best(setup),
        "machine": f"{described['device']}, {_counted(described['threads'], 'thread')}, "
        f"{_counted(args.world_size, 'process')}, "
        + {"no": "fp32"}.get(args.mixed_precision, args.mixed_precision),
        "expected": expected,
        "folder": args.output_dir,
        "licences": f"{base.get('license') or 'not known'} (base model), {data.source['license'] or 'not known'} (data)",
    }


def _best(setup: Setup) -> str:
    if setup.phases[-1].solve:
        return "the vote of neighbours" if votes(setup) else "the one with the solved head"
    patience = setup.early_stopping_patience
    stops = f"; stops after {_counted(patience, 'evaluation')} without a better one" if patience else ""
    return (
        f"by {setup.args.metric_for_best_model}" if setup.args.load_best_model_at_end else "the last one"
    ) + stops


def _counted(number: int, name: str) -> str:
    """`1 thread`, `2 processes`."""
    return f"{number} {name}" + ("" if number == 1 else "es" if name.endswith("s") else "s")


def _new(setup: Setup, base: dict[str, Any]) -> str:
    if votes(setup) and setup.args.do_train:
        return "nothing: neighbours vote in place of a head"
    return ", ".join(base["new"]) or "nothing: the checkpoint has this head"


def _tried(setup: Setup) -> tuple[float, set[str]]:
    """Seconds of one step on a batch of middling length, and what got no gradient in it."""
    import numpy as np
    import torch

    rows = setup.prepared.splits["train"]
    order = (
        np.argsort(setup.prepared.lengths["train"])
        if "train" in setup.prepared.lengths
        else np.arange(len(rows))
    )
    size = min(setup.args.per_device_train_batch_size, len(rows))
    middle = max(0, len(rows) // 2 - size // 2)
    picked = order[middle : middle + size].tolist()
    batch = setup.collator([rows[i] for i in picked])
    try:
        with torch.autocast(setup.args.device.type, dtype=torch.bfloat16, enabled=setup.args.bf16):
            return trial_step(setup.model.to(setup.args.device), dict(batch), setup.objective)
    except (
        torch.OutOfMemoryError
    ):  # checkpointing of activations, which training may use, is off in eval mode
        setup.model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        return 0.0, set()


def _shortened(labels: Sequence[str], most: int = 8) -> str:
    more = f" ... ({len(labels)} in all)" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more


def write_record(
    job: Job,
    found: Assessment,
    ledger: list[dict[str, Any]],
    proof: dict[str, Any] | None,
    chosen: Sequence[str] = (),
) -> None:
    """Write `run.json`, the last file of a run but for what is drawn from it.

    Args:
        chosen: what was chosen on validation.
    """
    setup, task, data, base, plan = job.setup, job.task, job.data, job.base, job.plan
    args = setup.args
    origin = base.get("origin") or {}  # of a checkpoint that was adapted in a run before this one
    hub_id = job.base_model_id or hub_id_of(base["name"]) or origin.get("id")
    audit = data.audit | {"lengths": setup.prepared.facts, "warnings": plan["warnings"]}
    record = {
        "format": 1,
        "task": task.name,
        "problem_type": data.problem_type,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "labels": list(data.labels),
        "headline": headline(data.problem_type),
        "recipe": plan["recipe"],
        "strategy": " + ".join(phase.name for phase in setup.phases),
        "peft": _peft(job.peft_config),
        "base_model": {
            "id": hub_id,
            "name": (hub_id or origin.get("name") or Path(base["name"]).name).rpartition("/")[2],
            "revision": revision_of(base["name"]) or origin.get("revision"),
            **({"adapted_on": base["adapted_on"]} if "adapted_on" in base else {}),
            **{key: base.get(key) for key in ("license", "license_name", "license_link")},
            "class": base["class"],
            "parameters": sum(row["parameters"] for row in ledger[0]["groups"]) if ledger else None,
            "new": base["new"],
        },
        "data": data.source | {"columns": data.columns, "audit": audit},
        "arguments": changed_arguments(args),
        "asked": {name: value for name, value in _plain(args).items() if name in setup.asked},
        "seed": args.seed,
        "versions": hardware.versions(),
        "hardware": hardware.describe(args.device, args.world_size),
        "world_size": args.world_size,
        "global_batch_size": args.per_device_train_batch_size
        * args.gradient_accumulation_steps
        * args.world_size,
        "global_step": sum(phase["steps"] for phase in ledger),
        "seconds": {"train": sum(phase["seconds"] for phase in ledger)},
        "evaluated_on": {("test" if split == "test" else "eval"): split for split in found.logits},
        "chosen_on_validation": list(chosen),
        "thresholds": found.thresholds,
        "pooling": setup.pooling,
        "probe_pooling": job.probe.pooling if job.probe else None,
        "scratch": job.scratch.facts if job.scratch else None,
        "reload_check": proof,
        "plan_notes": plan["notes"],
        "begun": begun_with(Path(args.output_dir)),
        "files": _written(Path(args.output_dir)),
        **({"forgetting": found.forgetting} if found.forgetting else {}),
    }
    write_json(Path(args.output_dir) / RUN, record)


def _written(folder: Path) -> list[str]:
    """Files of this run, for whoever overwrites it; not those that lay there before."""
    before = read_json(folder / MARKER).get("before", []) if (folder / MARKER).is_file() else []
    return sorted({path.name for path in folder.iterdir() if path.is_file()} - {*before, MARKER})


def changed_arguments(args: Any) -> dict[str, Any]:
    """Training arguments that differ from transformers' defaults, as JSON; folders and tokens left out."""
    defaults = {field.name: field.default for field in dataclasses.fields(args)}
    return {name: value for name, value in _plain(args).items() if value != defaults[name]}


def _plain(args: Any) -> dict[str, Any]:
    """All of them that are plain values."""
    private = ("output_dir", "hub_token", "logging_dir", "resume_from_checkpoint", "run_name")
    # transformers fills in those of the machine (accelerator_config, fsdp_config) itself
    told = ("lr_scheduler_kwargs", "gradient_checkpointing_kwargs", "liger_kernel_config")
    names = {field.name for field in dataclasses.fields(args)} - set(private)
    shown = {k: v for k, v in args.to_dict().items() if k in names}
    return {
        k: v for k, v in shown.items() if isinstance(v, (int, float, str, bool, list)) or (k in told and v)
    }


def _peft(peft_config: Any) -> dict[str, Any] | None:
    if peft_config is None:
        return None
    ranks = ("target_r", "init_r") if hasattr(peft_config, "target_r") else ("r",)  # AdaLoRA does not read r
    names = (
        *ranks,
        "lora_alpha",
        "lora_dropout",
        "use_rslora",
        "use_dora",
        "num_virtual_tokens",
        "reduction_factor",
    )
    kind = getattr(peft_config.peft_type, "value", str(peft_config.peft_type))
    chosen = {name: getattr(peft_config, name) for name in names if hasattr(peft_config, name)}
    return {"type": kind, "name": name_of(peft_config), "merged": merges(kind), **chosen}


def next_commands(recipe: str | None, run: Run, task: Task, trained: bool = True) -> dict[str, str]:
    """The commands that people want next; `trained` says whether any phase did, and did not solve a head alone."""
    folder = shlex.quote(run.output_dir)
    ours = run.record["data"]["name"] in SHIPPED
    text = '"An honest, moving film."' if ours else '"your text"'
    example = text if task.inputs[0] == "text" else "photo.jpg"
    if "text_pair" in run.record["data"]["columns"]:
        example = '"your text" "its pair"'
    if not task.target and recipe:
        return {}  # the recipe itself goes on to the task
    if not task.target:
        return {
            "a task from here": f"accelerate launch recipes/sentiment.py --model_name_or_path {folder} --train_file reviews.csv"
        }
    found = {"predict": f"hft predict {folder} {example}"}
    if recipe and ours:
        script = f"accelerate launch {shlex.quote(_script(recipe))}"
        found |= {
            "your own data": f"{script} --dataset_name reviews.csv",
            "another model": f"{script} --model_name_or_path <Hub id or folder>",
        }
    if recipe and run.record["peft"] is None and trained:
        named = any(word.lstrip("-").replace("-", "_").startswith("output_dir") for word in typed_command())
        found["LoRA"] = "the same command with --peft lora" + " and another --output_dir" * named
    return found


def _script(recipe: str) -> str:
    """The recipe's path as it was typed, a copy's too; where that is not known, the shipped one's."""
    typed = [word for word in typed_command() if word.endswith(".py") and Path(word).stem == recipe]
    return typed[0] if typed else f"recipes/{recipe}.py"
