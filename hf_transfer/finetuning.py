"""`finetune`: the one way from a checkpoint and a data set to a run folder. Recipes and Python both take it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.flags.yields import contradictions, settle
from hf_transfer.hardware import check_world, on_cpu, use_threads
from hf_transfer.limits import check_arguments, check_disk, check_metrics, check_optimizer, choose_best
from hf_transfer.models import adapted, in_fp32, loaded, new_parameters
from hf_transfer.problems import Problem, Problems
from hf_transfer.run import (
    MARKER,
    PREDICTIONS,
    RESULTS,
    Run,
    check_folder,
    check_resumed,
    claim,
    files_before,
    write_json,
)
from hf_transfer.strategies.freezing import check_peft
from hf_transfer.strategies.lora import adapter_notes
from hf_transfer.strategies.phases import Phase, learning_rate_for, phases
from hf_transfer.training_fields import training_fields

if TYPE_CHECKING:
    from hf_transfer.assess import Assessment
    from hf_transfer.data import Data
    from hf_transfer.tasks.task import Task
    from hf_transfer.trainer import Objective
    from hf_transfer.training import Setup

# What needs torch is imported inside the functions: `from hf_transfer import finetune` stays quick, and so does --help.


def finetune(
    task: Task | str,
    model: Any,
    dataset: Any = None,
    *,
    processor: Any = None,
    args: Any = None,
    strategy: str | Sequence[Phase] = "full",
    peft_config: Any = None,
    callbacks: Sequence[Any] = (),
    metrics: Sequence[Any] | None = None,
    seed: int | None = None,
    layer_decay: float | None = None,
    head_learning_rate: float | None = None,
    early_stopping_patience: int | None = None,
    max_length: int | None = None,
    cpu_threads: int | None = None,
    overwrite_output_dir: bool = False,
    base_model_id: str | None = None,
    skip_reload_check: bool = False,
    recipe: str | None = None,
    notes: Sequence[str] = (),
    objective: Objective | None = None,
    **data_options: Any,
) -> Run:
    """Fine-tune a pretrained model for a task and leave a run folder behind.

    Args:
        task: a `Task`, or the Hub's pipeline tag: `"text-classification"`, `"image-classification"`.
        model: a Hub id, a folder, or a model that an Auto class made with as many labels as the data has.
        dataset: `Data` from `hf_transfer.data.load`, or anything that `load` takes: a Hub id, file or folder, a
            Dataset or DatasetDict, a DataFrame, a list of dicts, `(texts, labels)`.
        processor: tokenizer or image processor; by default the one beside the model.
        args: TrainingArguments, or a dict of those that should differ from `default_arguments`.
        strategy: what learns, and when: `full`, `feature-extraction`, `partial:N`, `two-phase`, or a list of `Phase`.
        peft_config: a `peft` config such as `LoraConfig(r=8)`; targets and head modules are found if left open.
        callbacks: further TrainerCallbacks, used in every phase.
        metrics: further `evaluate` metrics by name, path, Hub id or object.
        seed: overrides that of `args`.
        layer_decay: each layer group learns at this factor of the one above it; head_learning_rate: the head's own.
        early_stopping_patience: evaluations without a better best metric before a phase ends.
        max_length: tokens a text is cut at; by default chosen from the lengths found.
        cpu_threads: threads on a CPU; by default all cores.
        overwrite_output_dir: delete what an earlier run wrote into the folder.
        base_model_id: Hub id that the card names as base model when `model` is a folder.
        skip_reload_check: do not load the saved model in a fresh process and compare its scores.
        recipe, notes: name of the script that calls, and sentences for the plan.
        objective: `(model, inputs) -> (loss, outputs)` in place of the model's own loss.
        **data_options: the keyword arguments of `load` (`label_column=...`, `validation_size=...`).

    Returns:
        The finished `Run`.

    Raises:
        Problems: wrong data or arguments, found before training starts and before anything is written.
    """
    from hf_transfer import plan as show
    from hf_transfer.assess import assess
    from hf_transfer.data import Data, load
    from hf_transfer.evaluation.classification import headline
    from hf_transfer.record import make_plan, next_commands
    from hf_transfer.tasks import find
    from hf_transfer.training import start_of, train, what_is_safe

    task = find(task) if isinstance(task, str) else task
    seed = (
        seed
        if seed is not None
        else args.get("seed")
        if isinstance(args, dict)
        else getattr(args, "seed", None)
    )
    drawn: dict[str, Any] = {} if seed is None else {"seed": seed}
    data = dataset if isinstance(dataset, Data) else load(task, dataset, **(drawn | data_options))
    args, gave_way = _arguments(args, task, strategy, peft_config, seed, len(data.splits.get("train", ())))
    check_world(args.world_size)
    check_arguments(args, data.problem_type)
    choose_best(args, data.problem_type, headline(data.problem_type), early_stopping_patience, metrics)
    check_metrics(metrics, data.problem_type, len(data.labels))
    use_threads(cpu_threads)
    resume, start = _resume(args)
    check_folder(Path(args.output_dir), resume=resume, overwrite=overwrite_output_dir)
    model, processor = loaded(task, model, processor, data, args.seed)
    new = new_parameters(model)
    notes = [*notes, *gave_way, *in_fp32(model), *task.fit(processor, model)]
    prepared = task.prepare(data, processor, model, max_length)
    base = {"name": model.config._name_or_path, "class": type(model).__name__, "new": new}
    model = adapted(model, peft_config, args.seed)
    notes += adapter_notes(model) if peft_config is not None else []
    setup = _setup(
        task, model, data, prepared, processor, args, strategy, layer_decay, head_learning_rate, metrics
    )
    setup.callbacks, setup.early_stopping_patience = callbacks, early_stopping_patience
    setup.objective = objective or setup.objective
    begun = {
        "fingerprint": data.source["fingerprint"],
        "seed": args.seed,
        "strategy": " + ".join(phase.name for phase in setup.phases),
        "peft": setup.is_peft,
    }
    if resume:
        check_resumed(Path(args.output_dir), begun)
        notes.append(start_of(setup, start))
    check_disk(Path(args.output_dir), model, args)
    check_optimizer(args, model)
    plan = make_plan(setup, task, data, base, recipe, strategy, notes)
    _wait(args)  # a process that is late must find the folder as it was, and not the run that begins here
    if args.process_index == 0:
        show.print_plan(plan)
        before = files_before(Path(args.output_dir)) if resume else None
        found_there = claim(Path(args.output_dir), overwrite=overwrite_output_dir and not resume)
        write_json(
            Path(args.output_dir) / MARKER, begun | {"before": found_there if before is None else before}
        )
    ledger = train(setup, resume, start) if args.do_train else []
    splits = [
        s for s, on in (("validation", args.do_eval), ("test", args.do_predict)) if on and s in data.splits
    ]
    try:
        found = assess(
            model.to(args.device),
            data,
            prepared,
            setup.collator,
            splits,
            batch_size=args.per_device_eval_batch_size,
            extra=tuple(metrics or ()),
            world=(args.process_index, args.world_size),
        )
        run = Run(args.output_dir, _train_results(ledger) | found.results)
        if args.process_index == 0:
            _finish(
                run,
                setup,
                task,
                data,
                found,
                ledger,
                plan,
                base,
                base_model_id,
                peft_config,
                skip_reload_check,
            )
            show.print_results(
                run.metrics, headline(data.problem_type), run.output_dir, next_commands(recipe, run, task)
            )
    except BaseException as error:
        if ledger:
            error.safe = what_is_safe(setup)  # type: ignore[attr-defined]  # said last, by exits.command
        raise
    _wait(args)
    return run


def default_arguments(
    strategy: str | Sequence[Phase] = "full", peft: bool = False, rows: int = 0
) -> dict[str, Any]:
    """The training arguments that `finetune` starts from; the recipes set the same in plain sight.

    Args:
        rows: training rows; small sets get more epochs, because three of theirs are too few steps to learn from.
    """
    return {
        "learning_rate": learning_rate_for(strategy if isinstance(strategy, str) else "full", peft),
        "weight_decay": 0.01,
        "warmup_steps": 0.06,
        "num_train_epochs": min(20, max(3, round(8000 / rows))) if rows else 3,
        "per_device_train_batch_size": 32,
        "per_device_eval_batch_size": 64,
        "train_sampling_strategy": "group_by_length",
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "restore_callback_states_from_checkpoint": True,
        "logging_steps": 10,
        **on_cpu(),
    }


# The arrows of the way, in their order.


def _arguments(
    args: Any, task: Task, strategy: Any, peft_config: Any, seed: int | None, rows: int
) -> tuple[Any, list[str]]:
    """TrainingArguments from an object, a dict or nothing, and a sentence for each default that gave way."""
    from transformers import TrainingArguments

    notes: list[str] = []
    if args is None or isinstance(args, dict):
        asked = dict(args or {})
        if against := contradictions(asked):
            raise Problems(*against)
        stages = {"do_train": True, "do_eval": True, "do_predict": True}
        given = {"output_dir": free_folder(task.name), "disable_tqdm": False, **stages}
        defaults = default_arguments(strategy, peft_config is not None, rows)
        if "text" not in task.inputs:
            del defaults["train_sampling_strategy"]  # images are of one size
        values = {**given, **defaults, **asked}
        notes = settle(values, asked, training_fields())
        args = TrainingArguments(**values)
    elif not args.do_train and not args.do_predict and args.do_eval == (args.eval_strategy != "no"):
        # As transformers leaves them where nobody named a stage: there they are for scripts, and Trainer reads none.
        args.do_train = args.do_eval = args.do_predict = True
    if args.hub_token:
        raise Problems(
            Problem(
                "hub_token",
                "a token in the arguments would be saved with them",
                "use HF_TOKEN or hf auth login",
            )
        )
    if seed is not None:
        args.seed = seed
    return args, notes


def free_folder(name: str) -> str:
    """`outputs/<name>`, or with the next free number."""
    number, folder = 1, Path("outputs") / name
    while folder.exists():
        number += 1
        folder = Path("outputs") / f"{name}-{number}"
    return str(folder)


def _resume(args: Any) -> tuple[bool, Path | None]:
    """Whether to resume, and from which checkpoint if one was named."""
    asked = args.resume_from_checkpoint
    if asked in (None, False, "false", "False", ""):
        return False, None
    if not args.do_train:  # the model of the run would be replaced by one that has learned nothing
        mend = "to measure a run again, give its folder as --model_name_or_path and another --output_dir"
        raise Problems(
            Problem("--resume_from_checkpoint", "there is nothing to go on with under --do_train false", mend)
        )
    if asked in (True, "true", "True"):
        return True, None
    path = Path(asked)
    if not path.is_dir():
        raise Problems(
            Problem("--resume_from_checkpoint", f"there is no folder {asked}", "give true for the newest")
        )
    from hf_transfer.trainer import complete

    if not complete(path):
        what = f"{asked} is no whole checkpoint: its state, optimizer or weights are missing"
        raise Problems(Problem("--resume_from_checkpoint", what, "give true for the newest whole one"))
    return True, path


def _setup(
    task: Task,
    model: Any,
    data: Data,
    prepared: Any,
    processor: Any,
    args: Any,
    strategy: Any,
    layer_decay: float | None,
    head_learning_rate: float | None,
    metrics: Any,
) -> Setup:
    from dataclasses import replace

    from hf_transfer.evaluation.classification import compute
    from hf_transfer.training import Setup

    groups = _groups(model, strategy, layer_decay)
    planned = [
        replace(
            phase,
            layer_decay=phase.layer_decay if phase.layer_decay is not None else layer_decay,
            head_learning_rate=phase.head_learning_rate
            if phase.head_learning_rate is not None
            else head_learning_rate,
        )
        for phase in phases(strategy, groups)
    ]
    for phase in planned:
        check_peft(groups, phase.learns, hasattr(model, "peft_config"))
    size = max(1, len(data.labels))
    return Setup(
        model=model,
        groups=groups,
        phases=planned,
        trainable=frozenset(name for name, parameter in model.named_parameters() if parameter.requires_grad),
        args=args,
        prepared=prepared,
        collator=task.collator(processor),
        processor=processor,
        compute_metrics=lambda found: compute(
            data.problem_type, found.predictions, found.label_ids, num_labels=size, extra=tuple(metrics or ())
        ),
    )


def _groups(model: Any, strategy: Any, layer_decay: float | None) -> Any:
    """The model's layer groups; a model whose layers have no order that could be found can still learn as a whole."""
    from hf_transfer.anatomy import LayerGroup, layer_groups

    try:
        return layer_groups(model)
    except Problems:
        if strategy != "full" or layer_decay is not None:
            raise
    parameters, buffers = (
        tuple(name for name, _ in found) for found in (model.named_parameters(), model.named_buffers())
    )
    return [LayerGroup("model", parameters, buffers)]


