"""What is wrong with the files, folders, columns and checkpoint that flags name, in one list and before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_transfer.data.columns import no_column
from hf_transfer.data.files import no_such_file
from hf_transfer.data.source_splits import chosen_tables
from hf_transfer.data.sources import find_source, names_a_path
from hf_transfer.problems import Problem, Problems

SPLITS = ("train", "validation", "test")
FILES = (*(f"{split}_file" for split in SPLITS), "target_file", "forgetting_file")
PERHAPS_HUB = ("dataset_name", "domain_file")  # may be Hub ids, which are not asked for here


def missing(given: Mapping[str, Any]) -> list[Problem]:
    """Files, folders and a checkpoint that are named and not here, and an output folder that cannot be taken.

    Args:
        given: flag -> value; None and flags that name nothing are passed over.
    """
    named = [
        (name, Path(str(given[name])).expanduser()) for name in (*FILES, *PERHAPS_HUB) if given.get(name)
    ]
    found = [
        no_such_file(path)
        for name, path in named
        if not path.exists() and (name in FILES or names_a_path(str(given[name])))
    ]
    return [*found, *_no_checkpoint(given.get("model_name_or_path")), *_taken(given)]


def wrong(given: Mapping[str, Any]) -> list[Problem]:
    """`missing`, and with it data that cannot be read and columns that are named and not in the training rows."""
    return list(dict.fromkeys([*missing(given), *_wrong_data(given)]))


def _taken(given: Mapping[str, Any]) -> list[Problem]:
    """Why the output folder cannot take a new run; whether it holds one to go on with is not asked here."""
    from hf_transfer.run_folder import check_folder

    if not given.get("output_dir") or given.get("resume_from_checkpoint"):
        return []
    try:
        overwrite = bool(given.get("overwrite_output_dir"))
        check_folder(Path(given["output_dir"]), resume=False, overwrite=overwrite)
    except Problems as error:
        return list(error.problems)
    return []


def _no_checkpoint(name: Any) -> list[Problem]:
    from hf_transfer.data.hub import HUB_ID
    from hf_transfer.training.checkpoints import checkpoint

    if not isinstance(name, str) or (HUB_ID.fullmatch(name) and not Path(name).exists()):
        return []
    try:
        checkpoint(name)
    except Problems as error:
        return list(error.problems)
    return []


def _wrong_data(given: Mapping[str, Any]) -> list[Problem]:
    files = {split: given.get(f"{split}_file") for split in SPLITS}
    dataset = given.get("dataset_name")
    if dataset and not (Path(dataset).expanduser().exists() or names_a_path(dataset)):
        return []  # on the Hub
    if not dataset and not any(files.values()):
        return []  # the recipe's own
    try:
        source = find_source(dataset, files=files)
    except Problems as error:
        train = files["train"]
        alone = train and any(path for split, path in files.items() if split != "train")
        return [
            *error.problems,
            *(_wrong_data({**given, **_only(str(train))}) if alone and not dataset else []),
        ]
    try:
        train_rows = chosen_tables(source, {split: given.get(f"{split}_split") for split in SPLITS})["train"]
    except Problems as error:
        return list(error.problems)
    roles = ("text", "text_pair", "image", "label")
    columns = {role: name for role in roles if (name := given.get(f"{role}_column"))}
    return [
        no_column(role, name, train_rows) for role, name in columns.items() if name not in train_rows.columns
    ]


def _only(train: str) -> dict[str, Any]:
    return {"train_file": train, "validation_file": None, "test_file": None}
