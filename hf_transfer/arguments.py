"""The flags that recipes share: one YAML or JSON file first, then flags over it.

A recipe subclasses `Arguments` to set its own defaults and calls `parse`. Nothing heavy is imported.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from hf_transfer.again import typed_command
from hf_transfer.clash import warn_of_clash
from hf_transfer.flags.command_line import Given, read_command_line
from hf_transfer.flags.config_file import read_config_file
from hf_transfer.flags.ours import default_output_dir, our_flags, recipe_name
from hf_transfer.flags.shared import SharedFlags
from hf_transfer.flags.yields import contradictions, no_training, rules_out_best, settle
from hf_transfer.hardware import on_cpu
from hf_transfer.problems import Problem, Problems, nearest, one_a_place
from hf_transfer.strategies.peft_methods import FLAGS, unread
from hf_transfer.training_fields import training_fields

if TYPE_CHECKING:
    from hf_transfer.strategies.regularization import Regularization

FOR_DATA = (
    *("dataset_config_name", "train_file", "validation_file", "test_file", "train_split", "validation_split"),
    *("test_split", "text_column", "text_pair_column", "image_column", "label_column", "validation_size"),
    *("test_size", "max_train_samples", "max_eval_samples", "problem_type"),
)
FOR_FINETUNE = (
    *(
        "groups",
        "layer_decay",
        "head_learning_rate",
        "early_stopping_patience",
        "pooling",
        "probe",
        "compare_scratch",
        "watch_forgetting",
        "forgetting_file",
        "max_length",
        "cpu_threads",
    ),
    *("overwrite_output_dir", "base_model_id", "skip_reload_check", "hub_adapter_only", "hub_include_report"),
    "loraplus_lr_ratio",
    *("target_file", "align", "align_weight", "pseudo_labels"),
)
FOR_PEFT = tuple(name for name in FLAGS if name not in FOR_FINETUNE)
# transformers takes the bar away together with its reports, which parse() turns off.
STAGES = {"do_train": True, "do_eval": True, "do_predict": True, "disable_tqdm": False}
T = TypeVar("T", bound="Arguments")


@dataclass
class Arguments(SharedFlags):
    """Values of our flags as attributes; those of `TrainingArguments` come out of `training()`."""

    hide: ClassVar[tuple[str, ...]] = ()
    """Flags that mean nothing to this recipe: refused, and not shown."""
    recipe: ClassVar[str] = ""
    """Name of the run folder under `outputs/`; the script's own name by default."""

    given: dict[str, Given] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What the user gave, ours and `TrainingArguments`', and where."""
    typed: bool = field(default=False, init=False, repr=False, compare=False)
    """Whether they were read from the command line of this process."""
    notes: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    """One sentence for each default that gave way; for the plan."""

    def asked(self, name: str) -> bool:
        """Whether the user gave this flag (on the command line or in the config file)."""
        return name in self.given

    def data(self) -> dict[str, Any]:
        """Keyword arguments of `hf_transfer.data.load`, without the data set itself and the token length.

        Raises Problems where a file or checkpoint is not there that a flag names, or the output folder is taken, with all
        else that is wrong with the data.
        """
        from hf_transfer.data.named import missing, wrong

        named = {name: item.value for name, item in self.given.items()}
        named |= {name: getattr(self, name) for name in our_flags(type(self))}
        if missing(named):
            raise Problems(*wrong(named))
        seed = self.given["seed"].value if self.asked("seed") else 42
        return {name: getattr(self, name) for name in FOR_DATA} | {"seed": seed}

    def adapter(self) -> dict[str, Any]:
        """Keyword arguments of `peft_method`, without its name."""
        return {name: getattr(self, name) for name in FOR_PEFT}

    def transfer(self) -> dict[str, Any]:
        """Keyword arguments of `finetune` that are flags, without the strategy and what the recipe builds."""
        return {name: getattr(self, name) for name in FOR_FINETUNE} | {
            "metrics": self.metrics,
            "recipe": recipe_name(type(self)),
            "notes": self.notes,
            "command": typed_command() if self.typed else (),
            "asked": tuple(self.given),
        }

    def regularization(self) -> Regularization:
        """The `regularization` of `finetune` that the flags ask for.

        Raises Problems for words that are no weights and no number.
        """
        from hf_transfer.strategies.regularization import from_flags

        return from_flags(self)

    def training(self, **defaults: Any) -> dict[str, Any]:
        """Keyword arguments of `TrainingArguments`: the recipe's `defaults`, then config file, then flags.

        Defaults yield to what was given, and `notes` says which. With `--print_config` they are printed and
        the program ends. Raises Problems for a default that is no field.
        """
        known = training_fields()
        wrong = [f"training({name}=...)" for name in defaults if name not in known]
        if wrong:
            what = "is no field of the installed TrainingArguments"
            raise Problems(*(Problem(name, what + nearest(name[9:-5], list(known))) for name in wrong))
        asked = {name: item.value for name, item in self.given.items()}
        values = (
            STAGES | on_cpu() | defaults | {name: value for name, value in asked.items() if name in known}
        )
        notes = settle(values, asked, known)
        if values.get("output_dir") is None:
            resume = values.get("resume_from_checkpoint") is True
            folder = default_output_dir(recipe_name(type(self)), resume, self.overwrite_output_dir)
            values["output_dir"] = str(folder)
            notes.append(f"output_dir is {folder} (--output_dir chooses another)")
        self.notes += [note for note in notes if note not in self.notes]
        if self.print_config:
            from hf_transfer.flags.print_config import print_config

            print_config(self, values, defaults)
            raise SystemExit(0)
        return values


