"""What stands in the way of a push is seen before training, and nothing is created."""

from __future__ import annotations

import json
from pathlib import Path

from hub_memory import FINE, FINE_ELSEWHERE, OTHER, READ, WRITE, Hub
from hub_runs import hft, run
from pushed_runs import push

CHECK = """
import json, os, sys
from hf_transfer.hub.access import check_push
from hf_transfer.hub.asked import Push
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


def test_no_connection_is_said_beforehand(hub: Hub, run_to_push: Path) -> None:
    hub.gone = True
    done = push(hub, run_to_push, wait="1")
    assert done.returncode == 2 and "the connection to the Hub failed" in done.stderr
    assert (
        "try again later, or train without --push_to_hub and run `hft push RUN_DIR` when it can be"
        in done.stderr
    )
    done = hft(hub, run_to_push.parent, "push", "run", HF_HUB_OFFLINE="1")
    assert done.returncode == 2 and "HF_HUB_OFFLINE is set" in done.stderr
    assert not (run_to_push / "push.json").exists()
    for words_, said in (
        (["push", "nowhere"], "no such folder"),
        (["push", "run", "--private"], "no such flag"),
    ):
        done = hft(hub, run_to_push.parent, *words_)
        assert done.returncode == 2 and said in done.stderr
    done = hft(hub, run_to_push.parent, "push", "run", "--hub_adapter_only")
    assert done.returncode == 2 and "there is no adapter without PEFT" in done.stderr
