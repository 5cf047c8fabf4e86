"""Requests that read from the stand-in for the Hub; `to` is the handler that answers."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any
from urllib.parse import parse_qs

from hub_memory import blob, is_lfs


def whoami(to: Any, query: Any) -> None:
    user = to.user()
    if user is None:
        return to.wrong(401, "", "Invalid username or password.")
    to.answer(200, user)


def info(to: Any, query: Any, kind: str, repo_id: str, revision: str | None) -> None:
    if (repo := to.repo(kind, repo_id)) is None or (at := to.commit_of(repo, revision or "main")) is None:
        return
    day = "2026-11-21T00:00:00.000Z"
    siblings = [{"rfilename": path} for path in sorted(at["files"])]
    to.answer(200, {"_id": "0" * 24, "id": repo_id, "modelId": repo_id, "sha": at["oid"], "private": repo.private,
                      "gated": "manual" if repo.gated else False, "disabled": False, "tags": [], "downloads": 0,
                      "likes": 0, "lastModified": day, "createdAt": day, "siblings": siblings})  # fmt: skip


def auth_check(to: Any, query: Any, kind: str, repo_id: str, write: str | None) -> None:
    repo = to.writable(kind, repo_id) if write else to.repo(kind, repo_id, content=True)
    if repo is not None:
        to.answer(200, {})


def refs(to: Any, query: Any, kind: str, repo_id: str) -> None:
    if (repo := to.repo(kind, repo_id)) is not None:
        head = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commits[-1]["oid"]}
        to.answer(200, {"branches": [head], "converts": [], "tags": []})


def tree(to: Any, query: Any, kind: str, repo_id: str, revision: str, under: str | None) -> None:
    if (repo := to.repo(kind, repo_id)) is None or (at := to.commit_of(repo, revision)) is None:
        return
    start = f"{under.strip('/')}/" if under else ""
    deep = query.get("recursive", ["false"])[0].lower() in ("1", "true")
    found, folders = [], set()
    for path, data in sorted(at["files"].items()):
        if path.startswith(start):
            parts = path[len(start) :].split("/")
            folders |= {
                start + "/".join(parts[:i]) for i in range(1, len(parts) if deep else min(2, len(parts)))
            }
            found += [_entry(path, data)] if deep or len(parts) == 1 else []
    if start and not found and not folders:
        return to.wrong(404, "EntryNotFound", "not found")
    to.answer(
        200,
        found + [{"type": "directory", "oid": "0" * 40, "size": 0, "path": f} for f in sorted(folders)],
    )


def paths_info(to: Any, query: Any, kind: str, repo_id: str, revision: str) -> None:
    if (repo := to.repo(kind, repo_id)) is None or (at := to.commit_of(repo, revision)) is None:
        return
    text = to.seen.body.decode()
    paths = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text).get("paths", [])
    to.answer(200, [_entry(path, at["files"][path]) for path in paths if path in at["files"]])


def resolve(to: Any, query: Any, kind: str | None, repo_id: str, revision: str, path: str) -> None:
    repo = to.repo(kind, repo_id, content=True)
    if repo is None or (at := to.commit_of(repo, revision)) is None:
        return
    commit = {"X-Repo-Commit": at["oid"]}
    if (data := at["files"].get(path)) is None:
        return to.wrong(404, "EntryNotFound", "Entry not found", commit)
    tag = hashlib.sha256(data).hexdigest() if is_lfs(path, len(data)) else blob(data)
    headers = {
        **commit,
        "ETag": f'"{tag}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
    }
    if is_lfs(path, len(data)):
        headers |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{tag}"'}
    if found := re.fullmatch(r"bytes=(\d+)-(\d*)", to.headers.get("Range") or ""):
        first, last = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return to.answer(206, None, headers, data[first : last + 1])
    to.answer(200, None, {**headers, "Content-Length": str(len(data))}, data)


def _entry(path: str, data: bytes) -> dict[str, Any]:
    found = {"type": "file", "oid": blob(data), "size": len(data), "path": path}
    if is_lfs(path, len(data)):
        found["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return found
