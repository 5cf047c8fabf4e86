"""Heads that read the mean over the tokens: when they do, what is saved, and that others read the same from it."""

from __future__ import annotations

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import prepared_process
import pytest
import tiny
import torch
from architectures import inputs, make
from safetensors.torch import load_file
from scipy.special import softmax
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LongformerConfig,
    LongformerForSequenceClassification,
    OPTConfig,
    OPTForSequenceClassification,
)

from hf_transfer import Problems, Run, finetune, layer_groups
from hf_transfer.evaluation.compared import Compared, compared
from hf_transfer.hub.asked import Push
from hf_transfer.hub.content import content
from hf_transfer.pooled import PooledClassifier, load, made_for_the_mean, pools
from hf_transfer.reload import reloaded_scores
from hf_transfer.run_folder import is_pooled
from hf_transfer.strategies.features import find_readout, find_tokens
from hf_transfer.tasks import find

QUIET = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "num_train_epochs": 1}
TEXT = "text-classification"


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT whose first token knows nothing of the others: attention adds nothing to any token."""
    from transformers import BertModel

    folder = tiny.tiny_bert(tmp_path_factory.mktemp("blind"))
    model, tokenizer = BertModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        for layer in model.encoder.layer:
            layer.attention.output.dense.weight.zero_()
            layer.attention.output.dense.bias.zero_()
    model.save_pretrained(folder), tokenizer.save_pretrained(folder)
    return folder


def run_of(model: Any, folder: Path, strategy: Any, rows: Any = None, **options: Any) -> Run:
    args = QUIET | {"output_dir": str(folder)} | options.pop("args", {})
    given = {"skip_reload_check": True, "seed": 3} | options
    return finetune(TEXT, model, rows or tiny.rows(160), strategy=strategy, args=args, **given)


@pytest.fixture(scope="module")
def run(blind: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Ridge, with the check in a fresh process: the mean is chosen by itself."""
    folder = tmp_path_factory.mktemp("pooled") / "run"
    return run_of(blind, folder, "ridge", skip_reload_check=False)


def test_the_mean_is_taken_where_the_first_token_knows_nothing(run: Run) -> None:
    assert run.metrics["test_accuracy"] >= 0.9 and run.metrics["test_probe_accuracy"] >= 0.9
    assert run.record["pooling"] == "mean" and run.record["reload_check"]["max_difference"] < 1e-4
    assert any("mean over the tokens: on held-out rows accuracy" in note for note in run.record["plan_notes"])
    (entry,) = json.loads((Path(run.output_dir) / "phases.json").read_text())
    assert entry["solved"]["pooling"] == "mean"
    learned = {group["name"]: group["learning"] for group in entry["groups"]}
    assert learned.pop("head") == 2 * 32 + 2 and not any(learned.values())
    assert "the mean over the tokens" in (Path(run.output_dir) / "report.html").read_text()


def test_the_folder_predicts_what_was_measured(run: Run) -> None:
    """By `Run` from the folder, by `hft predict`'s way, and the backbone is the checkpoint's, bit by bit."""
    again, table = Run.open(run.output_dir), pd.read_parquet(Path(run.output_dir) / "predictions.parquet")
    texts = {row["text"]: row for row in tiny.rows(160)}
    found = again.predict(list(texts)[:20])
    assert (
        np.mean([f["label"] == texts[t]["label"] for f, t in zip(found, list(texts)[:20], strict=True)]) > 0.8
    )
    assert set(table["split"]) == {"test"}
    assert type(again.model).__name__ == "PooledClassifier" and again.model.config.id2label[1] == "positive"


