"""The push: a finished run in one commit on the Hub, or a sentence that says why not and how to finish it."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from hf_transfer.hub.access import check_existing, check_push
from hf_transfer.hub.asked import Push, check_adapter, slug
from hf_transfer.hub.content import Content, content
from hf_transfer.hub.errors import status_of, words
from hf_transfer.hub.requests import PATIENCE, patience, persist
from hf_transfer.problems import NotPushed, Problems
from hf_transfer.run_folder import PUSH, read_json, write_json

MENDS = {
    401: "Run `hf auth login`, or set HF_TOKEN.",
    403: "Use a token that may write there (huggingface.co/settings/tokens).",
    404: "Check --hub_model_id and the token.",
    400: "Mend what the Hub names.",
}


def push(folder: str | Path, asked: Push) -> str:
    """Upload what a run is pushed with, in one commit, and wait until it is there; returns its address.

    What was asked for is kept in `push.json` (never a token), so that `hft push RUN_DIR` can finish it. Files that are
    on the Hub already, from an attempt that broke off, are not sent again.

    Raises:
        NotPushed: why it failed and how to finish it.
    """
    folder = Path(folder)
    if not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
    write_json(folder / PUSH, asdict(asked) | {"commit": None})
    try:
        files = content(folder, asked)
        address, commit = persist(lambda: _commit(asked, files), _say, patience(PATIENCE))
    except KeyboardInterrupt as error:
        error.safe = _safe(folder)  # type: ignore[attr-defined]  # said last, by exits.command
        raise
    except Exception as error:
        raise NotPushed(_failed(folder, asked, error)) from error
    write_json(folder / PUSH, asdict(asked) | {"commit": commit})
    return address


def remembered(folder: Path) -> Push | None:
    """What an earlier push of this run was asked for; None if there was none.

    Raises:
        Problems: `push.json` is broken.
    """
    if not (folder / PUSH).is_file():
        return None
    kept = read_json(folder / PUSH)
    return Push(**{field.name: kept[field.name] for field in fields(Push) if field.name in kept})


def _commit(asked: Push, files: Content) -> tuple[str, str]:
    """One attempt: the repository, what it holds, the files; safe to repeat. Returns its address and the commit."""
    from huggingface_hub import CommitOperationAdd, HfApi, constants

    from hf_transfer.hardware import own_version

    api = HfApi(library_name="hf_transfer_learning", library_version=own_version())
    api.create_repo(asked.repo_id, private=asked.private, exist_ok=True)
    info = api.model_info(asked.repo_id)
    check_existing(asked, info)
    operations = [CommitOperationAdd(name, given) for name, given in files.items()]
    message = "Model trained with hf_transfer"
    done = api.create_commit(asked.repo_id, operations, commit_message=message, parent_commit=info.sha)
    stay = sorted({file.rfilename for file in info.siblings or ()} - {*files, ".gitattributes"})
    if stay:
        shown = ", ".join(stay[:5]) + (f" and {len(stay) - 5} more" if len(stay) > 5 else "")
        _say(f"Not written by this push, and left as they are in {asked.repo_id}: {shown}")
    address = f"{constants.ENDPOINT}/{asked.repo_id}"
    _say(f"Pushed to {address} ({'private' if info.private else 'public'}): {len(files)} files")
    return address, str(done.oid)


def _failed(folder: Path, asked: Push, error: BaseException) -> str:
    """Why a push failed, what is safe, and the command that finishes it."""
    if isinstance(error, NotPushed):
        return f"{error}\n{_safe(folder)}"
    if isinstance(error, Problems):
        why = "; ".join(f"{problem.what} -> {problem.mend}" for problem in error.problems)
    else:
        why = ". ".join(part for part in (words(error), MENDS.get(status_of(error), "")) if part)
    return f"The push to {asked.repo_id} failed: {why}\n{_safe(folder)}"


def _safe(folder: Path) -> str:
    return f"The model is safe in {folder}. To finish the push: hft push {shlex.quote(str(folder))}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def push_run(folder: Path, record: dict[str, Any], given: dict[str, Any]) -> str:
    """Check and push a finished run; what is not `given` is as in its last push, or as the Hub has it.

    Args:
        record: of the run.
        given: fields of `Push`; None where nothing was said.

    Raises:
        Problems: the push cannot succeed.
        NotPushed: it failed.
    """
    kept = remembered(folder) or Push(slug(folder.resolve().name))
    named = bool(given.get("repo_id")) or (folder / PUSH).is_file()
    wanted = Push(**asdict(kept) | {name: value for name, value in given.items() if value is not None})
    base = (record.get("base_model") or {}).get("id")
    if problems := check_adapter(wanted.adapter_only, record.get("peft") is not None, base):
        raise Problems(*problems)
    access = check_push(wanted, named)
    for line in (access.fact, *access.notes):
        _say(line)
    return push(folder, access.push)
