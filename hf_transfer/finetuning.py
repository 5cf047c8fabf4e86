"""`finetune`: the one way from a checkpoint and a data set to a run folder. Recipes and Python both take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.assembling import make_setup, settle
from hf_transfer.comparisons import Comparisons, measured_before, possible
from hf_transfer.finishing import Job, finish, measured_splits
from hf_transfer.hardware import check_world, half_precision_notes, use_threads
from hf_transfer.hub.access import checked_push
from hf_transfer.limits import check_arguments, check_disk, check_metrics, check_optimizer, choose_best
from hf_transfer.pretrained import Pretrained, pretrained
from hf_transfer.ranks import from_first, wait
from hf_transfer.run import Run
from hf_transfer.run_folder import MARKER, check_folder, claim, files_before, write_json
from hf_transfer.strategies.peft_methods import peft_method
from hf_transfer.strategies.phases import Phase
from hf_transfer.strategies.shift import Shift
from hf_transfer.training.resuming import begun_with, check_resumed, keep_global_batch, settings
from hf_transfer.training_arguments import asked_names, from_hub, resumed, training_arguments

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
    asked: Sequence[str] | None = None,
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
        align_weight: how strongly (0.3 for `dann`, 10 for `coral`).
        pseudo_labels: train on, in a further phase, with the target rows whose label is predicted with at least this
            probability (True: 0.95).
        command: the words that started this run, to tell how an interrupted one goes on.
        asked: names of the training arguments that were given to the caller; by default the keys of `args`, or of an object
            those that differ from transformers' defaults.
        **data_options: the keyword arguments of `load` (`label_column=...`, `validation_size=...`).

    Returns:
        The finished `Run`.

    Raises:
        Problems: wrong data or arguments, found before training starts and before anything is written.
        NotPushed: the run is finished, but the push to the Hub that was asked for failed.
    """
    from hf_transfer.data import Data, load
    from hf_transfer.evaluation.classification import headline
    from hf_transfer.language import check_asked
    from hf_transfer.plan import print_plan
    from hf_transfer.pooling import check_pooling
    from hf_transfer.record import make_plan
    from hf_transfer.regularizing import checked
    from hf_transfer.scratch import scratch_note
    from hf_transfer.shift.target import checked_shift, encoded
    from hf_transfer.tasks import find
    from hf_transfer.training.train import start_of

    task = find(task) if isinstance(task, str) else task
    peft_config = peft_method(peft_config) if isinstance(peft_config, str) else peft_config
    comparisons = Comparisons(probe, compare_scratch, watch_forgetting, forgetting_file)
    if not task.target:
        check_asked(strategy, pooling, peft_config, comparisons)
    if seed is None:
        seed = args.get("seed") if isinstance(args, dict) else getattr(args, "seed", None)
    drawn: dict[str, Any] = {} if seed is None else {"seed": seed}
    data = dataset if isinstance(dataset, Data) else load(task, dataset, **(drawn | data_options))

    # What was asked for, settled and checked before the model is loaded.
    asked = asked_names(asked, args)
    rows = len(data.splits.get("train", ()))
    args, gave_way = training_arguments(args, task, strategy, peft_config, seed, rows)
    folder = Path(args.output_dir)
    check_world(args)
    check_pooling(pooling, task)
    check_arguments(args, data.problem_type)
    choose_best(args, data.problem_type, headline(data.problem_type), early_stopping_patience, metrics)
    check_metrics(metrics, data.problem_type, len(data.labels))
    regularization = checked(regularization, task, data, args, peft_config, objective)
    shift = Shift(align, align_weight, pseudo_labels)
    target_rows = checked_shift(shift, target_file, data, args, regularization, objective)
    use_threads(cpu_threads)
    resume, start = resumed(args)
    check_folder(folder, resume=resume and not from_hub(args), overwrite=overwrite_output_dir)
    begun_before = begun_with(folder) if resume else {}
    notes = [*notes, *half_precision_notes(args), *(target_rows[2] if target_rows else [])]
    notes += [*(keep_global_batch(args, folder) if resume else []), *gave_way]
    hub = from_first(
        args,
        lambda: checked_push(args, hub_adapter_only, hub_include_report, peft_config, base_model_id or model),
    )
    notes += hub.notes if hub else []

    # The parts, put together.
    base = pretrained(
        task,
        model,
        processor,
        data,
        args,
        regularization=regularization,
        peft_config=peft_config,
        loraplus_lr_ratio=loraplus_lr_ratio,
        max_length=max_length,
        base_model_id=base_model_id,
    )
    data = base.data
    comparisons, told = possible(comparisons, task, args, base)
    notes += [*base.notes, *told]
    modifiers = {
        "layer_decay": layer_decay,
        "head_learning_rate": head_learning_rate,
        "loraplus_lr_ratio": loraplus_lr_ratio,
    }
    given: dict[str, Any] = {"callbacks": callbacks, "early_stopping_patience": early_stopping_patience}
    given |= {"command": tuple(command), "asked": asked, **({"objective": objective} if objective else {})}
    setup = make_setup(task, base, args, strategy, modifiers, groups, metrics, **given)
    strategy, told = settle(
        setup,
        base,
        strategy,
        modifiers,
        pooling=pooling,
        begun=begun_before,
        shift=shift,
        target=encoded(task, *target_rows[:2], base.processor) if target_rows else None,
        regularization=regularization,
    )
    notes += told
    notes += [scratch_note(setup)] if comparisons.compare_scratch else []
    begun = settings(setup, data.source["fingerprint"], base.facts)
    notes += [*check_resumed(folder, begun), start_of(setup, start)] if resume else []
    check_disk(folder, setup.model, args, regularization.ema is not None, regularization.soup or 0)
    check_optimizer(args, setup.model)
    wait(args)  # nothing is left behind where another process has refused: Trainer makes the folder

    # From here on the run folder is ours.
    plan = make_plan(setup, task, data, base.facts, recipe, strategy, list(dict.fromkeys(notes)))
    plan["facts"] |= {"push": hub.fact} if hub else {}
    job = Job(
        task,
        data,
        setup,
        base.facts,
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
        _begin(folder, begun, resume, overwrite_output_dir)
    return _carried_out(measured_before(job, comparisons), comparisons, base, resume, start)


def _carried_out(
    job: Job, comparisons: Comparisons, base: Pretrained, resume: bool, start: Path | None
) -> Run:
    """Train, train from scratch too where that was asked for, and finish."""
    from hf_transfer.scratch import train_from_scratch
    from hf_transfer.training.train import train

    args = job.setup.args
    ledger = train(job.setup, resume, start) if args.do_train else []
    if comparisons.compare_scratch:
        splits = measured_splits(args, job.data)
        job = replace(job, scratch=train_from_scratch(job.task, base.config, job.setup, splits, resume))
    return finish(job, ledger)


def _begin(folder: Path, begun: dict[str, Any], resume: bool, overwrite: bool) -> None:
    """Take the folder, and note what a resumed run must be begun with and which files were there before."""
    before = files_before(folder) if resume else None
    found_there = claim(folder, overwrite=overwrite and not resume)
    write_json(folder / MARKER, {"begun": begun, "before": found_there if before is None else before})