def test_sentence_transformers_reads_the_run(run: Run, tmp_path: Path) -> None:
    """Executes the card's own snippet in a fresh process; the scores are those of `Run.predict`."""
    if find_spec("sentence_transformers") is None:
        pytest.skip("needs sentence-transformers")
    card = (Path(run.output_dir) / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    code = code.replace("<repo id or folder>", run.output_dir)
    text = "We found the film dull at home."
    code = code.replace("A text of your own.", text) + "\nprint(type(model[3]).__name__, logits.tolist())"
    (tmp_path / "ask.py").write_text(code)
    done = prepared_process.run(tmp_path / "ask.py")
    assert done.returncode == 0, done.stderr[-2000:]
    shown, last = done.stdout.strip().splitlines()[-2:]
    (mine,) = Run.open(run.output_dir).predict([text])
    theirs = eval(shown)  # a dict of floats
    assert theirs == pytest.approx(mine["probabilities"], abs=1e-4) and last.startswith("Dense")


def test_the_check_does_without_sentence_transformers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_transfer.reload.find_spec", lambda name: None)
    texts = ["We found the film dull at home.", "A lovely walk."]
    logits = reloaded_scores(run.output_dir, find(TEXT), texts)["root"]
    shares = [list(row["probabilities"].values()) for row in Run.open(run.output_dir).predict(texts)]
    np.testing.assert_allclose(softmax(logits, axis=1), shares, atol=1e-4)


@pytest.mark.parametrize("name", ["distilbert", "roberta", "llama"])
def test_other_backbones(name: str, tmp_path: Path) -> None:
    """Saved and loaded, with a head where their own classes have another: the same scores, and those refuse."""
    model = make(name)
    given = {"attention_mask": torch.ones_like(inputs(name, 3)["input_ids"])} | inputs(name, 3)
    given["attention_mask"][0, -2:] = 0
    readout = find_readout(model, layer_groups(model), given)
    tokens, width = find_tokens(model, given) or ("", 0)
    assert readout and tokens and pools(model, tokens)
    pooled = PooledClassifier(model.get_submodule(tokens), model.config, width, readout.scores).eval()
    pooled.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert torch.equal(again(**given)["logits"], pooled(**given)["logits"])
    longer = {k: torch.nn.functional.pad(v, (0, 3)) for k, v in given.items()}  # padding counts for nothing
    torch.testing.assert_close(pooled(**longer)["logits"], pooled(**given)["logits"], rtol=1e-4, atol=1e-4)
    with pytest.raises(RuntimeError, match="mismatched_sizes"):
        type(model).from_pretrained(tmp_path)


def test_vectors_of_another_width_than_the_hidden_size(tmp_path: Path) -> None:
    """OPT-350m projects its 1,024 to 512, as this does its 32 to 16."""
    torch.manual_seed(0)
    tokenizer = tiny.tiny_tokenizer()
    config = OPTConfig(
        vocab_size=len(tokenizer), hidden_size=32, word_embed_proj_dim=16, ffn_dim=64, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=64, do_layer_norm_before=False, pad_token_id=0,
    )  # fmt: skip
    OPTForSequenceClassification(config).save_pretrained(tmp_path / "opt")
    tokenizer.save_pretrained(tmp_path / "opt")
    run = finetune(
        TEXT, tmp_path / "opt", tiny.rows(60), strategy="ridge", pooling="mean", probe=False, skip_reload_check=True,
        args=QUIET | {"output_dir": str(tmp_path / "run")},
    )  # fmt: skip
    texts = ["We found the film dull at home.", "A lovely walk."]
    mine = [row["probabilities"] for row in run.predict(texts)]
    for one, other in zip(Run.open(run.output_dir).predict(texts), mine, strict=True):
        assert one["probabilities"] == pytest.approx(other, abs=1e-5)


def test_a_backbone_that_its_class_gives_more_than_the_batch_has_no_mean() -> None:
    """Longformer's classifier lets the first token see all others; the backbone alone would give other vectors."""
    torch.manual_seed(0)
    config = LongformerConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        attention_window=4, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    model = LongformerForSequenceClassification(config).eval()
    given = inputs("bert", 3)
    assert find_tokens(model, given | {"attention_mask": torch.ones_like(given["input_ids"])}) is None


def test_transformers_class_refuses_what_it_would_read_wrongly(run: Run) -> None:
    from transformers import AutoModel, AutoModelForSequenceClassification, pipeline

    with pytest.raises(RuntimeError, match="mismatched_sizes"):
        AutoModelForSequenceClassification.from_pretrained(run.output_dir)
    with pytest.raises(ValueError, match="Could not load model"):  # and falls back on no class without a head
        pipeline("text-classification", model=run.output_dir)
    assert type(AutoModel.from_pretrained(run.output_dir)).__name__ == "BertModel"
    with pytest.raises(Problems, match="reads the mean over its tokens"):
        args = {"output_dir": run.output_dir + "-scored", "do_train": False}
        run_of(Path(run.output_dir), Path("nowhere"), "full", args=args)


def test_a_push_takes_all_that_sentence_transformers_needs(run: Run) -> None:
    found = content(Path(run.output_dir), Push("me/x"))
    assert {
        "modules.json",
        "1_Pooling/config.json",
        "3_Dense/config.json",
        "3_Dense/model.safetensors",
    } <= set(found)
    assert {"config_sentence_transformers.json", "sentence_bert_config.json", "model.safetensors"} <= set(
        found
    )


def test_auto_chooses_what_is_read_with_the_strategy(
    blind: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it takes feature-extraction, which by name reads what the class reads."""
    taken = ("feature-extraction", "--strategy auto takes feature-extraction.")
    monkeypatch.setattr("hf_transfer.choosing.chosen_strategy", lambda *given: taken)
    run = run_of(blind, tmp_path / "run", "auto", probe=False)
    assert run.record["pooling"] == "mean" and run.metrics["test_accuracy"] >= 0.9
    notes = run.record["plan_notes"]
    assert any("mean over the tokens: on held-out rows" in note for note in notes[notes.index(taken[1]) :])


@pytest.mark.parametrize(
    "said", [{"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, {"pooling_mode": "mean"}]
)
def test_a_checkpoint_that_was_made_for_the_mean_gets_it_where_chance_decides(
    said: dict[str, Any], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sentence-transformers' files beside a checkpoint say how it is meant to be read; what is measured can say otherwise."""
    args, measured = {"num_train_epochs": 1}, []
    monkeypatch.setattr("hf_transfer.pooling._choice", lambda setup, solver: measured[-1])

    def pooling(model: Path, error: float) -> str:
        measured.append(Compared("accuracy", 0.52, 0.50, error))
        options = {"args": args, "probe": False, "overwrite_output_dir": True}
        run = run_of(model, tmp_path / "run", "ridge", **options)
        told = any("as the checkpoint was made to be read" in note for note in run.record["plan_notes"])
        assert told == (run.record["pooling"] == "mean")
        return str(run.record["pooling"])

    made = Path(shutil.copytree(base, tmp_path / "made"))
    (made / "1_Pooling").mkdir()
    (made / "1_Pooling" / "config.json").write_text(json.dumps(said))
    module = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
    (made / "modules.json").write_text(json.dumps([module]))
    assert pooling(base, error=0.05) == "own"
    assert pooling(made, error=0.05) == "mean"
    assert pooling(made, error=0.01) == "own"
    assert not made_for_the_mean(str(base)) and not made_for_the_mean("nobody/nothing")
    (made / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    assert not made_for_the_mean(str(made))


def test_own_says_that_the_mean_would_be_better(blind: Path, tmp_path: Path) -> None:
    run = run_of(blind, tmp_path / "run", "feature-extraction")
    assert run.metrics["test_accuracy"] < 0.8 <= run.metrics["test_probe_accuracy"]
    assert not is_pooled(run.output_dir) and run.record["pooling"] == "own"
    warnings = run.record["data"]["audit"]["warnings"]
    assert [w["mend"] for w in warnings if w["where"] == "features"] == ["use --pooling mean"]
    assert "mean over the tokens of the checkpoint" in (tmp_path / "run" / "README.md").read_text()


@pytest.mark.parametrize("kind", ["multi", "regression"])
def test_ridge_for_several_labels_and_values(kind: str, blind: Path, tmp_path: Path) -> None:
    run = run_of(blind, tmp_path / "run", "ridge", tiny.rows(160, kind), pooling="mean")
    key = {"multi": "f1_micro", "regression": "pearsonr"}[kind]
    assert run.metrics[f"test_{key}"] > 0.7
    (found,) = Run.open(run.output_dir).predict(["We found the film lovely at home."])
    assert ("good" in found["labels"]) if kind == "multi" else found["value"] > 2.5


def test_pairs_tune_the_mean_and_a_stopped_run_goes_on_from_a_checkpoint(
    blind: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contrastive tuning of what the head reads; resumed in and after the first phase it ends the same."""
    args = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-3}
    whole = run_of(blind, tmp_path / "whole", "contrastive", args=args, probe=False)
    before = load_file(blind / "model.safetensors")
    after = load_file(Path(whole.output_dir) / "model.safetensors")
    assert any(not torch.equal(before[name], after[name]) for name in before)

    class Killed(BaseException): ...

    def fail(*args: Any, **kwargs: Any) -> None:
        raise Killed

    for part, where in (
        ("in", "hf_transfer.training.train.averaged_end"),
        ("after", "hf_transfer.solving.solve"),
    ):
        folder = tmp_path / part
        with monkeypatch.context() as patched:
            patched.setattr(where, fail)
            with pytest.raises(Killed):
                run_of(blind, folder, "contrastive", args=args, probe=False)
        again = run_of(
            blind, folder, "contrastive", args=args | {"resume_from_checkpoint": True}, probe=False
        )
        for name in ("model.safetensors", "3_Dense/model.safetensors"):
            mine, theirs = (load_file(Path(r.output_dir) / name) for r in (again, whole))
            assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_what_was_frozen_in_a_model_that_is_handed_over_stays_frozen(blind: Path, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(blind, num_labels=2)
    model.bert.embeddings.requires_grad_(False)
    given = {"processor": AutoTokenizer.from_pretrained(blind), "pooling": "mean", "probe": False}
    args = {"max_steps": 2, "learning_rate": 1e-2}
    run = run_of(model, tmp_path / "run", "contrastive", args=args, **given)
    before, after = (load_file(Path(f) / "model.safetensors") for f in (blind, run.output_dir))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and not any(name.startswith("embeddings") for name in moved)


def test_what_trains_its_head_is_read_as_its_class_reads_it(base: Path, tmp_path: Path) -> None:
    for strategy in ("lp-ft", "full", "two-phase"):
        with pytest.raises(Problems, match="trains the head step by step"):
            run_of(base, tmp_path / "run", strategy, pooling="mean")
    with pytest.raises(Problems, match="an adapter is saved"):
        run_of(base, tmp_path / "run", "contrastive", pooling="mean", peft_config="lora")
    with pytest.raises(Problems, match="choose one of own, mean, auto"):
        run_of(base, tmp_path / "run", "ridge", pooling="max")
    assert not (tmp_path / "run").exists()


def test_images_have_no_pooling(image_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Problems, match="images have no tokens"):
        finetune("image-classification", "nothing", str(image_folder), pooling="auto",
                 args=QUIET | {"output_dir": str(tmp_path / "run")})  # fmt: skip


def test_better_means_by_more_than_a_standard_error() -> None:
    """Of 100 rows one set is right on 60: 62 may be chance, 80 (and all of the 60) is not."""
    labels = np.zeros(100, dtype=int)

    def scores(right: int, first: int = 0) -> np.ndarray:
        on = np.isin(np.arange(100), np.arange(first, first + right))
        return np.eye(2)[np.where(on, 0, 1)]

    assert not compared("single_label_classification", scores(60), scores(62, 38), labels).better
    found = compared("single_label_classification", scores(60), scores(80), labels)
    assert found.better and (found.first, found.second) == (0.6, 0.8)
    assert found.error == pytest.approx(0.04, rel=0.15)  # of 20 differences of 1 in 100
    assert not compared("single_label_classification", scores(60), scores(60), labels).better
