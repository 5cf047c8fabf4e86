"""`finetune`: the one way from a checkpoint and a data set to a run folder. Recipes and Python both take it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.adaptation.base import adapted_base
from hf_transfer.assembling import make_setup, planned_phases
from hf_transfer.embedded import hub_id_of
from hf_transfer.finishing import Job, finish, measured_splits
from hf_transfer.hardware import check_world, half_precision_notes, use_threads
from hf_transfer.hub.access import checked_push
from hf_transfer.licenses import base_license
from hf_transfer.limits import check_arguments, check_disk, check_metrics, check_optimizer, choose_best
from hf_transfer.models import adapted, as_scored, fingerprint, in_fp32, loaded, new_parameters
from hf_transfer.problems import Problem, Problems
from hf_transfer.ranks import from_first, wait
from hf_transfer.run import (
    MARKER,
    Run,
    check_folder,
    claim,
    files_before,
    is_pooled,
    write_json,
)
from hf_transfer.strategies.peft_methods import kind_of, merges, name_of, peft_method
from hf_transfer.strategies.phases import AUTO, Phase
from hf_transfer.training.resuming import begun_with, check_resumed, keep_global_batch, settings
from hf_transfer.training_arguments import from_hub, resumed, training_arguments

if TYPE_CHECKING:
    from hf_transfer.strategies.regularization import Regularization
    from hf_transfer.tasks.task import Task
    from hf_transfer.training.trainer import Objective
# What needs torch is imported inside the functions: `from hf_transfer import finetune` stays quick, and so does --help.


def finetune(
    task: Task | str,
    model: Any,
    dataset: Any = None,
    *,
    processor: Any = None,
    args: Any = None,
    strategy: str | Sequence[Phase | Mapping[str, Any]] = "full",
    groups: Mapping[str, str] | None = None,
    peft_config: Any = None,
    callbacks: Sequence[Any] = (),
    metrics: Sequence[Any] | None = None,
    seed: int | None = None,
    layer_decay: float | None = None,
    head_learning_rate: float | None = None,
    loraplus_lr_ratio: float | None = None,
    early_stopping_patience: int | None = None,
    pooling: str | None = None,
    probe: bool = True,
    compare_scratch: bool = False,
    watch_forgetting: bool = False,
    forgetting_file: str | Path | None = None,
    max_length: int | None = None,
    cpu_threads: int | None = None,
    overwrite_output_dir: bool = False,
    base_model_id: str | None = None,
    skip_reload_check: bool = False,
    hub_adapter_only: bool = False,
    hub_include_report: bool = False,
    recipe: str | None = None,
    notes: Sequence[str] = (),
    objective: Objective | None = None,
    regularization: Regularization | None = None,
    target_file: Any = None,
    align: str | None = None,
    align_weight: float | None = None,
    pseudo_labels: float | bool | None = None,
    command: Sequence[str] = (),
    **data_options: Any,
) -> Run:
    """Fine-tune a pretrained model for a task and leave a run folder behind.

    Args:
        task: a `Task`, or the Hub's pipeline tag: `"text-classification"`, `"image-classification"`, or without labels
            `"fill-mask"`, `"text-generation"` (`language_modeling(model)` says which).
        model: a Hub id, a folder, or a model that an Auto class made with as many labels as the data has.
        dataset: `Data` from `hf_transfer.data.load`, or anything that `load` takes: a Hub id, file or folder, a
            Dataset or DatasetDict, a DataFrame, a list of dicts, `(texts, labels)`.
        processor: tokenizer or image processor; by default the one beside the model.
        args: TrainingArguments, or a dict of those that should differ from `default_arguments`.
        strategy: what learns, and when: `full`, `feature-extraction`, `partial:N`, `bitfit`, `norms`, `two-phase`,
            `lp-ft`, `gradual`, `prototypes`, `knn`, `ridge`, `contrastive`, `auto`, or a list of `Phase` or of mappings of its fields.
        groups: the layer groups named by hand, `{group: regex of parameter names}` in forward order, for a model whose
            order cannot be found.
        peft_config: a `peft` config such as `LoraConfig(r=8)`, or a method by name, such as `"ia3"` or `"houlsby"`
            (`strategies.peft_methods.METHODS`); targets and head modules are found if left open.
        callbacks: further TrainerCallbacks, used in every phase.
        metrics: further `evaluate` metrics by name, path, Hub id or object.
        seed: overrides that of `args`.
        layer_decay: each layer group learns at this factor of the one above it; head_learning_rate: the head's own.
        loraplus_lr_ratio: LoRA's second matrices learn that much faster than its first (LoRA+; 16 in the paper).
        early_stopping_patience: evaluations without a better best metric before a phase ends.
        pooling: what a solved head reads: `own`, what the checkpoint's class reads; `mean`, the mean over the tokens, which
            makes the run folder a sentence-transformers model; `auto`, the mean where it is better by more than a standard
            error. By default `auto` for `prototypes`, `knn`, `ridge` and `contrastive`, else `own`.
        probe: measure a solved head on the untouched checkpoint too, to tell what training has added.
        compare_scratch: train the same model from random weights too, with the same budget, to tell what pretraining was worth.
        watch_forgetting: compare features, weights and the checkpoint's own answers before and after.
        forgetting_file: with it, a text file: the loss of the checkpoint's masked-language-model head on it, before and after.
        max_length: tokens a text is cut at; by default chosen from the lengths found.
        cpu_threads: threads on a CPU; by default all cores.
        overwrite_output_dir: delete what an earlier run wrote into the folder.
        base_model_id: Hub id that the card names as base model when `model` is a folder.
        skip_reload_check: do not load the saved model in a fresh process and compare its scores.
        hub_adapter_only: with `push_to_hub`, push the adapter alone; hub_include_report: push report.html too.
        recipe, notes: name of the script that calls, and sentences for the plan.
        objective: `(model, inputs) -> (loss, outputs)` in place of the model's own loss.
        regularization: what holds overfitting back (`Regularization(ema=0.999, r_drop=1.0)`).
        target_file: rows of the domain that the model is for, without labels: a file, a folder, or what `load` takes.
        align: make the features of training and target rows alike while training: `dann` or `coral`.
        align_weight: how strongly (1 for `dann`, 10 for `coral`).
        pseudo_labels: train on, in a further phase, with the target rows whose label is predicted with at least this
            probability (True: 0.95).
        command: the words that started this run, to tell how an interrupted one goes on.
        **data_options: the keyword arguments of `load` (`label_column=...`, `validation_size=...`).

    Returns:
        The finished `Run`.

    Raises:
        Problems: wrong data or arguments, found before training starts and before anything is written.
        NotPushed: the run is finished, but the push to the Hub that was asked for failed.
    """
    from hf_transfer.data import Data, load
    from hf_transfer.evaluation.classification import headline
    from hf_transfer.forgetting import before, watching
    from hf_transfer.general_text import general_lines, no_language_head
    from hf_transfer.language import check_asked, head_words, read_losses, shifts
    from hf_transfer.plan import print_plan
    from hf_transfer.pooling import check_pooling, settle_pooling
    from hf_transfer.record import make_plan
    from hf_transfer.regularizing import rebuilt, regularize
    from hf_transfer.scratch import comparing, scratch_note, train_from_scratch
    from hf_transfer.shift.settling import settle_shift
    from hf_transfer.shift.target import encoded, read_target
    from hf_transfer.solving import settle_solvers
    from hf_transfer.strategies import shift
    from hf_transfer.strategies.lora import adapter_notes
    from hf_transfer.strategies.prompts import leave_room
    from hf_transfer.strategies.regularization import Regularization, check
    from hf_transfer.tasks import find
    from hf_transfer.training.train import start_of, train

    task = find(task) if isinstance(task, str) else task
    if isinstance(peft_config, str):
        peft_config = peft_method(peft_config)
    if not task.target:
        comparing_answers = {"watch_forgetting": watch_forgetting, "forgetting_file": forgetting_file}
        comparing_answers |= {"compare_scratch": compare_scratch}
        check_asked(strategy, pooling, peft_config, **comparing_answers)
        probe = False
    if seed is None:
        seed = args.get("seed") if isinstance(args, dict) else getattr(args, "seed", None)
    drawn: dict[str, Any] = {} if seed is None else {"seed": seed}
    data = dataset if isinstance(dataset, Data) else load(task, dataset, **(drawn | data_options))
    args, gave_way = training_arguments(
        args, task, strategy, peft_config, seed, len(data.splits.get("train", ()))
    )
    check_world(args)
    check_pooling(pooling, task)
    check_arguments(args, data.problem_type)
    choose_best(args, data.problem_type, headline(data.problem_type), early_stopping_patience, metrics)
    check_metrics(metrics, data.problem_type, len(data.labels))
    regularization = regularization or Regularization()
    check(
        regularization,
        problem_type=data.problem_type,
        labels=data.labels,
        images="image" in task.inputs,
        args=args,
        is_peft=peft_config is not None,
        own_objective=objective is not None,
        validation="validation" in data.splits,
    )
    towards = shift.Shift(align, align_weight, pseudo_labels)
    shift.check(
        towards,
        target=target_file is not None,
        problem_type=data.problem_type,
        args=args,
        taken=regularization.on() | ({"objective": objective} if objective else {}),
    )
    target_rows = read_target(target_file, data) if target_file is not None else None
    use_threads(cpu_threads)
    notes = [*notes, *half_precision_notes(args), *(target_rows[2] if target_rows else [])]
    resume, start = resumed(args)
    check_folder(Path(args.output_dir), resume=resume and not from_hub(args), overwrite=overwrite_output_dir)
    if resume:
        notes = [*notes, *keep_global_batch(args, Path(args.output_dir))]
    if hub_adapter_only and peft_config is not None and not merges(kind_of(peft_config)):
        raise Problems(_nothing_else(peft_config))
    hub = from_first(
        args,
        lambda: checked_push(
            args, hub_adapter_only, hub_include_report, peft_config is not None, base_model_id or model
        ),
    )
    model, processor = loaded(task, model, processor, data, args.seed)
    new = new_parameters(model)
    notes = list(dict.fromkeys([*notes, *gave_way, *(hub.notes if hub else ())]))  # each once
    notes += [*in_fp32(model), *task.fit(processor, model)]
    if not args.do_train and not new and task.target:
        data, told = as_scored(model, data)
        notes += told
    notes += leave_room(model, processor, peft_config)
    compare_scratch, told = comparing(compare_scratch, task, model, args.do_train)
    notes += told
    untouched = copy.deepcopy(model.config)
    prepared = task.prepare(data, processor, model, max_length)
    if not task.target:
        prepared.warnings.extend(head_words(model, new))
    if not args.do_train and is_pooled(model.config._name_or_path):
        raise Problems(_only_a_head(model.config._name_or_path))
    base = {"name": model.config._name_or_path, "class": type(model).__name__, "new": new}
    base["weights"] = fingerprint(model, new)
    if args.process_index == 0:
        base |= base_license(base["name"], base_model_id or hub_id_of(base["name"]))
        base |= adapted_base(base["name"])
    redrawn, told = rebuilt(model, regularization, args.seed)
    notes += told
    if redrawn and probe:
        probe = False
        notes.append("There is no probe of the untouched checkpoint: blocks of it are drawn anew.")
    general = general_lines(forgetting_file, watch_forgetting, task)
    watch_forgetting, told = watching(watch_forgetting, args.do_train, redrawn)
    notes += told
    if general and (why := no_language_head(base["name"], processor)):
        general = []
        notes.append(why)
    model = adapted(model, peft_config, args.seed)
    notes += adapter_notes(model, loraplus_lr_ratio) if peft_config is not None else []
    modifiers = {
        "layer_decay": layer_decay,
        "head_learning_rate": head_learning_rate,
        "loraplus_lr_ratio": loraplus_lr_ratio,
    }
    setup = make_setup(task, model, data, prepared, processor, args, strategy, modifiers, groups, metrics)
    setup.callbacks, setup.early_stopping_patience = callbacks, early_stopping_patience
    setup.objective = objective or setup.objective
    setup.command = tuple(command)
    asked = strategy
    if strategy in AUTO:
        from hf_transfer.choosing import chosen_strategy

        strategy, why = chosen_strategy(setup, data) if args.do_train else ("full", "")
        setup.phases = planned_phases(strategy, setup.groups, modifiers)
        notes += [why] if why else []
    notes += settle_solvers(setup)
    notes += settle_pooling(setup, pooling, asked, begun_with(Path(args.output_dir)) if resume else {})
    fresh = [*new, *redrawn] if setup.model is model else ["classifier.weight", "classifier.bias"]
    target = encoded(task, target_rows[0], target_rows[1], processor) if target_rows else None
    notes += settle_shift(setup, towards, target)
    notes += regularize(setup, data, regularization, fresh)
    notes += [scratch_note(setup)] if compare_scratch else []
    begun = settings(setup, data.source["fingerprint"], base)
    if resume:
        notes += [*check_resumed(Path(args.output_dir), begun), start_of(setup, start)]
    averaging = regularization.ema is not None, regularization.soup or 0
    check_disk(Path(args.output_dir), model, args, *averaging)
    check_optimizer(args, model)
    wait(args)  # nothing is left behind where another process has refused: Trainer makes the folder
    plan = make_plan(setup, task, data, base, recipe, strategy, notes)
    plan["facts"] |= {"push": hub.fact} if hub else {}
    job = Job(
        task,
        data,
        setup,
        base,
        plan,
        recipe,
        metrics or (),
        peft_config,
        base_model_id,
        skip_reload_check,
        hub,
    )
    wait(args)  # a process that is late must find the folder as it was, and not the run that begins here
    if args.process_index == 0:
        print_plan(plan)
        _begin(Path(args.output_dir), begun, resume, overwrite_output_dir)
    if args.do_train and probe:
        from hf_transfer.probing import probe as probed

        job = replace(job, probe=probed(setup, measured_splits(args, data)))
    if args.do_train and not task.target:
        job = replace(job, untouched=read_losses(setup, measured_splits(args, data), shifts(task)))
    if watch_forgetting:
        job = replace(job, before=before(setup, own_head=not new), general=general)
    ledger = train(setup, resume, start) if args.do_train else []
    if compare_scratch:
        found = train_from_scratch(task, untouched, setup, measured_splits(args, data), resume)
        job = replace(job, scratch=found)
    return finish(job, ledger)


def _nothing_else(peft_config: Any) -> Problem:
    what = f"{name_of(peft_config)} leaves no merged model, so the adapter is pushed alone in any case"
    return Problem("--hub_adapter_only", what, "leave it out")


def _only_a_head(name: str) -> Problem:
    what = f"{name} reads the mean over its tokens: the class of the task does not, and has drawn a head of its own"
    return Problem("--do_train false", what, f"use it with hft predict {name}, or train")


# The arrows of the way, in their order.


def _begin(folder: Path, begun: dict[str, Any], resume: bool, overwrite: bool) -> None:
    """Take the folder, and note what a resumed run must be begun with and which files were there before."""
    before = files_before(folder) if resume else None
    found_there = claim(folder, overwrite=overwrite and not resume)
    write_json(folder / MARKER, {"begun": begun, "before": found_there if before is None else before})
