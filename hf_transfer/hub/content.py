"""What of a run folder goes to the Hub: the model, its processor, the card and plots; no row of the data, no path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hf_transfer.hub.asked import Push
from hf_transfer.problems import NotPushed
from hf_transfer.report.card import card_text
from hf_transfer.report.names import hub_id
from hf_transfer.report.read import read_record
from hf_transfer.report.snippet import PLACEHOLDER
from hf_transfer.run_folder import ADAPTER, CARD, OWN, PLOTS, POOLED, REPORT, RUN, is_pooled, read_json

# The rest of what a run writes stays: pickles, histories, figures of single rows.
SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".jinja", ".tiktoken", ".bpe", ".vocab", ".spm")
WEIGHTS = (".safetensors", ".safetensors.index.json")
NOT_OURS = ("trainer_state.json", "train_results.json", "eval_results.json", "test_results.json")
DRAWN = ("learning_curve", "confusion", "per_class", "scatter", "drift")  # plots without texts
NAMES_A_FOLDER = ("_name_or_path", "name_or_path", "base_model_name_or_path")
TEXT = (".json", ".txt", ".md", ".jinja", ".html")

Content = dict[str, Path | bytes]
"""Path in the repository -> file, or its bytes where they differ from those in the run folder."""


def content(folder: Path, push: Push) -> Content:
    """The files of a push.

    Raises:
        NotPushed: the folder lacks what would have to be pushed, or a text in it names a folder of this machine.
    """
    record = read_json(folder / RUN)
    model = model_files(folder, record)
    names = ("adapter_config.json", "adapter_model.safetensors")
    adapter = {name: path for name in names if (path := folder / ADAPTER / name).is_file()}
    if push.adapter_only:
        found: Content = {name: path for name, path in model.items() if not name.endswith(WEIGHTS)}
        found.update(adapter)
    else:
        found = {**model, **{f"{ADAPTER}/{name}": path for name, path in adapter.items()}}
    needed = "adapter_config.json" if push.adapter_only else "config.json"
    if needed not in found or not any(name.endswith(".safetensors") for name in found):
        raise NotPushed(f"{folder} lacks {needed} or the weights: nothing was pushed.")
    found |= {
        f"{PLOTS}/{name}.png": path for name in DRAWN if (path := folder / PLOTS / f"{name}.png").is_file()
    }
    found[CARD] = card(folder, push)
    if push.include_report and (folder / REPORT).is_file():
        found[REPORT] = folder / REPORT
    base = (record.get("base_model") or {}).get("id")
    found = {name: _without_folders(name, given, base) for name, given in found.items()}
    _check(found, folder)
    return dict(sorted(found.items()))


def model_files(folder: Path, record: dict[str, Any]) -> dict[str, Path]:
    """Model, configuration and processor at the folder's root, as far as the run wrote them."""
    names = [name for name in record.get("files", []) if name not in (*OWN, *NOT_OURS)]
    if is_pooled(folder):
        names += [p.relative_to(folder).as_posix() for name in POOLED for p in _files(folder / name)]
    return {name: folder / name for name in names if name.endswith(SUFFIXES) and (folder / name).is_file()}


def _files(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


def card(folder: Path, push: Push) -> bytes:
    """The model card, which names the repository; one that was edited by hand goes as it is."""
    record, path = read_record(folder), folder / CARD
    edited = path.read_text(encoding="utf-8") if path.is_file() else ""
    if edited and edited != card_text(record):
        return edited.replace(PLACEHOLDER, push.repo_id).encode()
    return card_text(record, push.repo_id, push.adapter_only).encode("utf-8", errors="replace")


def _without_folders(name: str, given: Path | bytes, base: str | None) -> Path | bytes:
    """A configuration without folders of this machine: the base model by its Hub id or not at all."""
    if not isinstance(given, Path) or not name.endswith("config.json"):
        return given
    values = json.loads(given.read_text(encoding="utf-8"))
    named = {key: values[key] for key in NAMES_A_FOLDER if isinstance(values.get(key), str)}
    local = {key for key, value in named.items() if hub_id(value) is None or Path(value).exists()}
    changed = {key: base or "" for key in named if key.startswith("base") or key in local}
    return json.dumps(values | changed, indent=2, ensure_ascii=False).encode() + b"\n" if changed else given


def _check(found: Content, folder: Path) -> None:
    """The last look before anything leaves: no text names the folder that the run lies in."""
    here = [str(path).encode() for path in (folder.resolve(), folder.resolve().parent) if len(path.parts) > 2]
    for name, given in found.items():
        if name.endswith(TEXT):
            text = given.read_bytes() if isinstance(given, Path) else given
            if any(path in text for path in here):
                raise NotPushed(f"{name} names a folder of this machine ({folder}): nothing was pushed.")
