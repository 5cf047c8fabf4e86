"""What a token may do, from what the Hub says about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def refusal(me: Mapping[str, Any], repo_id: str, exists: bool) -> str:
    """Why the token's owner or its rights (`whoami`) do not allow to write to `repo_id`; nothing where they do.

    Tokens are of three kinds: `read`, `write`, and `fineGrained` with rights for single owners and repositories.
    """
    owner = repo_id.partition("/")[0].lower()
    orgs = {str(org.get("name", "")).lower(): org for org in me.get("orgs") or ()}
    if owner != str(me.get("name", "")).lower() and owner not in orgs:
        return f"{me.get('name')}, whose token this is, is no member of {repo_id.partition('/')[0]}"
    if (orgs.get(owner) or {}).get("roleInOrg") in ("read", "no_access"):
        return f"{me.get('name')} may only read in {repo_id.partition('/')[0]}"
    token = (me.get("auth") or {}).get("accessToken") or {}
    if token.get("role") == "read":
        return "this token may only read"
    if token.get("role") != "fineGrained":
        return ""
    for scope in (token.get("fineGrained") or {}).get("scoped") or ():
        name = str((scope.get("entity") or {}).get("name", "")).lower()
        may = {"repo.write", "repo.content.write"} & set(scope.get("permissions") or ())
        if may and (name == owner or (exists and name == repo_id.lower())):
            return ""
    return f"this fine-grained token has no right to write to {repo_id}"
