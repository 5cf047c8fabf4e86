"""What the stand-in for the Hub holds: users, repositories with their commits, requests, and faults to come."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

CLIENT = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
LFS_FILES = (".safetensors", ".bin", ".pt", ".pth", ".arrow", ".parquet", ".png")
WRITE, READ, OTHER = "hf_writeToken0123456789", "hf_readToken0123456789", "hf_otherToken0123456789"
FINE, FINE_ELSEWHERE = "hf_fineToken0123456789", "hf_fineElsewhere0123456789"
ORGS = [{"name": "team", "roleInOrg": "write"}, {"name": "readers", "roleInOrg": "read"}]


def _user(name: str, role: str, orgs: list[dict[str, str]] | None = None, scope: str = "") -> dict[str, Any]:
    token: dict[str, Any] = {"displayName": "t", "role": role}
    if role == "fineGrained":
        entity = {"_id": "0", "type": "user", "name": scope}
        token["fineGrained"] = {"global": [], "scoped": [{"entity": entity, "permissions": ["repo.write"]}]}
    auth = {"type": "access_token", "accessToken": token}
    return {"type": "user", "id": "u", "name": name, "fullname": name, "orgs": orgs or [], "auth": auth}


USERS = {
    WRITE: _user("me", "write", ORGS),
    READ: _user("me", "read"),
    OTHER: _user("other", "write"),
    FINE: _user("me", "fineGrained", scope="me"),
    FINE_ELSEWHERE: _user("me", "fineGrained", scope="me/one-repo"),
}


@dataclass
class Repo:
    """Commits, the newest last: `{"oid", "files": {path: content}, "title"}`; contents are bytes."""

    private: bool = False
    gated: bool = False
    commits: list[dict[str, Any]] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1]["files"]  # type: ignore[no-any-return]

    def commit(self, title: str, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(f"{title}{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits.append({"oid": oid, "files": files, "title": title})
        return oid

    def at(self, revision: str) -> dict[str, Any] | None:
        if revision in ("main", "HEAD", "refs/heads/main"):
            return self.commits[-1]
        return next((commit for commit in self.commits if commit["oid"] == revision), None)


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose `METHOD /path` fits `where`.

    kind: a status to answer with `headers`; `drop` (the connection, when part of the body was read), `lose` (the answer
    of a request that was carried out), or a function that is called before the request is served.
    """

    where: str
    kind: int | str | Callable[[], None]
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    method: str
    path: str
    token: str | None
    body: bytes
    status: int = 0


class Hub:
    """The server's memory."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.lfs: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.gone = False
        self.endpoint = ""

    def add(self, repo_id: str, files: dict[str, bytes], repo_type: str = "model", **kind: bool) -> Repo:
        """A repository that is there from the start."""
        repo = self.repos[(repo_type, repo_id)] = Repo(**kind)
        repo.commit("initial commit", {".gitattributes": b"", **files})
        return repo

    def reset(self) -> None:
        """Forget requests and faults, not repositories."""
        self.requests, self.faults, self.gone = [], [], False

    def sent(self, where: str) -> list[Request]:
        """The requests whose `METHOD /path` fits."""
        return [r for r in self.requests if re.search(where, f"{r.method} {r.path}")]

    def uploaded(self) -> bytes:
        """Every byte that was ever sent here in a body; files of a commit are decoded too."""
        found = [request.body for request in self.requests]
        for request in self.sent("/commit/"):
            lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
            found += [base64.b64decode(x["value"]["content"]) for x in lines if x["key"] == "file"]
        return b"\n".join(found)

    def environment(self, home: Any, token: str | None = WRITE) -> dict[str, str]:
        """For a client: its cache under `home`, and its token."""
        given = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), **CLIENT}
        return given | ({"HF_TOKEN": token} if token else {})


def blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_lfs(path: str, size: int) -> bool:
    return path.endswith(LFS_FILES) or size > 10_000_000
