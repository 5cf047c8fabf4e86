"""What goes wrong with a push: what the user sees, the exit code, and that `hft push` finishes it."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_runs import SECRET, write_run
from hub_runs import hft, run
from hub_stand_in import FINE, FINE_ELSEWHERE, OTHER, READ, WRITE, Fault, Hub, card_errors, stand_in
from huggingface_hub import ModelCard

from hf_transfer.hub_asked import slug
from hf_transfer.hub_errors import asked_to_wait, words
from hf_transfer.hub_rights import refusal
from hf_transfer.licenses import license_warnings
from hf_transfer.report.card import card_text
from hf_transfer.report.read import read_record
from hf_transfer.run import OWN, clear

MODEL = {
    "config.json": b'{"_name_or_path": "/home/someone/base", "architectures": ["BertForSequenceClassification"]}',
    "model.safetensors": b"weights" * 1000,
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b'{"model_max_length": 16}',
    "training_args.bin": b"a pickle",
    "optimizer.pt": b"another",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with stand_in() as hub:
        yield hub


@pytest.fixture
def hub(server: Hub) -> Hub:
    server.reset()
    server.repos.clear()
    server.lfs.clear()
    return server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`run`: a finished run, as far as a push reads it."""
    return make_run(tmp_path / "run")


def make_run(folder: Path, kind: str = "single") -> Path:
    write_run(folder, kind, files=[*MODEL, "predictions.parquet", "history.jsonl"])
    for name, data in MODEL.items():
        (folder / name).write_bytes(data)
    (folder / "data.txt").write_text(SECRET)  # the user's own, which the run did not write
    (folder / "checkpoint-1").mkdir()
    (folder / "checkpoint-1" / "model.safetensors").write_bytes(b"older")
    return folder


def push(
    hub: Hub, folder: Path, *flags: str, token: str | None = WRITE, wait: str = "2"
) -> subprocess.CompletedProcess[str]:
    done = hft(hub, folder.parent, "push", "run", *flags, token=token, HF_TRANSFER_HUB_PATIENCE=wait)
    assert "Traceback" not in done.stderr and "X-Signature" not in done.stderr, done.stderr
    assert not re.search(r"hf_[a-zA-Z]*\d{5}", done.stderr + done.stdout)
    return done


def pushed(hub: Hub, repo_id: str = "me/run") -> dict[str, bytes]:
    return hub.repos["model", repo_id].files


# What gets better by itself: code 0.


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
def test_a_passing_fault_is_borne(fault: Fault, told: str, hub: Hub, folder: Path) -> None:
    hub.faults = [fault]
    started = time.monotonic()
    done = push(hub, folder, wait="60")
    assert done.returncode == 0, done.stderr
    assert told in done.stderr and fault.times == 0
    if fault.headers:
        assert time.monotonic() - started >= float(fault.headers["Retry-After"])
    assert (
        len(hub.repos["model", "me/run"].commits) == 2
    )  # one commit of ours, the answer of a first one lost or not
    assert pushed(hub)["model.safetensors"] == MODEL["model.safetensors"]


# What does not: code 1, the model safe, and finished by the same command.


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
    where: str, kind: int | str, headers: dict[str, str], told: str, hub: Hub, folder: Path
) -> None:
    hub.faults = [Fault(where, kind, 10**6, headers)]
    started = time.monotonic()
    done = push(hub, folder, "--hub_model_id", "me/later", "--hub_private_repo")
    assert done.returncode == 1 and re.search(f"The push to me/later failed: ({told})", done.stderr), (
        done.stderr
    )
    assert time.monotonic() - started < 25  # bounded, though the client alone would go on for longer
    assert done.stderr.splitlines()[-1] == "The model is safe in run. To finish the push: hft push run"
    kept = json.loads((folder / "push.json").read_text())
    assert kept["repo_id"] == "me/later" and kept["private"] and kept["commit"] is None
    before = len(hub.sent("PUT /lfs/"))
    hub.faults = []
    done = push(hub, folder)
    assert done.returncode == 0 and hub.repos["model", "me/later"].private, done.stderr
    if "commit" in where:
        assert len(hub.sent("PUT /lfs/")) == before == 1  # the weights were there already
    assert pushed(hub, "me/later")["model.safetensors"] == MODEL["model.safetensors"]
    assert (
        json.loads((folder / "push.json").read_text())["commit"]
        == hub.repos["model", "me/later"].commits[-1]["oid"]
    )


def test_a_commit_of_somebody_else_in_between(hub: Hub, folder: Path) -> None:
    def another() -> None:
        repo = hub.repos["model", "me/run"]
        repo.commit("theirs", {**repo.files, "theirs.txt": b"theirs"})

    hub.faults = [Fault("POST .*/commit/", another)]
    done = push(hub, folder, wait="60")
    assert done.returncode == 0 and "somebody else has just changed the repository (412)" in done.stderr, (
        done.stderr
    )
    assert pushed(hub)["theirs.txt"] == b"theirs" and "left as they are in me/run: theirs.txt" in done.stderr
    assert [commit["title"] for commit in hub.repos["model", "me/run"].commits][1] == "theirs"
    assert "config.json" in pushed(hub)


