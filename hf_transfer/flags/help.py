"""`--help` and `--help_all`, without argparse: the flags come from a table of 150, grouped and wrapped."""

from __future__ import annotations

import ast
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.flags.ours import our_flags
from hf_transfer.flags.values import Flag
from hf_transfer.training_fields import training_fields

if TYPE_CHECKING:
    from hf_transfer.arguments import Arguments

# The flags of TrainingArguments that people set, under headings of their own in --help.
OFTEN = {
    "Training": (
        *("num_train_epochs", "max_steps", "learning_rate", "per_device_train_batch_size"),
        *("per_device_eval_batch_size", "gradient_accumulation_steps", "weight_decay", "warmup_steps"),
        *("lr_scheduler_type", "optim", "seed", "bf16"),
    ),
    "Output": (
        *("output_dir", "resume_from_checkpoint", "report_to", "eval_strategy", "save_strategy"),
        *("save_total_limit", "logging_steps"),
    ),
    "Hub": ("push_to_hub", "hub_model_id", "hub_private_repo"),
}
# Where our default or meaning differs from what the help of transformers says.
OURS = {
    "output_dir": "The run folder; outputs/<recipe> or the next free number by default.",
    "do_train": "Train; false skips it.",
    "do_eval": "Evaluate on the validation rows; false skips it.",
    "do_predict": "Evaluate on the test rows; false skips it.",
    "resume_from_checkpoint": "Go on with the run in output_dir (true), or from this checkpoint or Hub repository.",
    "push_to_hub": "Push the finished model to the Hub, in one upload at the end.",
    "hub_model_id": "Repository to push to: me/name or name; the run folder's name by default.",
    "hub_private_repo": "Make a new repository private.",
    "hub_strategy": "No effect: there is one upload, at the end.",
    "hub_always_push": "No effect: there is one upload, at the end.",
    "hub_revision": "Refused: a push goes to the main branch.",
    "num_train_epochs": "Length of the whole run, in epochs.",
    "max_steps": "Length of the whole run, in steps, instead of num_train_epochs.",
    "learning_rate": "Peak learning rate, of the topmost layers that learn.",
    "per_device_train_batch_size": "Rows a step on each device.",
    "per_device_eval_batch_size": "Rows at a time on each device when evaluating.",
    "gradient_accumulation_steps": "Batches that make one step.",
    "weight_decay": "Weight decay, of matrices only.",
    "warmup_steps": "Steps in which the learning rate rises from 0; below 1 a share of all steps.",
    "lr_scheduler_type": "How the learning rate falls: linear, cosine, constant, constant_with_warmup, ...",
    "optim": "Optimizer by the name in transformers: adamw_torch_fused, adamw_torch, sgd, adafactor, ...",
    "seed": "Seed of the split, the new weights and the order of rows.",
    "bf16": "Mixed precision with bfloat16.",
    "report_to": "Trackers to report to: tensorboard, wandb, trackio, all, none, ...",
    "eval_strategy": "When to evaluate during training.",
    "save_strategy": "When to save a checkpoint.",
    "save_total_limit": "Checkpoints to keep; the best one always stays.",
    "logging_steps": "Steps between two log lines; below 1 a share of all steps.",
}
HIDDEN = ("hub_token", "local_rank", "parallelism_config")


def print_help(cls: type[Arguments], everything: bool) -> None:
    """Print the help of a recipe (first process only)."""
    show(help_text(cls, everything, shutil.get_terminal_size().columns))


