"""What a push sends and leaves alone: files, cards, licences, names."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from example_runs import SECRET
from hub_cards import card_errors
from hub_memory import WRITE, Hub
from hub_runs import hft, run
from huggingface_hub import ModelCard
from pushed_runs import MODEL, make_run, push, pushed

from hf_transfer.hub.asked import slug
from hf_transfer.hub.errors import asked_to_wait, words
from hf_transfer.hub.rights import refusal
from hf_transfer.licenses import license_warnings
from hf_transfer.report.card import card_text
from hf_transfer.report.read import read_record
from hf_transfer.run_folder import OWN, clear


def test_other_content_stays(hub: Hub, run_to_push: Path) -> None:
    hub.add(
        "me/run",
        {"notes.md": b"mine", "model.safetensors": b"old", "pytorch_model.bin": b"older"},
        private=True,
    )
    done = push(hub, run_to_push)
    assert done.returncode == 0 and "me/run: exists, private, 3 files there" in done.stderr
    assert "left as they are in me/run: notes.md, pytorch_model.bin" in done.stderr
    assert (
        pushed(hub)["notes.md"] == b"mine" and pushed(hub)["model.safetensors"] == MODEL["model.safetensors"]
    )
    again = push(hub, run_to_push)
    assert (
        again.returncode == 0 and len(hub.repos["model", "me/run"].commits) == 2
    )  # nothing changed: no commit


def test_only_what_belongs_there_is_pushed(hub: Hub, run_to_push: Path) -> None:
    assert hft(hub, run_to_push.parent, "report", "run").returncode == 0
    assert push(hub, run_to_push).returncode == 0
    texts = {"config.json", "tokenizer.json", "tokenizer_config.json", "README.md", ".gitattributes"}
    plots = {f"plots/{name}.png" for name in ("learning_curve", "confusion", "per_class")}
    assert set(pushed(hub)) == texts | plots | {"model.safetensors"}
    assert SECRET in (run_to_push / "report.html").read_text()
    for secret in (SECRET, "/home/someone", str(run_to_push), "a pickle", WRITE):
        assert secret.encode() not in hub.uploaded()
    assert 'model="me/run"' in pushed(hub)["README.md"].decode()
    assert "push.json" in OWN
    clear(run_to_push)
    assert not (run_to_push / "push.json").exists() and (run_to_push / "data.txt").exists()


def test_a_card_edited_by_hand_goes_as_it_is(hub: Hub, run_to_push: Path) -> None:
    card = run_to_push / "README.md"
    card.write_text(card_text(read_record(run_to_push)).replace("## Limits", "Ask us first.\n\n## Limits"))
    assert push(hub, run_to_push).returncode == 0
    content = pushed(hub)["README.md"].decode()
    assert "Ask us first." in content and 'model="me/run"' in content
    card.write_text("---\nlicense: my-own\n---\n")
    done = push(hub, run_to_push)
    assert done.returncode == 1 and '"license" must be one of' in done.stderr
    card.write_text(f"See {run_to_push.parent}/data.csv\n")
    done = push(hub, run_to_push)
    assert done.returncode == 1 and "README.md names a folder of this machine" in done.stderr


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
