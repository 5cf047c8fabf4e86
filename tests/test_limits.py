"""What cannot be honoured is refused, and what transformers would leave half done is done."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
from architectures import make
from small_training import make_setup, state

from hf_transfer import TEXT_CLASSIFICATION, Problems, Run, default_arguments, finetune, load
from hf_transfer.signals import StopOnSignal
from hf_transfer.tasks.text_classification import fit
from hf_transfer.training.phase import phase_trainer
from hf_transfer.training.train import start_of, train
from hf_transfer.training.trainer import PhaseTrainer

QUIET = {"max_steps": 2, "report_to": "none", "disable_tqdm": True, "logging_steps": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_bert(tmp_path_factory.mktemp("base"))


def run(base: Any, folder: Path, kind: str = "single", **more: Any) -> Run:
    args = more.pop("args", {})
    args = QUIET | {"output_dir": str(folder)} | args if isinstance(args, dict) else args
    options = {"args": args, "cpu_threads": 1, "skip_reload_check": True, "probe": False, **more}
    return finetune("text-classification", base, tiny.rows(60, kind), **options)


# Refused, with nothing left behind.


@pytest.mark.parametrize(
    ("args", "kind", "said"),
    [
        ({"push_to_hub": True}, "single", "HF_HUB_OFFLINE is set"),
        ({"fp16": True}, "single", "no effect on a CPU"),
        ({"label_smoothing_factor": 0.1}, "regression", "is for labels"),
        ({"label_smoothing_factor": 7}, "single", "found 7, expected 0 or more, below 1"),
        ({"batch_eval_metrics": True}, "single", "without metrics"),
        ({"metric_for_best_model": "f1"}, "single", "gives no 'f1'"),
        ({"optim": "lion_8bit"}, "single", "lion_8bit cannot be used"),
        ({"do_train": False, "do_eval": False, "do_predict": False}, "single", "nothing is left to do"),
        ({"resume_from_checkpoint": "true", "do_train": False}, "single", "nothing to go on with"),
        ({"eval_strategy": "no", "load_best_model_at_end": True}, "single", "contradicts"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    args: dict[str, Any], kind: str, said: str, base: Path, tmp_path: Path
) -> None:
    if args.get("optim") and _has("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    if args.get("fp16") and torch.accelerator.is_available():
        pytest.skip("there is an accelerator")
    with pytest.raises(Problems, match=said):
        run(base, tmp_path / "run", kind, args=args)
    assert not (tmp_path / "run").exists()


def _has(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


# Arguments from Python.


@pytest.mark.parametrize(
    "args",
    [
        {"eval_strategy": "no"},
        {"save_strategy": "no"},
        {"eval_strategy": "steps", "eval_steps": 1},
        {"do_eval": False, "do_predict": False},
        {"do_train": False},
        {"eval_on_start": True},
        {"save_strategy": "best", "load_best_model_at_end": False},
    ],
    ids=lambda args: " ".join(args),
)
def test_defaults_yield_to_a_dict_too(args: dict[str, Any], base: Path, tmp_path: Path) -> None:
    found = run(base, tmp_path / "run", args=args)
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert ("train_loss" in found.metrics) == args.get("do_train", True)
    assert ("eval_accuracy" in found.metrics) == args.get("do_eval", True)
    if "eval_on_start" in args:
        assert found.metrics["train_runtime"] > 1e-3  # the clock counts from the start


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_a_measured_checkpoint_keeps_the_order_of_its_labels(kind: str, base: Path, tmp_path: Path) -> None:
    """Measured as it is, on the same rows with its label names turned round, a model scores what it scored."""
    from transformers import AutoConfig

    first = run(base, tmp_path / "first", kind, args={"num_train_epochs": 3, "learning_rate": 1e-2})
    measure = {"do_train": False, "do_eval": True, "do_predict": True}
    data = load(TEXT_CLASSIFICATION, tiny.rows(60, kind))
    turned = data.with_labels(data.labels[::-1])
    assert turned.labels != data.labels
    args = default_arguments() | QUIET | measure | {"output_dir": str(tmp_path / "again")}
    again = finetune(TEXT_CLASSIFICATION, first.output_dir, turned, args=args, skip_reload_check=True)
    name = "test_accuracy" if kind == "single" else "test_map"
    assert again.metrics[name] == pytest.approx(first.metrics[name], abs=1e-6)
    assert any("checkpoint's order" in note for note in again.record["plan_notes"])
    assert tuple(AutoConfig.from_pretrained(again.output_dir).id2label.values()) == data.labels
    assert "nothing was trained or chosen" in (tmp_path / "again" / "README.md").read_text()
    labels = [pd.read_parquet(tmp_path / run / "predictions.parquet")["label"] for run in ("first", "again")]
    assert [sorted(row) for row in labels[0]] == [sorted(row) for row in labels[1]]


def test_plain_training_arguments_train(base: Path, tmp_path: Path) -> None:
    """transformers leaves do_train and do_predict at false, for scripts; Trainer does not read them."""
    from transformers import TrainingArguments

    args = TrainingArguments(str(tmp_path / "run"), use_cpu=True, save_strategy="no", **QUIET)
    found = run(base, tmp_path / "run", args=args)
    assert found.record["global_step"] == 2 and {"train_loss", "test_accuracy"} <= found.metrics.keys()


@pytest.mark.parametrize(
    ("kind", "named", "chosen"),
    [("single", "loss", ("eval_loss", False)), ("regression", "mse", ("mse", False))],
)
def test_a_named_metric_is_the_one_that_chooses(
    kind: str, named: str, chosen: tuple[str, bool], base: Path, tmp_path: Path
) -> None:
    found = run(base, tmp_path / "run", kind, args={"metric_for_best_model": named})
    best = json.loads((tmp_path / "run" / "phases.json").read_text())[0]["best"]
    assert (
        best["metric"] == chosen[0] and found.record["arguments"].get("greater_is_better", False) == chosen[1]
    )


def test_the_best_of_several_labels_is_chosen_at_tuned_thresholds(base: Path, tmp_path: Path) -> None:
    """As the end of the run measures it: at 0.5 a model that is sure of nothing yet has no F1 at all."""
    args = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "learning_rate": 1e-4,
    }
    found = run(base, tmp_path / "run", "multi", args=args)
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    seen = {row["step"]: row["eval_f1_micro"] for row in history if "eval_f1_micro" in row}
    best = json.loads((tmp_path / "run" / "phases.json").read_text())[0]["best"]
    assert len(seen) == 2 and best["value"] == max(seen.values()) > 0
    assert found.metrics["eval_f1_micro"] == pytest.approx(best["value"], abs=1e-6)


def test_a_model_no_better_than_a_constant_is_said_so(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the table, the record (and so the report) and the card; not where the model is better."""
    poor = run(base, tmp_path / "poor", args={"learning_rate": 1e-7})
    assert "no better than that of the best constant answer" in " ".join(capsys.readouterr().out.split())
    told = [warning for warning in poor.record["data"]["audit"]["warnings"] if "no better" in warning["what"]]
    assert {warning["where"] for warning in told} <= {"test", "validation"} and told
    assert "no better than" in (tmp_path / "poor" / "README.md").read_text()
    good = run(base, tmp_path / "good", args={"learning_rate": 1e-2, "max_steps": 12})
    assert good.metrics["test_accuracy"] > good.metrics["test_baseline_accuracy"]
    assert "no better" not in capsys.readouterr().out