def show(text: str) -> None:
    """Print in the first process; a reader that stops early (`| head`) is no error."""
    if os.environ.get("RANK", "0") != "0":
        return
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def help_text(cls: type[Arguments], everything: bool, columns: int = 100) -> str:
    """Usage, the recipe's docstring, our flags, and the usual (or all) fields of `TrainingArguments`."""
    module = sys.modules.get(cls.__module__)
    file = Path(getattr(module, "__file__", None) or "recipe.py")
    wide = max(60, min(columns, 110))
    usage = f"usage: python {_relative(file)} [CONFIG.yaml] [--flag value ...]"
    about = (module.__doc__ or "").strip() if module else ""
    ours = [flag for flag in our_flags(cls).values() if flag.name not in cls.hide]
    groups = {
        name: [flag for flag in ours if flag.group == name] for name in dict.fromkeys(f.group for f in ours)
    }
    training = {name: flag for name, flag in training_fields().items() if name not in HIDDEN + cls.hide}
    if everything:
        for flag in training.values():
            groups.setdefault(f"TrainingArguments: {flag.group}", []).append(flag)
    else:
        groups |= {name: [training[n] for n in names if n in training] for name, names in OFTEN.items()}
    defaults = {
        "do_train": "true",
        "do_eval": "true",
        "do_predict": "true",
        "output_dir": "",
        "max_steps": "",
    } | recipe_defaults(file)
    lines = [usage, "", *([about, ""] if about else [])]
    for title, flags in groups.items():
        lines += [title, *(line for flag in flags for line in _flag_lines(flag, defaults, wide)), ""]
    more = (
        "--help shows the usual flags only."
        if everything
        else f"--help_all shows all {len(training) + len(ours)}."
    )
    lines += _wrapped(
        f"{more} Names may be written with - or _, and not abbreviated. Flags without a value are switches: "
        "--bf16 or --bf16 false. The same names go into a YAML or JSON file, "
        "which is given first; flags go over it. --print_config shows every value and where it came from.",
        "",
        wide,
    )
    return "\n".join(lines)


def _relative(file: Path) -> str:
    return os.path.relpath(file) if file.is_absolute() and Path.cwd() in file.parents else str(file)


def _flag_lines(flag: Flag, defaults: dict[str, str], wide: int) -> Iterable[str]:
    default = defaults.get(flag.name, _shown(flag.default))
    about = " ".join(OURS.get(flag.name, flag.help).split())
    text = f"{about} (default: {default})" if default else about
    head = f"  --{flag.name} {_value(flag)}".rstrip()
    if len(head) > 32 or not text:
        yield head
        head = ""
    yield from _wrapped(text, head, wide) if text else ()


def _wrapped(text: str, head: str, wide: int) -> list[str]:
    indent = " " * 34 if head or not text.startswith("--help") else ""
    first = f"{head:<34}" if head else indent
    return textwrap.wrap(text, wide, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)


def _shown(default: Any) -> str:
    if default is None or default in ("", []):
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def _value(flag: Flag) -> str:
    """What to write behind the flag: `INT`, `true|false`, the choices if they are few."""
    types = flag.kind.types - {"none"}
    if flag.kind.choices and len(flag.kind.choices) <= 4:
        return "|".join(flag.kind.choices)
    if types == {"bool"}:
        return ""
    if "dict" in types:
        return "JSON|FILE" if "str" in types else "JSON"
    if "list" in types:
        return "WORD ..."
    name = "INT" if "int" in types else "NUMBER" if "float" in types else "TEXT"
    return f"[{name}]" if flag.bare else name


def recipe_defaults(file: Path) -> dict[str, str]:
    """Name -> default as written in the recipe's `arguments.training(learning_rate=5e-5, ...)`.

    They are read from its source because they are set after parsing; without a source there are none. Of a default
    that is computed the comment behind it is shown.
    """
    try:
        source = file.read_text(encoding="utf-8")
        tree, comments = ast.parse(source), _comments(source)
    except (OSError, SyntaxError, UnicodeDecodeError):
        return {}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "training"]
    written = {word.arg: word.value for call in found for word in call.keywords if word.arg}
    return {name: _written(node, comments) for name, node in written.items()}


def _comments(source: str) -> dict[int, str]:
    """Line -> the comment that ends it."""
    import tokenize

    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").rstrip() for t in tokens if t.type == tokenize.COMMENT}


def _written(node: ast.expr, comments: dict[int, str]) -> str:
    """A default as it stands there if it is a value, else in the words of its comment."""
    try:
        return _shown(ast.literal_eval(node))
    except ValueError:
        return comments.get(node.end_lineno or 0) or "set by the recipe"
