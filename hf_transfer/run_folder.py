"""The run folder: the contract between training and everything after it. Reading it needs no torch."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from hf_transfer.problems import Problem, Problems

RUN, PHASES, HISTORY, RESULTS = "run.json", "phases.json", "history.jsonl", "all_results.json"
PREDICTIONS, REPORT, CARD, ADAPTER, PLOTS = (
    "predictions.parquet",
    "report.html",
    "README.md",
    "adapter",
    "plots",
)
MARKER = "run.started.json"  # says that a folder is a run's before run.json does, and what the run must be resumed with
PUSH = "push.json"  # what was asked of a push to the Hub, so that it can be finished
POOLED = (  # of a model that reads the mean over its tokens: sentence-transformers' files
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "1_Pooling",
    "2_Normalize",
    "3_Dense",
)
NEIGHBOURS = (
    "hf_transfer_knn_text",
    "hf_transfer_knn_image",
)  # model types that `hf_transfer.knn` makes known
OWN = (RUN, PHASES, HISTORY, RESULTS, PREDICTIONS, REPORT, CARD, ADAPTER, PLOTS, MARKER, PUSH, *POOLED)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        Problems: it is broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Problems(Problem(str(path), f"is not JSON ({error})", "copy it again, or run again")) from error


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=_plain) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file beside and rename it, so that a reader never sees half of it."""
    beside = path.with_name(path.name + ".partial")
    with beside.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _plain(value: Any) -> Any:
    """numpy scalars and paths as JSON."""
    return value.item() if hasattr(value, "item") else str(value)


def check_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Say, before anything is loaded, why `folder` cannot take the run.

    Raises:
        Problems: it holds a run that is neither resumed nor overwritten, holds none to resume, holds somebody else's
            files where the run would write, or cannot be written.
    """
    try:
        folder.exists()
    except OSError as error:  # a name that is too long
        what = f"{str(folder)[:60]}... cannot be used: {error.strerror}"
        raise Problems(Problem("--output_dir", what, "choose another folder")) from error
    if resume and not holds_run(folder):
        raise Problems(
            Problem(
                "--resume_from_checkpoint",
                f"{folder} holds no run to go on with",
                "name its folder with --output_dir",
            )
        )
    if holds_run(folder) and not resume and not overwrite:
        done = (folder / RUN).is_file()
        what = f"{folder} holds a run already{', a finished one' if done else ''}"
        go_on = "only measure and save it again" if done else "go on with it"
        mend = (
            f"add --resume_from_checkpoint true to {go_on}, --overwrite_output_dir to delete what it wrote, "
            "or choose another folder"
        )
        raise Problems(Problem("--output_dir", what, mend))
    foreign = [name for name in (*OWN, "config.json", "model.safetensors") if (folder / name).exists()]
    if foreign and not holds_run(folder):
        what = f"{folder} holds {', '.join(foreign)}, which no run wrote and the run would overwrite"
        raise Problems(Problem("--output_dir", what, "choose another folder"))
    # The nearest folder that exists already must let us write; nothing is made yet.
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        what = "is a file" if nearest.is_file() else "cannot be written"
        raise Problems(Problem("--output_dir", f"{nearest} {what}", "choose another folder"))


def files_before(folder: Path) -> list[str] | None:
    """The files that were there before an unfinished run began; None where that is not known."""
    marker = folder / MARKER
    found = read_json(marker).get("before") if marker.is_file() else None
    return list(found) if isinstance(found, list) else None


def holds_run(folder: Path) -> bool:
    """Whether a run, finished or not, lies in the folder."""
    return any((folder / name).exists() for name in (RUN, MARKER)) or any(folder.glob("checkpoint-*"))


def claim(folder: Path, *, overwrite: bool) -> list[str]:
    """Make `folder`, and delete what an earlier run wrote there if that was asked for.

    Returns:
        Names of the files that lie in it already and are not a run's: no run may ever delete them.
    """
    if overwrite and holds_run(folder):
        clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ours = {*OWN, *written(folder)}
    weights = ("config.json", "generation_config.json")  # which a run that stopped may have left
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_file()
        and path.name not in ours
        and path.name not in weights
        and path.suffix != ".safetensors"
    )


def is_pooled(folder: str | Path) -> bool:
    """Whether the model in a run folder reads the mean over its tokens (`hf_transfer.pooled`)."""
    return all((Path(folder) / name).exists() for name in POOLED)


def is_neighbours(folder: str | Path) -> bool:
    """Whether the model in a folder answers by its nearest neighbours (`hf_transfer.knn`)."""
    try:
        told = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and told.get("model_type") in NEIGHBOURS


def written(folder: Path) -> list[str]:
    """Names of the files that a finished run put into its folder."""
    try:
        return read_json(folder / RUN).get("files", []) if (folder / RUN).is_file() else []
    except (Problems, AttributeError):  # a broken record lists nothing
        return []


def clear(folder: Path) -> None:
    """Delete what a run wrote, and nothing else."""
    listed = written(folder)
    patterns = (
        "checkpoint-[0-9]*",
        "checkpoint.partial",
        "model.partial",
        "phase-[0-9]*",
        "runs",
        "candidates",
        "scratch",
    )
    listed += [f"{name}.partial" for name in OWN]
    for path in [
        *(folder / name for name in (*OWN, *listed)),
        *(p for s in patterns for p in folder.glob(s)),
    ]:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