def test_other_content_stays(hub: Hub, folder: Path) -> None:
    hub.add(
        "me/run",
        {"notes.md": b"mine", "model.safetensors": b"old", "pytorch_model.bin": b"older"},
        private=True,
    )
    done = push(hub, folder)
    assert done.returncode == 0 and "me/run: exists, private, 3 files there" in done.stderr
    assert "left as they are in me/run: notes.md, pytorch_model.bin" in done.stderr
    assert (
        pushed(hub)["notes.md"] == b"mine" and pushed(hub)["model.safetensors"] == MODEL["model.safetensors"]
    )
    again = push(hub, folder)
    assert (
        again.returncode == 0 and len(hub.repos["model", "me/run"].commits) == 2
    )  # nothing changed: no commit


def test_only_what_belongs_there_is_pushed(hub: Hub, folder: Path) -> None:
    assert hft(hub, folder.parent, "report", "run").returncode == 0
    assert push(hub, folder).returncode == 0
    texts = {"config.json", "tokenizer.json", "tokenizer_config.json", "README.md", ".gitattributes"}
    plots = {f"plots/{name}.png" for name in ("learning_curve", "confusion", "per_class")}
    assert set(pushed(hub)) == texts | plots | {"model.safetensors"}
    assert SECRET in (folder / "report.html").read_text()
    for secret in (SECRET, "/home/someone", str(folder), "a pickle", WRITE):
        assert secret.encode() not in hub.uploaded()
    assert 'model="me/run"' in pushed(hub)["README.md"].decode()
    assert "push.json" in OWN
    clear(folder)
    assert not (folder / "push.json").exists() and (folder / "data.txt").exists()


def test_a_card_edited_by_hand_goes_as_it_is(hub: Hub, folder: Path) -> None:
    card = folder / "README.md"
    card.write_text(card_text(read_record(folder)).replace("## Limits", "Ask us first.\n\n## Limits"))
    assert push(hub, folder).returncode == 0
    content = pushed(hub)["README.md"].decode()
    assert "Ask us first." in content and 'model="me/run"' in content
    card.write_text("---\nlicense: my-own\n---\n")
    done = push(hub, folder)
    assert done.returncode == 1 and '"license" must be one of' in done.stderr
    card.write_text(f"See {folder.parent}/data.csv\n")
    done = push(hub, folder)
    assert done.returncode == 1 and "README.md names a folder of this machine" in done.stderr


def test_ctrl_c_says_how_to_finish(hub: Hub, folder: Path) -> None:
    pids: list[int] = []
    hub.faults = [Fault("POST .*/commit/", lambda: (os.kill(pids[0], signal.SIGINT), time.sleep(1), None)[2])]
    script = (
        "import os, sys; from pathlib import Path; Path('pid').write_text(str(os.getpid()))\n"
        "from hf_transfer.cli import main; sys.exit(main(['push', 'run']))"
    )

    def read_pid() -> None:
        pids.append(int((folder.parent / "pid").read_text()))

    hub.faults.insert(0, Fault("GET /api/whoami-v2", read_pid))
    done = run(hub, folder.parent, "-c", script)
    assert done.returncode == 130 and "hft push run" in done.stderr.splitlines()[-1], done.stderr
    assert push(hub, folder).returncode == 0


# What is seen beforehand: code 2, and nothing is created.

CHECK = """
import json, os, sys
from hf_transfer.hub_access import check_push
from hf_transfer.hub_asked import Push
from hf_transfer.problems import Problems
for token, repo_id, private, adapter in json.loads(sys.argv[1]):
    os.environ.pop("HF_TOKEN", None)
    os.environ |= {"HF_TOKEN": token} if token else {}
    try:
        print(check_push(Push(repo_id, private, adapter)).fact)
    except Problems as error:
        print(" ".join(str(error).split()))
"""


