"""The flags that recipes share: one YAML or JSON file first, then flags over it.

A recipe subclasses `Arguments` to set its own defaults and calls `parse`. Nothing heavy is imported.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from hf_transfer.again import typed_command
from hf_transfer.clash import warn_of_clash
from hf_transfer.flags.command_line import Given, read_command_line
from hf_transfer.flags.config_file import read_config_file
from hf_transfer.flags.ours import default_output_dir, flag, our_flags, recipe_name
from hf_transfer.flags.yields import contradictions, rules_out_best, settle
from hf_transfer.hardware import on_cpu
from hf_transfer.problems import Problem, Problems, nearest
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
class Arguments:
    """Values of our flags as attributes; those of `TrainingArguments` come out of `training()`."""

    model_name_or_path: str | None = flag("Model", None, "Checkpoint to start from: Hub id or folder.")
    base_model_id: str | None = flag(
        "Model", None, "Hub id that the card names when the checkpoint is a folder."
    )

    dataset_name: str | None = flag(
        "Data", None, "Hub id, file (csv, tsv, json, jsonl, parquet, txt) or folder."
    )
    dataset_config_name: str | None = flag("Data", None, "Configuration of a data set of the Hub.")
    train_file: str | None = flag("Data", None, "File or folder with the training rows.")
    validation_file: str | None = flag("Data", None, "File or folder with the validation rows.")
    test_file: str | None = flag("Data", None, "File or folder with the test rows.")
    train_split: str | None = flag(
        "Data", None, "Name of the training split, or part of it, as in train[:10%]."
    )
    validation_split: str | None = flag("Data", None, "Name of the validation split.")
    test_split: str | None = flag("Data", None, "Name of the test split.")
    text_column: str | None = flag("Data", None, "Column that holds the text; found when unambiguous.")
    text_pair_column: str | None = flag("Data", None, "Column that holds the second text of a pair.")
    image_column: str | None = flag("Data", None, "Column that holds the image; found when unambiguous.")
    label_column: str | None = flag("Data", None, "Column that holds the label; found when unambiguous.")
    problem_type: (
        Literal["single_label_classification", "multi_label_classification", "regression"] | None
    ) = flag("Data", None, "What the labels mean; found from the label column.")
    max_length: int | None = flag("Data", None, "Tokens a text is cut at; chosen from the lengths found.", 2)
    max_train_samples: int | None = flag("Data", None, "Train on so many rows only, a stratified sample.", 1)
    max_eval_samples: int | None = flag("Data", None, "Evaluate and test on so many rows only.", 1)
    validation_size: float = flag("Data", 0.1, "Share of rows cut off for validation where there is none.", 0)
    test_size: float = flag(
        "Data", 0.1, "Share of rows cut off for the test where there is one split only.", 0
    )
    metrics: list[str] = field(
        default_factory=list,
        metadata={"group": "Data", "help": "Further metrics: name, path or Hub id of an evaluate metric."},
    )

    strategy: str | list[dict] = flag(
        "Transfer",
        "full",
        "What learns, and when: full, feature-extraction, partial:N, bitfit, norms, two-phase, lp-ft, gradual, prototypes, knn, "
        "ridge, contrastive, auto; or phases (docs/strategies.md).",
    )
    groups: dict | None = flag(
        "Transfer", None, 'Layer groups by hand, {"block.1": "regex of names"}, if they are not found.'
    )
    layer_decay: float | None = flag(
        "Transfer", None, "Rate of each layer over that of the one above it, such as 0.9.", 0, 1
    )
    head_learning_rate: float | None = flag("Transfer", None, "Learning rate of the head only.", 0)
    early_stopping_patience: int | None = flag(
        "Transfer", None, "Stop after so many evaluations without a better one.", 1
    )

    pooling: Literal["own", "mean", "auto"] | None = flag(
        "Transfer",
        None,
        "What a solved head reads: own (what the model's class reads), mean (over the tokens), or auto.",
    )
    probe: bool = flag(
        "Transfer", True, "Measure a solved head on the untouched checkpoint too: what did training add?"
    )
    compare_scratch: bool = flag(
        "Transfer", False, "Train the same model from random weights too: what was pretraining worth?"
    )
    watch_forgetting: bool = flag(
        "Transfer", False, "Compare features and answers with the checkpoint's, in the report."
    )
    forgetting_file: str | None = flag(
        "Transfer", None, "Text, a passage a line: is its language forgotten? With --watch_forgetting."
    )

    target_file: str | None = flag(
        "Target domain", None, "Rows of the domain that the model is for, without labels: a file or folder."
    )
    align: Literal["dann", "coral"] | None = flag(
        "Target domain", None, "Make features of training and target rows alike: dann or coral."
    )
    align_weight: float | None = flag(
        "Target domain", None, "How strongly to align; by default 1 for dann, 10 for coral.", 0
    )
    pseudo_labels: bool | float | None = flag(
        "Target domain",
        None,
        "Train on with target rows of at least this predicted probability; true is 0.95.",
    )

    class_weights: list[str] | None = field(
        default=None,
        metadata={
            "group": "Regularization",
            "help": "auto: rare labels weigh more; or label=weight for each label.",
        },
    )
    focal_gamma: float | None = flag(
        "Regularization", None, "Focal loss: rows that are right already weigh less; such as 2.", 0
    )
    logit_adjustment: float | None = flag(
        "Regularization", None, "Larger margins for rare labels: tau, such as 1.", 0
    )
    weighted_sampling: bool = flag("Regularization", False, "Draw rows so that labels come equally often.")
    r_drop: float | None = flag(
        "Regularization", None, "R-Drop: two passes with dropout shall agree; weight, such as 1.", 0
    )
    l2_sp: float | None = flag(
        "Regularization", None, "L2-SP: pull to the pretrained weights; strength, such as 0.01.", 0
    )
    l2_sp_new: float | None = flag("Regularization", None, "With --l2_sp, pull new weights to 0.", 0)
    mixout: float | None = flag(
        "Regularization", None, "Mixout: chance that an entry of a matrix is the pretrained one.", 0, 1
    )
    mixup: float | None = flag("Regularization", None, "Blend training images: alpha, such as 0.2.", 0)
    cutmix: float | None = flag("Regularization", None, "Paste patches of training images: alpha.", 0)
    reinit_layers: int | None = flag("Regularization", None, "Draw the last so many blocks anew.", 1)
    dropout: float | None = flag("Regularization", None, "Rate of every dropout in the model.", 0, 1)
    ema: float | None = flag(
        "Regularization", None, "Moving average of the weights: decay, such as 0.999.", 0, 1
    )
    soup: int | None = flag(
        "Regularization", None, "Mean of the weights of so many best evaluations (greedy soup).", 2
    )
    wise_ft: str | None = flag(
        "Regularization", None, "WiSE-FT: weights this part of the way from start to end, 0 to 1, or auto."
    )

    peft: Literal[
        "none",
        "lora",
        "dora",
        "rslora",
        "pissa",
        "adalora",
        "ia3",
        "vera",
        "oft",
        "ln-tuning",
        "prefix",
        "prompt",
        "houlsby",
        "pfeiffer",
        "parallel",
    ] = flag(
        "PEFT",
        "none",
        "Train small added weights, not the model's own: lora, dora, rslora, pissa, adalora, ia3, vera, oft, ln-tuning, "
        "prefix, prompt, houlsby, pfeiffer or parallel (docs/peft.md).",
    )
    lora_r: int = flag("PEFT", 8, "Rank of the added matrices.", 1)
    lora_alpha: int = flag("PEFT", 16, "Scale: the update is multiplied by alpha / r.", 1)
    lora_dropout: float = flag("PEFT", 0.1, "Dropout before the added matrices.", 0, 1)
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={"group": "PEFT", "help": "Names of the modules to adapt; found from the model."},
    )
    use_rslora: bool = flag("PEFT", False, "Scale by alpha / sqrt(r): for high ranks.")
    use_dora: bool = flag("PEFT", False, "Learn a magnitude beside the direction (DoRA).")
    loraplus_lr_ratio: float | None = flag(
        "PEFT", None, "The second matrices learn so much faster than the first (LoRA+), such as 16.", 0
    )
    num_virtual_tokens: int = flag("PEFT", 20, "Learned tokens before the text: prefix and prompt tuning.", 1)
    adapter_reduction_factor: float | None = flag(
        "PEFT", None, "Width of a layer over that of its bottleneck: 16, parallel 2.", 1
    )

    overwrite_output_dir: bool = flag("Run", False, "Delete what an earlier run wrote into output_dir.")
    cpu_threads: int | None = flag("Run", None, "Threads on a CPU; all cores by default.", 1)
    hub_adapter_only: bool = flag("Run", False, "Push the adapter alone, not the merged model.")
    hub_include_report: bool = flag("Run", False, "Push report.html too (it may quote your data).")
    skip_reload_check: bool = flag("Run", False, "Do not load the saved model afresh and compare.")
    print_config: bool = flag("Run", False, "Show every value and where it came from, as YAML; then stop.")

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

        Raises Problems where a file or checkpoint is not there that a flag names, with all else that is wrong with the data.
        """
        from hf_transfer.data.named import missing, wrong

        named = {name: getattr(self, name) for name in our_flags(type(self))}
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
    problems = [*problems, *line.problems, *contradictions(asked), *_unread(asked, cls), *_no_strategy(asked)]
    if problems:
        from hf_transfer.data.named import wrong

        raise Problems(*problems, *wrong(asked))
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