def _train_results(ledger: list[dict[str, Any]]) -> dict[str, float]:
    """Totals over phases; evaluation and saving are left out of the time."""
    if not ledger:
        return {}
    seconds, samples = sum(p["seconds"] for p in ledger), sum(p["samples"] for p in ledger)
    steps = sum(p["steps"] for p in ledger)
    return {
        "train_loss": sum(p["train_loss"] * p["steps"] for p in ledger) / max(1, steps),
        "train_runtime": seconds,
        "train_samples_per_second": samples / max(seconds, 1e-6),
    }


def _finish(
    run: Run,
    setup: Setup,
    task: Task,
    data: Data,
    found: Assessment,
    ledger: list[dict[str, Any]],
    plan: dict[str, Any],
    base: dict[str, Any],
    base_model_id: str | None,
    peft_config: Any,
    skip_reload_check: bool,
) -> None:
    """Save the model, prove it, write the record, the report and the card."""
    from hf_transfer.record import write_record
    from hf_transfer.report import write_card, write_report
    from hf_transfer.saving import check_saved, reference, save

    folder = Path(run.output_dir)
    trained = None if skip_reload_check else reference(setup, data, found)
    run._model, run._processor = save(setup, folder, found.thresholds, base), setup.processor
    write_json(folder / RESULTS, run.metrics)
    if found.predictions is not None:
        found.predictions.to_parquet(folder / PREDICTIONS)
    proof = None if trained is None else check_saved(run, setup, task, data, trained, base)
    write_record(setup, task, data, found, ledger, plan, base, base_model_id, peft_config, proof)
    write_report(folder)
    write_card(folder)
    (folder / MARKER).unlink(missing_ok=True)


def _wait(args: Any) -> None:
    """No rank leaves before the first has written everything."""
    if args.world_size > 1 and "RANK" in os.environ:
        import torch.distributed as dist

        dist.barrier()