def test_early_stopping_needs_no_best_model_at_the_end(base: Path, tmp_path: Path) -> None:
    """Card and report tell that it stopped."""
    args = {
        "load_best_model_at_end": False,
        "learning_rate": 1e-12,
        "max_steps": 8,
        "eval_strategy": "steps",
        "eval_steps": 1,
    }
    assert run(base, tmp_path / "run", args=args, early_stopping_patience=1).record["global_step"] == 2
    for page in ("README.md", "report.html"):
        assert "stopped early" in (tmp_path / "run" / page).read_text()


# Training.


def test_label_smoothing_changes_the_loss(tmp_path: Path) -> None:
    model = make("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    losses = []
    for factor in (0.0, 0.5):
        setup = make_setup(model, "bert", tmp_path / str(factor), label_smoothing_factor=factor)
        trainer: PhaseTrainer = phase_trainer(setup, 1)
        batch = next(iter(trainer.get_train_dataloader()))
        losses.append(trainer.compute_loss(model.train(), batch, num_items_in_batch=4).item())
    logits, labels = model(**batch).logits, batch["labels"]
    wanted = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.5)
    assert losses[1] == pytest.approx(wanted.item(), rel=1e-5) and losses[0] != losses[1]


def test_a_resumed_run_tells_the_loss_of_all_its_steps(tmp_path: Path) -> None:
    more = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "n": 16}
    (whole,) = train(make_setup(make("bert"), "bert", tmp_path, **more))
    (tmp_path / "phases.json").unlink()
    setup = make_setup(make("bert", seed=5), "bert", tmp_path, **more)
    checkpoint = tmp_path / "checkpoint-2"
    assert "goes on from" in start_of(setup, None)
    (again,) = train(setup, resume=True, checkpoint=checkpoint.rename(tmp_path / "kept"))
    assert again["train_loss"] == pytest.approx(whole["train_loss"], rel=1e-3)
    assert again["samples"] == 8
    assert "finished already" in start_of(setup, None)
    assert state(setup.model)


