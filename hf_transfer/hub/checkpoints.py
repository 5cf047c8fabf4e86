"""Checkpoints that lie in a Hub repository, to go on from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hf_transfer.hub.errors import status_of, words
from hf_transfer.hub.requests import patience, persist
from hf_transfer.problems import Problem, Problems

WHERE = "--resume_from_checkpoint"
PATIENCE = 60.0  # seconds of trouble
REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def checkpoint_of(repo_id: str, whole: Callable[[Path], bool]) -> Path:
    """Download the checkpoints of a repository and return the newest whole one.

    `checkpoint-N`, at the root or in the folder of a phase, or `last-checkpoint`: what Trainer's `hub_strategy` or
    `hf upload` leaves there. They hold pickles (optimizer, random numbers): resume only from whom you trust.

    Args:
        repo_id: of a model repository.
        whole: whether a folder is a whole checkpoint.

    Raises:
        Problems: no such repository, no access, none of them whole, or the Hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    patterns = ["checkpoint-*/**", "last-checkpoint/**", "phase-*/checkpoint-*/**"]
    try:
        folder = Path(
            persist(
                lambda: snapshot_download(repo_id, allow_patterns=patterns),
                lambda line: None,
                patience(PATIENCE),
            )
        )
    except Exception as error:
        mend = "check the spelling; a private or gated one needs `hf auth login` (or HF_TOKEN) and its terms accepted"
        what = f"there is no folder {repo_id}, and no repository of that name can be read: {_why(error)}"
        raise Problems(Problem(WHERE, what, mend)) from error
    found = [
        path for path in (*folder.glob("*checkpoint*"), *folder.glob("phase-*/checkpoint-*")) if path.is_dir()
    ]
    newest = max((path for path in found if whole(path)), key=_age, default=None)
    if newest is not None:
        return newest
    what = f"the repository {repo_id} holds no checkpoint"
    if found:
        what = f"no checkpoint in the repository {repo_id} is whole: state, optimizer or weights are missing"
    raise Problems(
        Problem(WHERE, what, "a pushed model is a start, not a checkpoint: --model_name_or_path " + repo_id)
    )


def _why(error: BaseException) -> str:
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return "it is gated and this token has no access"
    if isinstance(error, RepositoryNotFoundError):
        return "the Hub knows none that this token may see"
    if isinstance(error, LocalEntryNotFoundError):
        return "it is not in the cache, and the Hub cannot be reached"
    return words(error) if status_of(error) else "the Hub cannot be reached"


def _age(path: Path) -> tuple[int, int]:
    """Phase and step, to find the newest."""
    phase, step = re.search(r"phase-(\d+)", str(path)), re.search(r"checkpoint-(\d+)$", path.name)
    return int(phase[1]) if phase else 1, int(step[1]) if step else 10**12