def test_what_stands_in_the_way_is_said_beforehand(hub: Hub, tmp_path: Path) -> None:
    hub.add("me/public", {"a.txt": b""})
    hub.add("me/adapter", {"adapter_config.json": b""})
    hub.add("me/merged", {"model.safetensors": b""})
    hub.add("me/one-repo", {})
    hub.add("other/public", {})
    asked = {
        (None, "me/x", None, False): "there is no token for the Hub -> run `hf auth login`, or set HF_TOKEN",
        ("hf_wrongToken0123456789", "me/x", None, False): "the Hub does not accept the token -> run `hf auth login`",
        (READ, "me/x", None, False): "this token may only read",
        (OTHER, "me/x", None, False): "other, whose token this is, is no member of me",
        (WRITE, "readers/x", None, False): "me may only read in readers",
        (WRITE, "other/public", None, False): "me, whose token this is, is no member of other",
        (FINE_ELSEWHERE, "me/x", None, False): "this fine-grained token has no right to write to me/x",
        (FINE_ELSEWHERE, "me/one-repo", None, False): "me/one-repo: exists, public, empty; one upload at the end",
        (FINE, "me/x", True, False): "me/x: new, private; one upload at the end",
        (WRITE, "x", False, False): "me/x: new, public; one upload at the end",
        (WRITE, "team/x", None, False): "team/x: new, public unless its owner's default is private",
        (WRITE, "me/public", True, False): "me/public exists and is public, and a private one was asked for",
        (WRITE, "me/adapter", None, False): "me/adapter holds adapter_config.json, which would be loaded",
        (WRITE, "me/merged", None, True): "me/merged holds model.safetensors, which would be loaded",
        (WRITE, "me/a/b", None, False): "--hub_model_id: Repo id must be in the form",
        (WRITE, "me/a--b", None, False): "--hub_model_id: Cannot have -- or ..",
    }  # fmt: skip
    repos = set(hub.repos)
    done = run(hub, tmp_path, "-c", CHECK, json.dumps(list(asked)))
    assert done.returncode == 0, done.stderr
    for (given, expected), said in zip(asked.items(), done.stdout.splitlines(), strict=True):
        assert expected in said, (given, said)
    assert set(hub.repos) == repos and not hub.sent("POST|PUT|DELETE")


def test_no_connection_is_said_beforehand(hub: Hub, folder: Path) -> None:
    hub.gone = True
    done = push(hub, folder, wait="1")
    assert done.returncode == 2 and "the connection to the Hub failed" in done.stderr
    assert (
        "try again later, or train without --push_to_hub and run `hft push RUN_DIR` when it can be"
        in done.stderr
    )
    done = hft(hub, folder.parent, "push", "run", HF_HUB_OFFLINE="1")
    assert done.returncode == 2 and "HF_HUB_OFFLINE is set" in done.stderr
    assert not (folder / "push.json").exists()
    for words_, said in (
        (["push", "nowhere"], "no such folder"),
        (["push", "run", "--private"], "no such flag"),
    ):
        done = hft(hub, folder.parent, *words_)
        assert done.returncode == 2 and said in done.stderr
    done = hft(hub, folder.parent, "push", "run", "--hub_adapter_only")
    assert done.returncode == 2 and "there is no adapter without PEFT" in done.stderr


# The pieces.


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_cards_are_valid_for_the_hub(kind: str, hub: Hub, tmp_path: Path) -> None:
    make_run(tmp_path / "run", kind)
    content = card_text(read_record(tmp_path / "run"), "me/run")
    assert card_errors(content) == []
    script = (
        "import sys; from huggingface_hub import ModelCard; ModelCard(open(sys.argv[1]).read()).validate()"
    )
    (tmp_path / "good.md").write_text(content)
    (tmp_path / "bad.md").write_text(re.sub(r"\nlicense: .*", "\nlicense: Apache 2", content))
    if "https://huggingface.co/api" in inspect.getsource(ModelCard.validate):
        pytest.skip("this huggingface_hub validates at huggingface.co alone")
    codes = [run(hub, tmp_path, "-c", script, name).returncode for name in ("good.md", "bad.md")]
    assert codes == [0, 1] and len(hub.sent("POST /api/validate-yaml")) == 2
    broken = ModelCard(content)
    broken.data.eval_results[0].metric_value = None
    assert any("value" in error for error in card_errors(str(broken)))


def test_licences_that_forbid_are_flagged() -> None:
    assert license_warnings("apache-2.0", "cc-by-4.0", published=True) == []
    assert [found["what"] for found in license_warnings("cc-by-nd-4.0", "cc-by-nc-sa-4.0")] == [
        "cc-by-nd-4.0 forbids passing on changed versions, and a fine-tuned model is one",
        "cc-by-nc-sa-4.0 forbids commercial use",
    ]
    assert len(license_warnings("cc-by-nc-nd-4.0", None)) == 2
    assert license_warnings(None, None) == [] and len(license_warnings(None, None, published=True)) == 2
    assert "its own" in license_warnings("other", "mit")[0]["what"]


def test_how_long_a_server_asks_to_wait() -> None:
    class Answer:
        status_code = 429
        headers: dict[str, str] = {}

    for headers, seconds in (
        ({"retry-after": "7"}, 7),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "soon"}, 0),
        ({"ratelimit": '"api";r=0;t=55'}, 55),
        ({"ratelimit": '"api";r=3;t=55'}, 0),
        ({}, 0),
    ):
        Answer.headers = headers
        assert asked_to_wait(Answer()) == seconds
    assert (
        words(RuntimeError("see https://x.y/z?sig=1 with hf_abcdefghij0"))
        == "RuntimeError: see (address) with (token)"
    )


def test_names() -> None:
    assert slug("my run (2)") == "my-run-2" and slug("a--b..c") == "a-b-c" and slug("...") == "model"
    assert refusal({"name": "Me", "auth": {"type": "oauth"}}, "me/x", exists=False) == ""
