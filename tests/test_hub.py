"""The whole way through a stand-in for the Hub: model and data by id, training, push, the pushed model by id."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_cards import card_errors
from hub_memory import READ, WRITE, Fault, Hub
from hub_runs import LABELS, MARKER, ROOT, fill, hft, run
from hub_stand_in import stand_in

FLAGS = [
    "--model_name_or_path",
    "me/tiny",
    "--dataset_name",
    "me/moods",
    "--max_steps",
    "4",
    "--eval_steps",
    "2",
    "--save_steps",
    "2",
    "--logging_steps",
    "2",
    "--per_device_train_batch_size",
    "8",
    "--learning_rate",
    "1e-3",
    "--report_to",
    "none",
    "--cpu_threads",
    "1",
    "--skip_reload_check",
    "--probe",
    "false",
]
# Both runs in one process: the recipe pushes the first by its flags, Python the second.
TRAIN = """
import json, sys
from pathlib import Path
import hf_transfer
sys.path.insert(0, str(Path(hf_transfer.__file__).parent.parent / "recipes"))
from sentiment import main
flags = json.loads(sys.argv[1])
full = "--output_dir runs/full --push_to_hub --hub_model_id me/moods-full --hub_private_repo --hub_strategy every_save"
main(flags + full.split())
lora = main(flags + "--output_dir runs/lora --peft lora".split())
print("address", lora.push_to_hub("moods-lora", include_report=True))
late = "--output_dir runs/late --push_to_hub --hub_model_id me/late"
print("code", hf_transfer.command(lambda: main(flags + late.split())))
print("address", lora.push_to_hub("team/adapter", adapter_only=True, include_report=False, private=True))
"""
LOAD = """
import json
from peft import PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline
found = {}
for name in ("me/moods-full", "me/moods-lora"):
    found[name] = pipeline("text-classification", model=name)("we found the film lovely at home", top_k=None)
config = AutoConfig.from_pretrained("me/moods-lora")
base = AutoModelForSequenceClassification.from_pretrained("me/tiny", config=config)
beside = PeftModel.from_pretrained(base, "me/moods-lora", subfolder="adapter").eval()
inputs = AutoTokenizer.from_pretrained("me/moods-lora")("we found the film lovely at home", return_tensors="pt")
merged = AutoModelForSequenceClassification.from_pretrained("me/moods-lora").eval()
found["difference"] = (merged(**inputs).logits - beside(**inputs).logits).abs().max().item()
print(json.dumps(found))
"""
DENIED = """
import os
del os.environ["HF_TOKEN"]
try:
    pipeline("text-classification", model="me/moods-full")
except OSError as error:
    print("denied:", " ".join(str(error).split()))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Path, str]]:
    """The server after both runs were trained and pushed, the user's folder, and all that was said."""
    with stand_in() as hub:
        home = tmp_path_factory.mktemp("user")
        fill(hub, home)
        hub.faults = [Fault(r"POST .*me/late", "drop", times=10**6)]  # there before training, gone at the end
        done = run(hub, home, "-c", TRAIN, json.dumps(FLAGS), HF_TRANSFER_HUB_PATIENCE="2")
        assert done.returncode == 0, done.stderr
        yield hub, home, done.stdout + done.stderr


def files(hub: Hub, repo_id: str) -> dict[str, bytes]:
    return hub.repos["model", repo_id].files


def front(content: bytes) -> dict[str, Any]:
    return yaml.safe_load(content.decode().split("---\n")[1])  # type: ignore[no-any-return]