def test_a_signal_passed_on_by_a_launcher_is_not_a_second_one() -> None:
    stop = StopOnSignal()
    stop(signal.SIGINT, None)
    stop(signal.SIGTERM, None)
    assert stop.number == signal.SIGINT
    stop.since = time.monotonic() - 10
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGINT, None)


# Models.


def test_a_model_in_half_precision_is_widened(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    names = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
    model = AutoModelForSequenceClassification.from_pretrained(base, dtype="bfloat16", **names)
    found = run(model, tmp_path / "run", processor=str(base), skip_reload_check=False)
    assert {p.dtype for p in found.model.parameters()} == {torch.float32}
    assert any("bfloat16" in note for note in found.record["plan_notes"])


@pytest.mark.parametrize(("own", "token"), [(None, "[SEP]"), (-1, "[SEP]"), (0, "[PAD]")])
def test_a_decoder_reads_its_score_before_the_padding(own: int | None, token: str) -> None:
    tokenizer, model = tiny.tiny_tokenizer(), make("llama")
    tokenizer.pad_token, tokenizer.eos_token = None, "[SEP]"
    model.config.pad_token_id = own
    fit(tokenizer, model)
    assert tokenizer.pad_token == token and model.config.pad_token_id == tokenizer.pad_token_id
    texts = ["we found the film lovely .", "the meal"]
    with torch.no_grad():
        together = model(**_only(tokenizer(texts, padding=True, return_tensors="pt"))).logits[1]
        alone = model(**_only(tokenizer(texts[1:], return_tensors="pt"))).logits[0]
    assert torch.allclose(together, alone, atol=1e-5)


def _only(encoded: Any) -> dict[str, torch.Tensor]:
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def test_a_check_before_training_leaves_the_model_trainable() -> None:
    """BEiT keeps its table of relative positions for the whole process."""
    from transformers import ViTImageProcessor

    from hf_transfer.tasks import image_classification

    model = make("beit", image_size=48)
    image_classification.fit(ViTImageProcessor(size={"height": 48, "width": 48}), model)
    model.train()(pixel_values=torch.zeros(1, 3, 48, 48), labels=torch.tensor([0])).loss.backward()
