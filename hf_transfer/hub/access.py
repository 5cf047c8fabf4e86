"""May this run be pushed? Asked of the Hub before training, without creating anything there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_transfer.embedded import hub_id_of
from hf_transfer.hub.asked import Push, asked_push
from hf_transfer.hub.errors import broken, status_of, words
from hf_transfer.hub.requests import patience, persist
from hf_transfer.hub.rights import refusal
from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.peft_methods import kind_of, merges, name_of

WHERE = "push to the Hub"
LATER = "train without --push_to_hub and run `hft push RUN_DIR` when it can be"
LOG_IN = "run `hf auth login`, or set HF_TOKEN, with a token that may write (huggingface.co/settings/tokens)"
PATIENCE = 30.0  # seconds of trouble before training is refused


@dataclass(frozen=True)
class Access:
    """What the Hub says about a push: with the whole repository id, the fact for the plan, and further notes."""

    push: Push
    fact: str
    notes: tuple[str, ...] = ()


def checked_push(
    args: Any, adapter_only: bool, include_report: bool, peft_config: Any, base: Any
) -> Access | None:
    """`asked_push` and `check_push` together: what `finetune` asks before it trains; None without `push_to_hub`.

    Args:
        base: Hub id or folder of the base model, or the model itself.
    """
    if adapter_only and peft_config is not None and not merges(kind_of(peft_config)):
        what = f"{name_of(peft_config)} leaves no merged model, so the adapter is pushed alone in any case"
        raise Problems(Problem("--hub_adapter_only", what, "leave it out"))
    name = str(base if isinstance(base, str | Path) else base.config._name_or_path)
    push = asked_push(
        args,
        adapter_only=adapter_only,
        include_report=include_report,
        is_peft=peft_config is not None,
        base=hub_id_of(name),
    )
    return None if push is None else check_push(push, named=bool(args.hub_model_id))


def check_push(push: Push, named: bool = True) -> Access:
    """Ask the Hub whether `push` can succeed; nothing is created.

    Args:
        named: the user named the repository (else its name is said in a note).

    Raises:
        Problems: no or a wrong token, no right to write there, a name the Hub does not take, an existing repository
            that would be exposed or broken, no connection.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(push.repo_id)
    except HFValidationError as error:
        raise Problems(Problem("--hub_model_id", " ".join(str(error).split()), "give me/name")) from error
    if constants.HF_HUB_OFFLINE:
        asked = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE")
        what = "HF_HUB_OFFLINE is set" if asked else f"the Hub ({constants.ENDPOINT}) cannot be reached"
        raise Problems(Problem(WHERE, what, f"{'unset it' if asked else 'try again later'}, or {LATER}"))
    if get_token() is None:
        raise Problems(Problem(WHERE, "there is no token for the Hub", LOG_IN))
    try:
        return persist(lambda: _ask(HfApi(), push, named), lambda line: None, patience(PATIENCE))
    except (Problems, KeyboardInterrupt):
        raise
    except Exception as error:
        if status_of(error) == 401:
            raise Problems(Problem(WHERE, "the Hub does not accept the token", LOG_IN)) from error
        where = f" ({constants.ENDPOINT})" if broken(error) else ""
        raise Problems(Problem(WHERE, words(error) + where, f"try again later, or {LATER}")) from error


def _ask(api: Any, push: Push, named: bool) -> Access:
    me = api.whoami()
    owner, _, name = push.repo_id.rpartition("/")
    push = replace(push, repo_id=f"{owner or me['name']}/{name}")
    info = _existing(api, push.repo_id)
    if why := refusal(me, push.repo_id, exists=info is not None):
        raise Problems(Problem(WHERE, why, f"{LOG_IN}, or choose another --hub_model_id"))
    if info is None:
        visible = {True: "private", False: "public", None: "public unless its owner's default is private"}
        fact = f"{push.repo_id}: new, {visible[push.private]}"
    else:
        _may_write(api, push.repo_id)
        check_existing(push, info)
        fact = f"{push.repo_id}: exists, {'private' if info.private else 'public'}"
        foreign = [file.rfilename for file in info.siblings or () if file.rfilename != ".gitattributes"]
        fact += (
            f", {len(foreign)} files there; those that this push does not write stay"
            if foreign
            else ", empty"
        )
    notes = (
        []
        if named
        else [f"--hub_model_id is not given: the repository is called {push.repo_id}, as the folder"]
    )
    return Access(push, f"{fact}; one upload at the end", tuple(notes))


def _existing(api: Any, repo_id: str) -> Any:
    """What the Hub knows of the repository; None where there is none."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        info = api.model_info(repo_id)
    except GatedRepoError as error:
        raise Problems(Problem(WHERE, f"{repo_id} is gated and this token has no access", LOG_IN)) from error
    except RepositoryNotFoundError:
        return None
    if info.disabled:
        raise Problems(Problem(WHERE, f"{repo_id} is disabled", "choose another --hub_model_id"))
    return info


def _may_write(api: Any, repo_id: str) -> None:
    """The Hub's own word on whether this token may write to an existing repository (a request that changes nothing)."""
    try:
        api.auth_check(repo_id, write=True)
    except TypeError:  # a huggingface_hub that cannot ask this yet
        return
    except Exception as error:
        if status_of(error) == 404:  # a server that cannot answer it
            return
        if status_of(error) in (401, 403):
            what = f"this token may not write to {repo_id}"
            raise Problems(Problem(WHERE, what, f"{LOG_IN}, or choose another --hub_model_id")) from error
        raise


def check_existing(push: Push, info: Any) -> None:
    """Stop where an existing repository would show what was to be private, or would be loaded as something else.

    Raises:
        Problems: what is in the way.
    """
    if push.private and not info.private:
        what = f"{push.repo_id} exists and is public, and a private one was asked for"
        mend = (
            "make it private in its settings, choose another --hub_model_id, or leave --hub_private_repo out"
        )
        raise Problems(Problem("--hub_private_repo", what, mend))
    if found := in_the_way((file.rfilename for file in info.siblings or ()), push.adapter_only):
        what = f"{push.repo_id} holds {found}, which would be loaded in place of what is pushed"
        raise Problems(
            Problem("--hub_model_id", what, "delete that file there, or choose another repository")
        )


def in_the_way(files: Iterable[str], adapter_only: bool) -> str:
    """The file at a repository's root by which transformers would load something else; or nothing."""
    wrong = ("model.safetensors", "pytorch_model.bin") if adapter_only else ("adapter_config.json",)
    return next((name for name in files if name in wrong), "")
