"""A stand-in for the Hub on 127.0.0.1, which the unmodified clients speak to through HF_ENDPOINT.

It keeps repositories with their commits in memory, records every request with its body, and fails where it is told to.
It serves what huggingface_hub, transformers and datasets ask for: whoami, creation, the README check, preupload, LFS,
commits, information, trees and files. Uploads of large files are LFS (`CLIENT` switches Xet off, which it lacks).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from hf_transfer.licenses import KNOWN

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


@contextmanager
def stand_in() -> Iterator[Hub]:
    """The server, running."""
    hub = Hub()

    class Handler(_Handler):
        memory = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_lfs(path: str, size: int) -> bool:
    return path.endswith(LFS_FILES) or size > 10_000_000


class _Handler(BaseHTTPRequestHandler):
    memory: Hub
    protocol_version = "HTTP/1.1"
    lock = threading.RLock()

    def log_message(self, *args: Any) -> None: ...

    def serve(self) -> None:
        hub, url = self.memory, urlsplit(self.path)
        path, here = unquote(url.path), f"{self.command} {unquote(url.path)}"
        given = (self.headers.get("authorization") or "").removeprefix("Bearer ") or None
        self.seen = Request(self.command, path, given, b"")
        self.lose = False
        fault = next((f for f in hub.faults if f.times > 0 and re.search(f.where, here)), None)
        if fault:
            fault.times -= 1
        if hub.gone or (fault and fault.kind == "drop"):
            self.seen.body = self.rfile.read(min(1000, int(self.headers.get("Content-Length") or 0)))
            hub.requests.append(self.seen)
            return self.hang_up()
        self.seen.body = self.body()
        hub.requests.append(self.seen)
        if fault and isinstance(fault.kind, int):
            return self.answer(fault.kind, {"error": "told to fail"}, fault.headers)
        if fault and callable(fault.kind):
            fault.kind()
        self.lose = fault is not None and fault.kind == "lose"
        with self.lock:
            for pattern, method in ROUTES:
                if found := re.fullmatch(pattern, here):
                    return getattr(self, method)(parse_qs(url.query), *found.groups())  # type: ignore[no-any-return]
        self.answer(404, {"error": f"the stand-in does not know {here}"})

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().strip(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(
        self, code: int, found: Any = None, headers: dict[str, str] | None = None, raw: bytes = b""
    ) -> None:
        self.seen.status = code
        if self.lose:
            return self.hang_up()
        data = raw if found is None else json.dumps(found).encode()
        sent = {"Content-Length": str(len(data)), "Content-Type": "application/json"} | (headers or {})
        self.send_response(code)
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def wrong(self, code: int, kind: str, said: str, headers: dict[str, str] | None = None) -> None:
        more = {"X-Error-Code": kind} if kind else {}
        self.answer(code, {"error": said}, {"X-Error-Message": said, **more, **(headers or {})})

    # Who may what.

    def user(self) -> dict[str, Any] | None:
        return USERS.get(self.seen.token or "")

    def may_write(self, repo_id: str) -> bool:
        user = self.user() or {}
        token = (user.get("auth") or {}).get("accessToken") or {}
        owner = repo_id.partition("/")[0]
        orgs = {org["name"] for org in user.get("orgs", ()) if org["roleInOrg"] != "read"}
        if token.get("role") == "fineGrained":
            return token["fineGrained"]["scoped"][0]["entity"]["name"] in (owner, repo_id)
        return token.get("role") == "write" and owner in {user["name"], *orgs}

    def repo(self, kind: str | None, repo_id: str, content: bool = False) -> Repo | None:
        """The repository as this token sees it; else the answer is given already."""
        if self.seen.token and self.user() is None:
            return self.wrong(401, "", "Invalid credentials in Authorization header")
        repo = self.memory.repos.get((kind or "model", repo_id))
        owner = repo_id.partition("/")[0]
        user = self.user()
        own = user is not None and owner in {user["name"], *(org["name"] for org in user["orgs"])}
        if repo is None or (repo.private and not own):
            return self.wrong(404 if user else 401, "RepoNotFound", "Repository not found")
        if content and repo.gated and not own:
            return self.wrong(403 if user else 401, "GatedRepo", f"Access to model {repo_id} is restricted")
        return repo

    def writable(self, kind: str, repo_id: str) -> Repo | None:
        repo = self.repo(kind, repo_id)
        if repo is not None and not self.may_write(repo_id):
            return self.wrong(403, "", "Forbidden: you do not have write access to this repository")
        return repo

    def commit_of(self, repo: Repo, revision: str) -> dict[str, Any] | None:
        found = repo.at(revision)
        return found if found is not None else self.wrong(404, "RevisionNotFound", "Invalid rev id")

    # The requests.

    def whoami(self, query: Any) -> None:
        user = self.user()
        if user is None:
            return self.wrong(401, "", "Invalid username or password.")
        self.answer(200, user)

    def create(self, query: Any) -> None:
        asked, user = json.loads(self.seen.body), self.user()
        if user is None:
            return self.wrong(401, "", "Invalid username or password.")
        kind, repo_id = (
            asked.get("type") or "model",
            f"{asked.get('organization') or user['name']}/{asked['name']}",
        )
        prefix = "" if kind == "model" else f"{kind}s/"
        url = f"{self.memory.endpoint}/{prefix}{repo_id}"
        if not self.may_write(repo_id):
            return self.wrong(403, "", f"You don't have the rights to create a {kind} under this namespace")
        if (kind, repo_id) in self.memory.repos:
            return self.answer(409, {"error": f"You already created this {kind} repo", "url": url})
        private = (
            asked.get("visibility") == "private" or asked.get("private") is True
        )  # newer and older clients
        self.memory.add(repo_id, {}, kind, private=private)
        self.answer(200, {"url": url, "name": repo_id, "id": "0"})

    def validate(self, query: Any) -> None:
        errors = card_errors(json.loads(self.seen.body)["content"])
        found = {"errors": [{"message": error} for error in errors], "warnings": []}
        self.answer(400 if errors else 200, {"error": "; ".join(errors), **found} if errors else found)

    def preupload(self, query: Any, kind: str, repo_id: str, revision: str) -> None:
        if (repo := self.writable(kind, repo_id)) is None:
            return
        found = []
        for file in json.loads(self.seen.body)["files"]:
            there, lfs = repo.files.get(file["path"]), is_lfs(file["path"], file["size"])
            oid = {} if there is None else {"oid": hashlib.sha256(there).hexdigest() if lfs else blob(there)}
            mode = "lfs" if lfs else "regular"
            found.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, **oid})
        self.answer(200, {"files": found})

    def batch(self, query: Any, kind: str | None, repo_id: str) -> None:
        if self.writable(kind or "model", repo_id) is None:
            return
        found = []
        for asked in json.loads(self.seen.body)["objects"]:
            href = f"{self.memory.endpoint}/lfs/{asked['oid']}?X-Signature=secret"
            verify = f"{self.memory.endpoint}/{repo_id}.git/info/lfs/objects/verify"
            actions = {"actions": {"upload": {"href": href}, "verify": {"href": verify}}}
            found.append({**asked, **({} if asked["oid"] in self.memory.lfs else actions)})
        self.answer(200, {"transfer": "basic", "objects": found})

    def put(self, query: Any, oid: str) -> None:
        if hashlib.sha256(self.seen.body).hexdigest() != oid:
            return self.answer(400, {"error": "the digest is another"})
        self.memory.lfs[oid] = self.seen.body
        self.answer(200)

    def verify(self, query: Any) -> None:
        asked = json.loads(self.seen.body)
        there = self.memory.lfs.get(asked["oid"])
        self.answer(200 if there is not None and len(there) == asked["size"] else 404, {})

    def commit(self, query: Any, kind: str, repo_id: str, revision: str) -> None:
        if (repo := self.writable(kind, repo_id)) is None:
            return
        lines = [json.loads(line) for line in self.seen.body.splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit") not in (None, repo.commits[-1]["oid"]):
            return self.wrong(412, "", "A commit has happened since. Please refresh and try again.")
        files = dict(repo.files)
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                if value["oid"] not in self.memory.lfs:
                    return self.answer(400, {"error": "LFS pointer pointed to a file that does not exist"})
                files[value["path"]] = self.memory.lfs[value["oid"]]
            elif key == "deletedFile":
                files.pop(value["path"], None)
        oid = repo.commit(header["summary"], files)
        url = f"{self.memory.endpoint}/{repo_id}/commit/{oid}"
        self.answer(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def info(self, query: Any, kind: str, repo_id: str, revision: str | None) -> None:
        if (repo := self.repo(kind, repo_id)) is None or (
            at := self.commit_of(repo, revision or "main")
        ) is None:
            return
        day = "2026-11-21T00:00:00.000Z"
        siblings = [{"rfilename": path} for path in sorted(at["files"])]
        self.answer(200, {"_id": "0" * 24, "id": repo_id, "modelId": repo_id, "sha": at["oid"], "private": repo.private,
                          "gated": "manual" if repo.gated else False, "disabled": False, "tags": [], "downloads": 0,
                          "likes": 0, "lastModified": day, "createdAt": day, "siblings": siblings})  # fmt: skip

    def auth_check(self, query: Any, kind: str, repo_id: str, write: str | None) -> None:
        repo = self.writable(kind, repo_id) if write else self.repo(kind, repo_id, content=True)
        if repo is not None:
            self.answer(200, {})

    def refs(self, query: Any, kind: str, repo_id: str) -> None:
        if (repo := self.repo(kind, repo_id)) is not None:
            head = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.commits[-1]["oid"]}
            self.answer(200, {"branches": [head], "converts": [], "tags": []})

    def tree(self, query: Any, kind: str, repo_id: str, revision: str, under: str | None) -> None:
        if (repo := self.repo(kind, repo_id)) is None or (at := self.commit_of(repo, revision)) is None:
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
            return self.wrong(404, "EntryNotFound", "not found")
        self.answer(
            200,
            found + [{"type": "directory", "oid": "0" * 40, "size": 0, "path": f} for f in sorted(folders)],
        )

    def paths_info(self, query: Any, kind: str, repo_id: str, revision: str) -> None:
        if (repo := self.repo(kind, repo_id)) is None or (at := self.commit_of(repo, revision)) is None:
            return
        text = self.seen.body.decode()
        paths = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text).get("paths", [])
        self.answer(200, [_entry(path, at["files"][path]) for path in paths if path in at["files"]])

    def resolve(self, query: Any, kind: str | None, repo_id: str, revision: str, path: str) -> None:
        repo = self.repo(kind, repo_id, content=True)
        if repo is None or (at := self.commit_of(repo, revision)) is None:
            return
        commit = {"X-Repo-Commit": at["oid"]}
        if (data := at["files"].get(path)) is None:
            return self.wrong(404, "EntryNotFound", "Entry not found", commit)
        tag = hashlib.sha256(data).hexdigest() if is_lfs(path, len(data)) else blob(data)
        headers = {
            **commit,
            "ETag": f'"{tag}"',
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        if is_lfs(path, len(data)):
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{tag}"'}
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return self.answer(206, None, headers, data[first : last + 1])
        self.answer(200, None, {**headers, "Content-Length": str(len(data))}, data)


def _entry(path: str, data: bytes) -> dict[str, Any]:
    found = {"type": "file", "oid": blob(data), "size": len(data), "path": path}
    if is_lfs(path, len(data)):
        found["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return found


_API = r"/api/(model|dataset|space)s/([\w.-]+/[\w.-]+|[\w.-]+)"
_GIT = r"/(?:(dataset|space)s/)?([\w.-]+/[\w.-]+)"
ROUTES = (
    (r"GET /api/whoami-v2", "whoami"),
    (r"POST /api/repos/create", "create"),
    (r"POST /api/validate-yaml", "validate"),
    (rf"POST {_API}/preupload/([^/]+)", "preupload"),
    (rf"POST {_API}/commit/([^/]+)", "commit"),
    (rf"POST {_API}/paths-info/([^/]+)", "paths_info"),
    (rf"POST {_GIT}\.git/info/lfs/objects/batch", "batch"),
    (r"POST /.+\.git/info/lfs/objects/verify", "verify"),
    (r"PUT /lfs/(\w+)", "put"),
    (rf"GET {_API}/auth-check(/write)?", "auth_check"),
    (rf"GET {_API}/refs", "refs"),
    (rf"GET {_API}/tree/([^/]+)(?:/(.*))?", "tree"),
    (rf"(?:GET|HEAD) {_API}(?:/revision/(.+))?", "info"),
    (rf"(?:GET|HEAD) {_GIT}/resolve/([^/]+)/(.+)", "resolve"),
)

# What the Hub's own check of a README refuses, as far as its documentation and its messages tell.
_ID = re.compile(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*")
_TEXTS = ("pipeline_tag", "library_name", "license_name", "license_link")


def card_errors(content: str) -> list[str]:
    """What is wrong with a card's front matter."""
    found = re.match(r"\s*---\r?\n(.*?)\r?\n---\r?\n", content, re.DOTALL)
    if not found:
        return []
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return [f"YAML: {error}"]
    errors = [f'"{key}" must be a string' for key in _TEXTS if not isinstance(data.get(key, ""), str)]
    stated = data.get("license", [])
    licences = stated if isinstance(stated, list) else [stated]
    errors += [
        f'"license" must be one of [{", ".join(sorted(KNOWN)[:4])}, ...]' for x in licences if x not in KNOWN
    ]
    if "license_name" in data and not re.fullmatch(r"[a-z0-9-.]+", str(data["license_name"])):
        errors.append('"license_name" fails to match /^[a-z0-9-.]+$/')
    if "license_link" in data and not re.match(r"https?://|LICENSE", str(data["license_link"])):
        errors.append('"license_link" must be LICENSE, LICENSE.md or a URL')
    for key in ("datasets", "base_model"):
        named = data.get(key, [])
        for name in named if isinstance(named, list) else [named]:
            if not isinstance(name, str) or not _ID.fullmatch(name):
                errors.append(f'"{key}" with value "{name}" is not valid')
    for key in ("tags", "metrics"):
        if not all(isinstance(item, str) for item in data.get(key, [])):
            errors.append(f'"{key}" must be an array of strings')
    if data.get("base_model_relation", "finetune") not in ("finetune", "adapter", "merge", "quantized"):
        errors.append('"base_model_relation" must be one of [adapter, merge, quantized, finetune]')
    return errors + [
        error for i, model in enumerate(data.get("model-index", [])) for error in _index(i, model)
    ]


def _index(i: int, model: dict[str, Any]) -> Iterator[str]:
    where = f"model-index[{i}]"
    if not isinstance(model.get("name"), str) or not model["name"]:
        yield f'"{where}.name" is required'
    if not isinstance(model.get("results"), list):
        yield f'"{where}.results" must be an array'
    for k, result in enumerate(model.get("results") or ()):
        here = f"{where}.results[{k}]"
        if not (result.get("task") or {}).get("type"):
            yield f'"{here}.task.type" is required'
        for key in ("type", "name"):
            if not isinstance((result.get("dataset") or {}).get(key), str):
                yield f'"{here}.dataset.{key}" is required'
        kind = str((result.get("dataset") or {}).get("type", ""))
        if not _ID.fullmatch(kind):
            yield f'"{here}.dataset.type" with value "{kind}" fails to match the required pattern'
        if not result.get("metrics"):
            yield f'"{here}.metrics" must contain at least 1 item'
        for m, metric in enumerate(result.get("metrics") or ()):
            value = metric.get("value")
            if not isinstance(metric.get("type"), str):
                yield f'"{here}.metrics[{m}].type" is required'
            if value is None or value != value or value in (float("inf"), float("-inf")):
                yield f'"{here}.metrics[{m}].value" is required'