def parse(cls: type[T], argv: list[str] | None = None) -> T:
    """Read `argv` (default: the command line) into an instance of `cls`.

    Raises `Problems` with everything that is wrong; `--help` and `--help_all` print and exit with 0.
    """
    warn_of_clash()
    # The plan says what transformers' report on every loaded file would say.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    words = sys.argv[1:] if argv is None else list(argv)
    for word in words:
        if word in ("-h", "--help", "--help_all", "--help-all"):
            from hf_transfer.flags.help import print_help

            print_help(cls, everything="all" in word)
            raise SystemExit(0)
    ours = our_flags(cls)
    flags = training_fields() | ours
    line = read_command_line(words, flags, cls.hide)
    given, problems = read_config_file(line.config, flags, cls.hide) if line.config else ({}, [])
    given |= line.given
    asked = {name: item.value for name, item in given.items()}
    problems = [*problems, *line.problems, *contradictions(asked), *no_training(asked)]
    problems += [*_unread(asked, cls), *_no_strategy(asked)]
    if problems:
        from hf_transfer.data.named import wrong

        raise Problems(*one_a_place(problems), *wrong(asked))
    arguments = cls(**{name: value for name, value in asked.items() if name in ours})
    arguments.given, arguments.typed = given, argv is None
    if isinstance(arguments.strategy, str):
        arguments.strategy = arguments.strategy.replace("_", "-")
    off = rules_out_best(asked)
    if off and arguments.early_stopping_patience is not None:
        arguments.early_stopping_patience = None
        arguments.notes.append(f"{off}: early stopping is off")
    return arguments


def _no_strategy(asked: dict[str, Any]) -> list[Problem]:
    """Names of strategies that there are not."""
    from hf_transfer.strategies.phases import check_name

    found: list[Problem] = []
    for name in ("strategy", "adapt_strategy"):
        try:
            check_name(asked.get(name), f"--{name}")
        except Problems as error:
            found += error.problems
    return found


def _unread(asked: dict[str, Any], cls: type[Arguments]) -> list[Problem]:
    """Flags of PEFT that nothing would read. (`--peft none` over a config file with them is meant so.)

    Beside a method, those that say what holds without them are let be: a printed config names all.
    """
    peft = asked.get("peft", cls.peft)
    if peft == "none" and "peft" in asked:
        return []
    given = [n for n in FLAGS if n in asked and ("peft" not in asked or asked[n] != getattr(cls, n))]
    return unread(peft, given)
