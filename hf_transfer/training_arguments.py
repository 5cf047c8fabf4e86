"""The training arguments of a run: from an object, a dict or nothing, and where it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.flags.yields import IN_BETWEEN, contradictions, of_the_push, settle
from hf_transfer.hardware import on_cpu
from hf_transfer.hub.checkpoints import REPO_ID, checkpoint_of
from hf_transfer.problems import Problem, Problems
from hf_transfer.ranks import from_first
from hf_transfer.strategies.peft_methods import rate_of
from hf_transfer.strategies.phases import Phase, learning_rate_for
from hf_transfer.training_fields import training_fields

if TYPE_CHECKING:
    from hf_transfer.tasks.task import Task


LANGUAGE_RATE = 1e-4  # TAPT, Gururangan et al. 2020


def default_arguments(
    strategy: str | Sequence[Phase] = "full", peft: bool = False, rows: int = 0, labelled: bool = True
) -> dict[str, Any]:
    """The training arguments that `finetune` starts from; the recipes set the same in plain sight.

    Args:
        rows: training rows; small sets get more epochs, because three of theirs are too few steps to learn from.
        labelled: False for language modelling, which learns faster and has scores for every word at every place.
    """
    own: dict[str, Any] = (
        {} if labelled else {"per_device_train_batch_size": 16, "per_device_eval_batch_size": 16}
    )
    own |= {} if labelled or peft else {"learning_rate": LANGUAGE_RATE}
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
        **own,
        **on_cpu(),
    }


def training_arguments(
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
        defaults = default_arguments(strategy, peft_config is not None, rows, bool(task.target))
        if peft_config is not None:
            defaults["learning_rate"] = rate_of(peft_config)
        if "text" not in task.inputs:
            del defaults["train_sampling_strategy"]  # images are of one size
        values = {**given, **defaults, **asked}
        notes = settle(values, asked, training_fields())
        args = TrainingArguments(**values)
    elif not args.do_train and not args.do_predict and args.do_eval == (args.eval_strategy != "no"):
        # As transformers leaves them where nobody named a stage: there they are for scripts, and Trainer reads none.
        args.do_train = args.do_eval = args.do_predict = True
    if args.push_to_hub:
        changed = {name: getattr(args, name) for name in IN_BETWEEN if getattr(args, name) != "every_save"}
        notes += of_the_push(changed, True)
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


def asked_names(asked: Sequence[str] | None, args: Any) -> tuple[str, ...]:
    """Names of the training arguments that somebody gave.

    Args:
        asked: from a recipe, which has defaults of its own.
        args: as given to `finetune`; of an object those that differ from transformers' defaults.
    """
    from hf_transfer.record import changed_arguments

    if asked is not None:
        return tuple(asked)
    if args is None or isinstance(args, dict):
        return tuple(args or {})
    known = training_fields()
    unset: tuple[Any, ...] = (
        None,
        "",
        "none",
        [],
    )  # which transformers itself turns into false or an empty list
    return tuple(
        name
        for name, value in changed_arguments(args).items()
        if name != "dataloader_pin_memory"
        and (value or name not in known or known[name].default not in unset)
    )


def free_folder(name: str) -> str:
    """`outputs/<name>`, or with the next free number."""
    number, folder = 1, Path("outputs") / name
    while folder.exists():
        number += 1
        folder = Path("outputs") / f"{name}-{number}"
    return str(folder)


def from_hub(args: Any) -> bool:
    """Whether the checkpoint to go on from is named by its Hub repository: the output folder may then be new."""
    asked = str(args.resume_from_checkpoint)
    new = not any(Path(args.output_dir).glob("*")) if Path(args.output_dir).is_dir() else True
    return new and bool(REPO_ID.fullmatch(asked)) and not Path(asked).exists()


def resumed(args: Any) -> tuple[bool, Path | None]:
    """Whether to resume, and from which checkpoint if one was named: a folder, or a Hub repository that holds some."""
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
    from hf_transfer.saved import complete

    path = Path(asked)
    if not path.exists() and REPO_ID.fullmatch(str(asked)):
        path = Path(from_first(args, lambda: str(checkpoint_of(str(asked), complete))))
        if not path.is_dir():  # another node has a cache of its own
            path = checkpoint_of(str(asked), complete)
    if not path.is_dir():
        raise Problems(
            Problem("--resume_from_checkpoint", f"there is no folder {asked}", "give true for the newest")
        )
    if not complete(path):
        what = f"{asked} is no whole checkpoint: its state, optimizer or weights are missing"
        raise Problems(Problem("--resume_from_checkpoint", what, "give true for the newest whole one"))
    return True, path
