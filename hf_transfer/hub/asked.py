"""What is to be pushed, and where: from the training arguments, without asking the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_transfer.problems import Problem, Problems


@dataclass(frozen=True)
class Push:
    """What is to be pushed and where: `private` None leaves it to the Hub's default or the existing repository."""

    repo_id: str
    private: bool | None = None
    adapter_only: bool = False
    include_report: bool = False


def asked_push(
    args: Any, *, adapter_only: bool, include_report: bool, is_peft: bool, base: str | None
) -> Push | None:
    """What the training arguments ask to push; None without `push_to_hub`.

    Args:
        base: the Hub id of the base model, without which nobody could load an adapter alone.

    Raises:
        Problems: what contradicts itself.
    """
    if not args.push_to_hub:
        return None
    problems = []
    if getattr(args, "hub_revision", None):
        problems.append(Problem("--hub_revision", "a push goes to the main branch", "leave it out"))
    problems += check_adapter(adapter_only, is_peft, base)
    if problems:
        raise Problems(*problems)
    name = args.hub_model_id or slug(Path(args.output_dir).resolve().name)
    return Push(name, args.hub_private_repo, adapter_only, include_report)


def check_adapter(adapter_only: bool, is_peft: bool, base: str | None) -> list[Problem]:
    """Why an adapter cannot be pushed alone, if it was asked for."""
    if adapter_only and not is_peft:
        return [
            Problem(
                "--hub_adapter_only", "there is no adapter without PEFT", "add --peft lora or leave it out"
            )
        ]
    if adapter_only and not base:
        what = "nobody else could load the adapter: the base model is a folder of this machine"
        return [Problem("--hub_adapter_only", what, "name its Hub id with --base_model_id")]
    return []


def slug(name: str) -> str:
    """A folder's name as the Hub takes it for a repository."""
    text = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    return re.sub(r"-{2,}|\.{2,}", "-", text).strip("-.")[:96] or "model"
