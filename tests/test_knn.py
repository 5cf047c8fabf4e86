"""`--strategy knn`, whole runs: what the model keeps, who can load it, resuming, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import image_runs
import numpy as np
import prepared_process
import pytest
import tiny
import torch
from architectures import IMAGES, inputs, make
from safetensors.torch import load_file
from small_training import changed, make_setup, state

from hf_transfer import Problems, Run, checkpoint, finetune, layer_groups
from hf_transfer.hub.asked import Push
from hf_transfer.hub.content import content
from hf_transfer.predict import load_model, scores
from hf_transfer.solving import settle_solvers
from hf_transfer.strategies.features import find_readout
from hf_transfer.training.train import train

QUIET = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "num_train_epochs": 1}
TEXT = "text-classification"


def run_of(model: Path, folder: Path, strategy: Any = "knn", rows: Any = None, **options: Any) -> Run:
    args = QUIET | {"output_dir": str(folder)} | options.pop("args", {})
    given = {"skip_reload_check": True, "seed": 3} | options
    return finetune(TEXT, str(model), rows or tiny.rows(160), strategy=strategy, args=args, **given)


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With the reload check, and forgetting watched."""
    folder = tmp_path_factory.mktemp("knn") / "run"
    return run_of(base, folder, skip_reload_check=False, watch_forgetting=True, pooling="mean")


def test_the_model_keeps_the_training_rows_and_answers_by_them(run: Run) -> None:
    kept = load_file(Path(run.output_dir) / "model.safetensors")
    assert kept["reference_features"].shape == (128, 32) and kept["reference_labels"].shape == (128,)
    torch.testing.assert_close(kept["reference_features"].norm(dim=1), torch.ones(128))
    assert not any(name.endswith("classifier.weight") for name in kept)  # drawn at random, read by nobody
    assert run.metrics["test_accuracy"] > run.metrics["test_baseline_accuracy"] + 0.15
    assert run.record["reload_check"]["max_difference"] < 1e-4
    assert run.record["forgetting"]["groups"][0]["weight_distance"] == 0
    (phase,) = json.loads((Path(run.output_dir) / "phases.json").read_text())
    assert phase["solved"]["temperature"] == 0.07 and phase["solved"]["rows"] == 128
    assert sum(group["learning"] for group in phase["groups"]) == 0


def test_one_import_makes_it_known_to_transformers(run: Run, tmp_path: Path) -> None:
    """In a fresh process; without the import its own error says that the type is unknown."""
    text = "We found the film lovely at home."
    program = (
        "import sys, json\n"
        "from transformers import AutoConfig, pipeline\n"
        "try:\n"
        "    AutoConfig.from_pretrained(sys.argv[1])\n"
        "except ValueError as error:\n"
        "    assert 'hf_transfer_knn_text' in str(error), error\n"
        "else:\n"
        "    raise SystemExit('loaded without the import')\n"
        "import hf_transfer.knn\n"
        f"print(json.dumps(pipeline('{TEXT}', model=sys.argv[1])({text!r}, top_k=None)))\n"
    )
    (tmp_path / "ask.py").write_text(program)
    done = prepared_process.run(tmp_path / "ask.py", run.output_dir)
    assert done.returncode == 0, done.stderr[-2000:]
    by_pipeline = {found["label"]: found["score"] for found in json.loads(done.stdout.splitlines()[-1])}
    (own,) = Run.open(run.output_dir).predict([text])
    assert by_pipeline == pytest.approx(own["probabilities"], abs=1e-4)


def test_the_card_says_how_to_load_it_and_what_it_gives_away(run: Run) -> None:
    card = (Path(run.output_dir) / "README.md").read_text()
    assert (
        "import hf_transfer.knn" in card
        and "unknown model type" in card
        and "library_name: hf_transfer" in card
    )
    assert "**Privacy:** the features and labels of all 128 training rows" in card
    assert "of 128 reference rows the" in card and "SentenceTransformer" not in card
    assert "neighbours vote, the largest number whose loss on" in card
    assert "similar vote (cosine, T = 0.07" in (Path(run.output_dir) / "report.html").read_text()
    pushed = content(Path(run.output_dir), Push("me/x"))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(pushed)
    assert not any(name.startswith("1_Pooling") for name in pushed)


def test_it_is_no_checkpoint_to_begin_from(run: Run, tmp_path: Path) -> None:
    with pytest.raises(Problems, match="has no head that could learn"):
        checkpoint(run.output_dir)
    with pytest.raises(Problems, match="give the checkpoint that it was made from"):
        run_of(Path(run.output_dir), tmp_path / "run", "full")


