"""Requests that change the stand-in for the Hub; `to` is the handler that answers."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from hub_cards import card_errors
from hub_memory import blob, is_lfs


def create(to: Any, query: Any) -> None:
    asked, user = json.loads(to.seen.body), to.user()
    if user is None:
        return to.wrong(401, "", "Invalid username or password.")
    kind, repo_id = (
        asked.get("type") or "model",
        f"{asked.get('organization') or user['name']}/{asked['name']}",
    )
    prefix = "" if kind == "model" else f"{kind}s/"
    url = f"{to.memory.endpoint}/{prefix}{repo_id}"
    if not to.may_write(repo_id):
        return to.wrong(403, "", f"You don't have the rights to create a {kind} under this namespace")
    if (kind, repo_id) in to.memory.repos:
        return to.answer(409, {"error": f"You already created this {kind} repo", "url": url})
    private = asked.get("visibility") == "private" or asked.get("private") is True  # newer and older clients
    to.memory.add(repo_id, {}, kind, private=private)
    to.answer(200, {"url": url, "name": repo_id, "id": "0"})


def validate(to: Any, query: Any) -> None:
    errors = card_errors(json.loads(to.seen.body)["content"])
    found = {"errors": [{"message": error} for error in errors], "warnings": []}
    to.answer(400 if errors else 200, {"error": "; ".join(errors), **found} if errors else found)


def preupload(to: Any, query: Any, kind: str, repo_id: str, revision: str) -> None:
    if (repo := to.writable(kind, repo_id)) is None:
        return
    found = []
    for file in json.loads(to.seen.body)["files"]:
        there, lfs = repo.files.get(file["path"]), is_lfs(file["path"], file["size"])
        oid = {} if there is None else {"oid": hashlib.sha256(there).hexdigest() if lfs else blob(there)}
        mode = "lfs" if lfs else "regular"
        found.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, **oid})
    to.answer(200, {"files": found})


def batch(to: Any, query: Any, kind: str | None, repo_id: str) -> None:
    if to.writable(kind or "model", repo_id) is None:
        return
    found = []
    for asked in json.loads(to.seen.body)["objects"]:
        href = f"{to.memory.endpoint}/lfs/{asked['oid']}?X-Signature=secret"
        verify = f"{to.memory.endpoint}/{repo_id}.git/info/lfs/objects/verify"
        actions = {"actions": {"upload": {"href": href}, "verify": {"href": verify}}}
        found.append({**asked, **({} if asked["oid"] in to.memory.lfs else actions)})
    to.answer(200, {"transfer": "basic", "objects": found})


def put(to: Any, query: Any, oid: str) -> None:
    if hashlib.sha256(to.seen.body).hexdigest() != oid:
        return to.answer(400, {"error": "the digest is another"})
    to.memory.lfs[oid] = to.seen.body
    to.answer(200)


def verify(to: Any, query: Any) -> None:
    asked = json.loads(to.seen.body)
    there = to.memory.lfs.get(asked["oid"])
    to.answer(200 if there is not None and len(there) == asked["size"] else 404, {})


def commit(to: Any, query: Any, kind: str, repo_id: str, revision: str) -> None:
    if (repo := to.writable(kind, repo_id)) is None:
        return
    lines = [json.loads(line) for line in to.seen.body.splitlines() if line.strip()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    if header.get("parentCommit") not in (None, repo.commits[-1]["oid"]):
        return to.wrong(412, "", "A commit has happened since. Please refresh and try again.")
    files = dict(repo.files)
    for line in lines:
        key, value = line["key"], line["value"]
        if key == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            if value["oid"] not in to.memory.lfs:
                return to.answer(400, {"error": "LFS pointer pointed to a file that does not exist"})
            files[value["path"]] = to.memory.lfs[value["oid"]]
        elif key == "deletedFile":
            files.pop(value["path"], None)
    oid = repo.commit(header["summary"], files)
    url = f"{to.memory.endpoint}/{repo_id}/commit/{oid}"
    to.answer(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})
