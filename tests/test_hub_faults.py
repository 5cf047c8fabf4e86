"""What goes wrong during a push: what the user sees, the exit code, and that `hft push` finishes it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from hub_memory import Fault, Hub
from hub_runs import run
from pushed_runs import MODEL, push, pushed


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param(Fault("GET /api/whoami-v2", 503), "", marks=pytest.mark.full),
        (Fault("POST /api/repos/create", 500), "the Hub is in trouble (500); trying again in 1 s"),
        pytest.param(
            Fault("POST /api/models/.*/preupload", 502),
            "the Hub answered 502; trying again in 1 s",
            marks=pytest.mark.full,
        ),
        (Fault("PUT /lfs/", 503), "the Hub answered 503; trying again in 1 s"),
        (Fault("PUT /lfs/", "drop"), "the connection to the Hub failed; trying again in 1 s"),
        (
            Fault("POST .*/commit/", 429, headers={"Retry-After": "1"}),
            "the Hub has had too many requests (429): told to fail; trying again in 1 s",
        ),
        pytest.param(
            Fault("GET /api/models/me/run", 429, headers={"Retry-After": "2"}), "", marks=pytest.mark.full
        ),
        (Fault("POST .*/commit/", "lose"), "the connection to the Hub failed; trying again in"),
    ],
    ids=lambda value: f"{value.where} {value.kind}" if isinstance(value, Fault) else "",
)
def test_a_passing_fault_is_borne(fault: Fault, told: str, hub: Hub, run_to_push: Path) -> None:
    hub.faults = [fault]
    started = time.monotonic()
    done = push(hub, run_to_push, wait="60")
    assert done.returncode == 0, done.stderr
    assert told in done.stderr and fault.times == 0
    if fault.headers:
        assert time.monotonic() - started >= float(fault.headers["Retry-After"])
    assert (
        len(hub.repos["model", "me/run"].commits) == 2
    )  # one commit of ours, the answer of a first one lost or not
    assert pushed(hub)["model.safetensors"] == MODEL["model.safetensors"]


@pytest.mark.parametrize(
    ("where", "kind", "headers", "told"),
    [
        ("PUT /lfs/", "drop", {}, "the connection to the Hub failed"),
        ("POST .*/commit/", 500, {}, r"the Hub is in trouble \(500\)|the Hub answered 500"),
        ("POST .*/commit/", 429, {"Retry-After": "3600"}, r"the Hub asks to come back in 3600 s \(429\)"),
        ("POST .*/commit/", 401, {}, r"the Hub does not accept the token \(401\).* Run `hf auth login`"),
        pytest.param(
            *("POST .*/commit/", 403, {}, r"the token may not do this \(403\).* Use a token that may write"),
            marks=pytest.mark.full,
        ),
        pytest.param(
            *(
                "POST /api/repos/create",
                500,
                {},
                r"the Hub is in trouble \(500\)|the Hub answered 500",
            ),
            marks=pytest.mark.full,
        ),
    ],
)
def test_a_lasting_fault_is_said_and_finished_later(
    where: str, kind: int | str, headers: dict[str, str], told: str, hub: Hub, run_to_push: Path
) -> None:
    hub.faults = [Fault(where, kind, 10**6, headers)]
    started = time.monotonic()
    done = push(hub, run_to_push, "--hub_model_id", "me/later", "--hub_private_repo")
    assert done.returncode == 1 and re.search(f"The push to me/later failed: ({told})", done.stderr), (
        done.stderr
    )
    assert time.monotonic() - started < 25  # bounded, though the client alone would go on for longer
    assert done.stderr.splitlines()[-1] == "The model is safe in run. To finish the push: hft push run"
    kept = json.loads((run_to_push / "push.json").read_text())
    assert kept["repo_id"] == "me/later" and kept["private"] and kept["commit"] is None
    before = len(hub.sent("PUT /lfs/"))
    hub.faults = []
    done = push(hub, run_to_push)
    assert done.returncode == 0 and hub.repos["model", "me/later"].private, done.stderr
    if "commit" in where:
        assert len(hub.sent("PUT /lfs/")) == before == 1  # the weights were there already
    assert pushed(hub, "me/later")["model.safetensors"] == MODEL["model.safetensors"]
    assert (
        json.loads((run_to_push / "push.json").read_text())["commit"]
        == hub.repos["model", "me/later"].commits[-1]["oid"]
    )


def test_a_commit_of_somebody_else_in_between(hub: Hub, run_to_push: Path) -> None:
    def another() -> None:
        repo = hub.repos["model", "me/run"]
        repo.commit("theirs", {**repo.files, "theirs.txt": b"theirs"})

    hub.faults = [Fault("POST .*/commit/", another)]
    done = push(hub, run_to_push, wait="60")
    assert done.returncode == 0 and "somebody else has just changed the repository (412)" in done.stderr, (
        done.stderr
    )
    assert pushed(hub)["theirs.txt"] == b"theirs" and "left as they are in me/run: theirs.txt" in done.stderr
    assert [commit["title"] for commit in hub.repos["model", "me/run"].commits][1] == "theirs"
    assert "config.json" in pushed(hub)


def test_ctrl_c_says_how_to_finish(hub: Hub, run_to_push: Path) -> None:
    pids: list[int] = []
    hub.faults = [Fault("POST .*/commit/", lambda: (os.kill(pids[0], signal.SIGINT), time.sleep(1), None)[2])]
    script = (
        "import os, signal, sys; from pathlib import Path; Path('pid').write_text(str(os.getpid()))\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # what is started in the background ignores it
        "from hf_transfer.cli import main; sys.exit(main(['push', 'run']))"
    )

    def read_pid() -> None:
        pids.append(int((run_to_push.parent / "pid").read_text()))

    hub.faults.insert(0, Fault("GET /api/whoami-v2", read_pid))
    done = run(hub, run_to_push.parent, "-c", script)
    assert done.returncode == 130 and "hft push run" in done.stderr.splitlines()[-1], done.stderr
    assert push(hub, run_to_push).returncode == 0
