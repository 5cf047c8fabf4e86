"""`--print_config`: every value and where it came from, as YAML that can be given back as a config file."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from hf_transfer.flags.help import show
from hf_transfer.flags.ours import our_flags
from hf_transfer.training_fields import training_fields

if TYPE_CHECKING:
    from hf_transfer.arguments import Arguments


def print_config(arguments: Arguments, values: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Print the table of `values` for `TrainingArguments` and what is ours (first process only)."""
    show(config_text(arguments, values, defaults))


def config_text(arguments: Arguments, values: dict[str, Any], defaults: dict[str, Any]) -> str:
    """The table: our values, those set for `TrainingArguments`, and as comments the ones left as they are."""
    from hf_transfer.arguments import Arguments

    base = our_flags(Arguments)
    rows: list[tuple[str, Any, str]] = []
    for name, flag in our_flags(type(arguments)).items():
        if name in arguments.hide or name == "print_config":
            continue
        value = getattr(arguments, name)
        plain = name in base and base[name].default == flag.default
        rows.append(
            (name, value, _origin(arguments, name, value, flag.default, "default" if plain else "recipe"))
        )
    known = training_fields()
    training = [
        (n, values[n], _training_origin(arguments, n, values[n], defaults)) for n in known if n in values
    ]
    untouched = [(f"# {n}", flag.default, "transformers") for n, flag in known.items()
                 if n not in values and n not in ("hub_token", "local_rank")]  # fmt: skip
    parts = [("Ours", rows), ("Given to TrainingArguments", training), ("Left to transformers", untouched)]
    notes = [f"# {note}" for note in arguments.notes]
    return "\n".join(
        [line for title, part in parts for line in (f"# {title}", *_table(part), "")] + notes
    ).rstrip()


def _origin(arguments: Arguments, name: str, value: Any, default: Any, otherwise: str) -> str:
    given = arguments.given.get(name)
    if given is not None and given.value in (value, str(value).replace("-", "_")):
        return given.origin
    return otherwise if value == default else "follows from a flag or the machine"


def _training_origin(arguments: Arguments, name: str, value: Any, defaults: dict[str, Any]) -> str:
    if name == "output_dir" and not arguments.asked(name) and name not in defaults:
        return "name of the recipe"
    if name not in defaults and not arguments.asked(name) and name.startswith("do_"):
        return "default"
    return _origin(arguments, name, value, defaults.get(name, not value), "recipe")


def _table(rows: list[tuple[str, Any, str]]) -> list[str]:
    names = max(len(name) for name, _, _ in rows) + 1
    texts = [written(value) for _, value, _ in rows]
    wide = min(36, max(map(len, texts)))
    return [
        f"{name + ':':<{names}} {text:<{wide}}  # {origin}"
        for (name, _, origin), text in zip(rows, texts, strict=True)
    ]


def written(value: Any) -> str:
    """`value` on one line of YAML."""
    if isinstance(value, str):
        word = re.fullmatch(r"[A-Za-z_./][\w./:@-]*", value) and not value.endswith(":")
        reserved = value.lower() in ("none", "null", "true", "false", "yes", "no", "on", "off", "y", "n")
        return value if word and not reserved else json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)