@pytest.mark.parametrize("kind", ["multi", "regression"])
def test_several_labels_and_values(kind: str, base: Path, tmp_path: Path) -> None:
    run = run_of(base, tmp_path / "run", rows=tiny.rows(160, kind), pooling="mean")
    key = {"multi": "f1_micro", "regression": "pearsonr"}[kind]
    assert run.metrics[f"test_{key}"] > run.metrics[f"test_baseline_{key}"]
    again = Run.open(run.output_dir).predict(["We found the film lovely at home."])[0]
    assert again.keys() == {"multi": {"labels", "scores", "probabilities"}, "regression": {"value"}}[kind]


@pytest.mark.parametrize("name", ["resnet", "timm-resnet18"])
def test_images(name: str, image_folder: Path, tmp_path: Path) -> None:
    """Timm's through the reload check; its processor is read from the model's own configuration."""
    from transformers import pipeline

    run = image_runs.run(name, str(image_folder), tmp_path, "knn", skip_reload_check=name == "resnet")
    assert run.metrics["eval_accuracy"] > 0.7
    image = image_runs.noise(7, tint=0)
    found = pipeline("image-classification", model=run.output_dir)(image)
    assert found[0]["label"] == "red" == Run.open(run.output_dir).predict([image])[0]["label"]


@pytest.mark.parametrize("name", ["bert", "distilbert", "llama", "t5", "timm-vit", "convnext"])
def test_saved_and_loaded_it_gives_the_same(name: str, tmp_path: Path) -> None:
    """Whatever stands before the head: a pooler, a dense layer, a decoder that scores every token."""
    from hf_transfer.knn import voting_model
    from hf_transfer.strategies.features import read

    model, batch = make(name).eval(), inputs(name, 12)
    model.config.problem_type = "single_label_classification"
    readout = find_readout(model, layer_groups(model), batch)
    assert readout is not None
    with torch.no_grad():
        features = read(model, readout, batch)
    voting = voting_model(model, readout, "own", features, torch.arange(12) % 3, k=1, scale=3.0)
    with torch.no_grad():
        logits = voting(**batch).logits
    assert logits.argmax(dim=1).tolist() == [i % 3 for i in range(12)]  # each row is its own neighbour
    voting.save_pretrained(tmp_path)
    again = load_model(tmp_path, "image-classification" if name in IMAGES else TEXT)
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits, logits)


def test_rows_that_are_almost_equally_near_pass_the_reload_check(base: Path, tmp_path: Path) -> None:
    """Which of them is the k-th hangs on the last bit, which another process computes otherwise: values of three
    neighbours, of rows that this encoder hardly tells apart, differed by 0.8."""
    rows = tiny.rows(300, "regression")
    run = run_of(base, tmp_path / "run", rows=rows, skip_reload_check=False, pooling="own", probe=False)
    assert run.record["reload_check"]["max_difference"] < 1e-4


def setup_of(folder: Path, strategy: Any, name: str = "bert") -> Any:
    model = make(name)
    model.config.problem_type = "single_label_classification"
    folder.mkdir(exist_ok=True)
    setup = make_setup(
        model, name, folder, strategy, eval_strategy="epoch", max_steps=-1, num_train_epochs=1, n=24
    )
    settle_solvers(setup)
    return setup


PAIRS_THEN_KNN = [
    {"name": "pairs", "learns": "embeddings .. block.3", "pairs": True},
    {"name": "vote", "learns": "head", "solve": "knn"},
]


@pytest.mark.parametrize("strategy", ["knn", PAIRS_THEN_KNN])
def test_a_finished_vote_is_taken_up_again(
    strategy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = setup_of(tmp_path / "run", strategy)
    train(whole)
    again = setup_of(tmp_path / "run", strategy)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("solved again")

    monkeypatch.setattr("hf_transfer.training.train.solve_by_vote", fail)
    ledger = train(again, resume=True)
    assert len(ledger) == len(whole.phases) and ledger[-1]["solved"]["solver"] == "knn"
    assert not changed(state(whole.model), state(again.model))
    rows = whole.prepared.splits["validation"].remove_columns("labels")
    np.testing.assert_allclose(
        scores(again.model, rows, again.collator), scores(whole.model, rows, whole.collator), atol=1e-5
    )


def test_what_cannot_be(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Problems, match="let knn be the last phase"):
        run_of(base, tmp_path / "run", [{"learns": "head", "solve": "knn"}, {"learns": "all"}])
    with pytest.raises(Problems, match="leave out --peft"):
        run_of(
            base,
            tmp_path / "run",
            [{"learns": "all"}, {"learns": "head", "solve": "knn"}],
            peft_config="lora",
        )
    with pytest.raises(Problems, match="behind other phases"):
        phases = [{"learns": "embeddings .. block.2", "pairs": True}, {"learns": "head", "solve": "knn"}]
        run_of(base, tmp_path / "run", phases, pooling="mean")
    assert not (tmp_path / "run").exists()
