"""A stand-in for the Hub on 127.0.0.1, which the unmodified clients speak to through HF_ENDPOINT.

It keeps repositories with their commits in memory, records every request with its body, and fails where it is told to.
It serves what huggingface_hub, transformers and datasets ask for: whoami, creation, the README check, preupload, LFS,
commits, information, trees and files. Uploads of large files are LFS (`CLIENT` switches Xet off, which it lacks).
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import hub_reads
import hub_writes
from hub_memory import USERS, Hub, Repo, Request

_API = r"/api/(model|dataset|space)s/([\w.-]+/[\w.-]+|[\w.-]+)"
_GIT = r"/(?:(dataset|space)s/)?([\w.-]+/[\w.-]+)"
ROUTES = (
    (r"GET /api/whoami-v2", hub_reads.whoami),
    (r"POST /api/repos/create", hub_writes.create),
    (r"POST /api/validate-yaml", hub_writes.validate),
    (rf"POST {_API}/preupload/([^/]+)", hub_writes.preupload),
    (rf"POST {_API}/commit/([^/]+)", hub_writes.commit),
    (rf"POST {_API}/paths-info/([^/]+)", hub_reads.paths_info),
    (rf"POST {_GIT}\.git/info/lfs/objects/batch", hub_writes.batch),
    (r"POST /.+\.git/info/lfs/objects/verify", hub_writes.verify),
    (r"PUT /lfs/(\w+)", hub_writes.put),
    (rf"GET {_API}/auth-check(/write)?", hub_reads.auth_check),
    (rf"GET {_API}/refs", hub_reads.refs),
    (rf"GET {_API}/tree/([^/]+)(?:/(.*))?", hub_reads.tree),
    (rf"(?:GET|HEAD) {_API}(?:/revision/(.+))?", hub_reads.info),
    (rf"(?:GET|HEAD) {_GIT}/resolve/([^/]+)/(.+)", hub_reads.resolve),
)


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
                    return method(self, parse_qs(url.query), *found.groups())
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