def test_a_push_holds_the_model_and_nothing_of_the_user(site: tuple[Hub, Path, str]) -> None:
    hub, home, said = site
    model = {
        ".gitattributes",
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    plots = {f"plots/{name}.png" for name in ("learning_curve", "confusion", "per_class")}
    adapter = {"adapter_config.json", "adapter_model.safetensors"}
    assert set(files(hub, "me/moods-full")) == model | plots
    beside = {f"adapter/{name}" for name in adapter}
    assert set(files(hub, "me/moods-lora")) == model | plots | beside | {"report.html"}
    assert set(files(hub, "team/adapter")) == model - {"model.safetensors"} | plots | adapter
    for repo_id in ("me/moods-full", "me/moods-lora", "team/adapter"):
        repo = hub.repos["model", repo_id]
        assert len(repo.commits) == 2  # the Hub's own first one and ours
        assert repo.private == (repo_id != "me/moods-lora")
    for name in ("me/moods-lora", "team/adapter"):
        config = json.loads(files(hub, name)[("" if "team" in name else "adapter/") + "adapter_config.json"])
        assert config["base_model_name_or_path"] == "me/tiny"
    assert json.loads((home / "runs/lora/push.json").read_text())["repo_id"] == "team/adapter"
    # Bytes, over everything sent and said; the report, which was asked for, quotes the data.
    report = files(hub, "me/moods-lora")["report.html"]
    assert MARKER.encode() in b"".join(path.read_bytes() for path in home.rglob("*.csv"))
    sent = hub.uploaded().replace(report, b"")
    for secret in (MARKER, WRITE, str(home), str(Path.home()), "marmalade"):
        assert secret.encode() not in sent and secret not in said, secret
    for path in (home / "runs").rglob("*"):
        assert not path.is_file() or WRITE.encode() not in path.read_bytes(), path


def test_the_plan_says_where_the_push_goes(site: tuple[Hub, Path, str]) -> None:
    said = " ".join(site[2].split())
    assert "push me/moods-full: new, private; one upload at the end" in said
    assert "licences mit (base model), cc-by-nc-4.0 (data)" in said
    assert "cc-by-nc-4.0 forbids commercial use" in said
    assert "--hub_strategy has no effect: there is one upload, at the end" in said
    assert f"address {site[0].endpoint}/me/moods-lora" in said


def test_the_pushed_models_are_loaded_by_id(site: tuple[Hub, Path, str]) -> None:
    hub, home, _ = site
    snippets = "".join(
        f"\n{re.findall(r'```python(.*?)```', files(hub, name)['README.md'].decode(), re.DOTALL)[0]}"
        for name in ("me/moods-full", "me/moods-lora", "team/adapter")
    )
    fresh = home.parent / f"{home.name}-other-machine"
    fresh.mkdir()
    done = run(hub, fresh, "-c", LOAD + snippets + DENIED)
    assert done.returncode == 0, done.stderr
    first, *asked = [line for line in done.stdout.splitlines() if line[:1] in "[{"]
    found = json.loads(first)
    for name in ("me/moods-full", "me/moods-lora"):
        assert {score["label"] for score in found[name]} == set(LABELS)
        assert sum(score["score"] for score in found[name]) == pytest.approx(1, abs=1e-4)
    assert found["difference"] < 1e-5
    answers = [ast.literal_eval(line.partition("  #")[0])[0] for line in asked]
    assert len(answers) == 3 and all(answer["label"] in LABELS for answer in answers)
    assert answers[1] == pytest.approx(answers[2])  # the adapter alone is the merged model
    assert re.search("denied: .*me/moods-full", done.stdout)  # it is private


def test_the_card_says_what_the_run_was(site: tuple[Hub, Path, str]) -> None:
    hub, home, _ = site
    content = files(hub, "me/moods-full")["README.md"]
    data, results = front(content), json.loads((home / "runs/full/all_results.json").read_text())
    assert card_errors(content.decode()) == []
    assert data["base_model"] == "me/tiny" and data["datasets"] == ["me/moods"]
    assert (data["license"], data["license_name"]) == (
        "other",
        "see-model-card",
    )  # mit, and no commercial use
    (result,) = data["model-index"][0]["results"]
    found = {metric["type"]: metric for metric in result["metrics"]}
    assert found["accuracy"]["value"] == pytest.approx(results["test_accuracy"], abs=1e-6)
    assert found["accuracy"]["args"]["baseline"] == pytest.approx(results["test_baseline_accuracy"], abs=1e-6)
    text = content.decode()
    assert "Base model: mit. Data: cc-by-nc-4.0." in text and 'model="me/moods-full"' in text
    assert "forbids commercial use" in text.split("## Limits")[1]
    record = json.loads((home / "runs/full/run.json").read_text())
    assert record["base_model"]["revision"] == hub.repos["model", "me/tiny"].commits[-1]["oid"]
    alone = front(files(hub, "team/adapter")["README.md"])
    assert (alone["library_name"], alone["base_model_relation"]) == ("peft", "adapter")


def test_a_push_that_failed_after_training_is_finished(site: tuple[Hub, Path, str]) -> None:
    hub, home, said = site
    assert "code 1" in said and "Traceback" not in said
    assert "The push to me/late failed: the connection to the Hub failed" in said
    assert "The model is safe in runs/late. To finish the push: hft push runs/late" in said
    assert (
        set(files(hub, "me/late")) == {".gitattributes"} and (home / "runs/late/all_results.json").is_file()
    )
    hub.faults = []
    done = hft(hub, home, "push", "runs/late")
    assert done.returncode == 0 and done.stdout.strip() == f"{hub.endpoint}/me/late", done.stderr
    assert files(hub, "me/late")["model.safetensors"] == (home / "runs/late/model.safetensors").read_bytes()


# Run one after the other; each prints its exit code after what it said.
REFUSED = """
import json, os, sys
from pathlib import Path
import hf_transfer
sys.path.insert(0, str(Path(hf_transfer.__file__).parent.parent / "recipes"))
from sentiment import main
for token, flags in json.loads(sys.argv[1]):
    os.environ["HF_TOKEN"] = token
    code = hf_transfer.command(lambda: main(flags))
    print("code", code, file=sys.stderr)
"""


def test_what_the_hub_does_not_give_is_said_before_training(site: tuple[Hub, Path, str]) -> None:
    hub, home, _ = site
    there = {path.name: path.read_bytes() for path in (home / "runs/full/checkpoint-2").iterdir()}
    hub.add("me/checkpoints", {f"checkpoint-2/{name}": data for name, data in there.items()})
    torn = {f"checkpoint-3/{name}": data for name, data in there.items() if name != "model.safetensors"}
    hub.repos["model", "me/checkpoints"].commit("torn", hub.repos["model", "me/checkpoints"].files | torn)
    hub.add("other/gated", {"config.json": b"{}"}, gated=True)
    hub.add("other/private", {"train.csv": b"text,label\na,b\n"}, "dataset", private=True)
    base = [*FLAGS, "--output_dir", "runs/refused"]

    def but(old: str, new: str) -> list[str]:
        return [new if word == old else word for word in base]

    cases = [
        (WRITE, but("me/tiny", "other/gated"), "login"),
        (WRITE, but("me/tiny", "me/none"), "me/none"),
        (WRITE, but("me/moods", "other/private"), "login"),
        (WRITE, [*base, "--resume_from_checkpoint", "me/none"], "the Hub knows none that this token may see"),
        (WRITE, [*base, "--resume_from_checkpoint", "me/moods-lora"], "holds no checkpoint"),
        (READ, [*base, "--push_to_hub", "--hub_model_id", "me/new"], "this token may only read"),
        (WRITE, [*base, "--push_to_hub", "--hub_adapter_only"], "no adapter without PEFT"),
        (WRITE, [*base, "--push_to_hub", "--hub_revision", "v2"], "goes to the main branch"),
        (WRITE, [*base, "--push_to_hub", "--hub_token", WRITE], "is refused"),
    ]
    resumed = [*FLAGS, "--output_dir", "runs/resumed", "--resume_from_checkpoint", "me/checkpoints"]
    repos = set(hub.repos)
    jobs = [(token, flags) for token, flags, _ in cases] + [(WRITE, resumed)]
    done = run(hub, home, "-c", REFUSED, json.dumps(jobs))
    told = re.split(r"code (\d+)\n", done.stderr)
    assert told[1::2] == ["2"] * len(cases) + ["0"], done.stderr
    for (_, flags, expected), text in zip(cases, told[::2], strict=False):
        assert expected in " ".join(text.split()), (flags, text)
    assert not (home / "runs/refused").exists() and set(hub.repos) == repos and WRITE not in done.stderr
    # Resumed from a repository: the newest whole checkpoint, and the same weights in the end as without a break.
    assert "goes on from" in " ".join(done.stdout.split())
    samples = [
        json.loads((home / f"runs/{x}/phases.json").read_text())[0]["samples"] for x in ("full", "resumed")
    ]
    assert 0 < samples[1] < samples[0]  # it did not begin again
    ends = [(home / f"runs/{name}/model.safetensors").read_bytes() for name in ("full", "resumed")]
    assert ends[0] == ends[1]


@pytest.mark.full
def test_two_processes_push_once(tmp_path: Path) -> None:
    """One question, one commit, one message on failure, whatever the number of processes."""
    home = tmp_path
    with stand_in() as hub:
        fill(hub, home)
        recipe = str(ROOT / "recipes/sentiment.py")
        launch = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            "2",
            recipe,
            *FLAGS,
            "--use_cpu",
        ]
        done = run(
            hub, home, *launch, "--output_dir", "runs/two", "--push_to_hub", "--hub_model_id", "me/two"
        )
        assert done.returncode == 0, done.stderr
        assert len(hub.repos["model", "me/two"].commits) == 2 and len(hub.sent("POST .*/commit/")) == 1
        assert len(hub.sent("GET /api/whoami-v2")) == 1
        done = run(hub, home, *launch, "--output_dir", "runs/three", "--push_to_hub", token=READ)
        assert done.returncode == 1 and done.stderr.count("this token may only read") == 1
        hub.faults = [Fault(r"POST .*me/late2", 500, times=10**6)]
        words = (*launch, "--output_dir", "runs/late2", "--push_to_hub", "--hub_model_id", "me/late2")
        done = run(hub, home, *words, HF_TRANSFER_HUB_PATIENCE="2")
        assert done.returncode == 1 and done.stderr.count("To finish the push: hft push runs/late2") == 1
