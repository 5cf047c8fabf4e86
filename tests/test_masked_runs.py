"""Runs of language models: resumed exactly, saved with tied heads, measured against before, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import language_models as small
import pytest
import tiny
import torch
from data_tasks import refused
from small_training import changed, state, training_arguments
from transformers import DataCollatorForLanguageModeling, Trainer

from hf_transfer import Regularization, Run, language_modeling, load, peft_method
from hf_transfer.anatomy import layer_groups
from hf_transfer.language import Logged, measured
from hf_transfer.report.card import card_text
from hf_transfer.report.read import read_record
from hf_transfer.strategies.lora import adapt
from hf_transfer.strategies.phases import phases
from hf_transfer.strategies.targets import heads_to_save
from hf_transfer.training.phase import phase_trainer
from hf_transfer.training.setup import Setup


def setup(folder: Path, seed: int) -> Setup:
    """Six steps of masked words with dropout, a checkpoint behind each."""
    model, tokenizer = small.model("bert", seed=seed, hidden_dropout_prob=0.1), tiny.tiny_tokenizer()
    task = language_modeling(model)
    prepared = task.prepare(load(task, small.TEXTS[:20], test_size=0.0), tokenizer, model)
    groups = layer_groups(model)
    assert task.train_collator is not None
    return Setup(
        model=model,
        groups=groups,
        phases=phases("full", groups),
        trainable=frozenset(name for name, _ in model.named_parameters()),
        args=training_arguments(folder, max_steps=6, save_strategy="steps", save_steps=1),
        prepared=prepared,
        collator=task.collator(tokenizer),
        train_collator=task.train_collator(tokenizer),
        processor=tokenizer,
        compute_metrics=measured,
        logged=Logged(False),
    )


def trained(it: Setup, stock: bool, checkpoint: Path | None = None) -> None:
    if stock:
        rows = it.prepared.splits["train"].remove_columns("labels")
        trainer: Any = Trainer(
            it.model, it.args, DataCollatorForLanguageModeling(it.processor), train_dataset=rows
        )
    else:
        trainer = phase_trainer(it, 1)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


@pytest.mark.parametrize("stock", [False, True])
def test_a_masked_run_goes_on_exactly(stock: bool, tmp_path: Path) -> None:
    """In the middle of an epoch; stock's masks are drawn from a state that no checkpoint brings back in time."""
    whole, again = setup(tmp_path, 0), setup(tmp_path, 5)
    trained(whole, stock)
    trained(again, stock, tmp_path / "checkpoint-2")
    assert bool(changed(state(whole.model), state(again.model))) == stock


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run from a checkpoint that has no head, as sentence encoders are."""
    folder = tmp_path_factory.mktemp("masked")
    return small.run("fill-mask", tiny.tiny_bert(folder), folder / "run", skip_reload_check=False)


def test_a_run_leaves_what_all_runs_leave(finished: Run) -> None:
    folder, found = Path(finished.output_dir), finished.metrics
    assert {
        "eval_perplexity",
        "test_perplexity_ci95_low",
        "eval_baseline_perplexity",
        "test_loss",
    } <= found.keys()
    assert found["test_perplexity"] < found["test_baseline_perplexity"]
    record = finished.record
    assert record["task"] == "fill-mask" and record["headline"] == "perplexity" and record["labels"] == []
    assert record["reload_check"]["max_difference"] < 1e-5
    assert any("no head for this" in warning["what"] for warning in record["data"]["audit"]["warnings"])
    assert record["begun"]["--mlm_probability"] == 0.15
    for name in ("report.html", "plots/learning_curve.png", "predictions.parquet", "phases.json"):
        assert (folder / name).is_file()
    card = card_text(read_record(folder), "me/adapted")
    assert "pipeline_tag: fill-mask" in card and "pseudo-perplexity" in card and "classes" not in card
    assert "None" not in card and "the checkpoint brought no head for this" in card


def test_plain_transformers_reads_it_with_the_words_still_tied(finished: Run) -> None:
    from transformers import AutoModelForMaskedLM, pipeline

    model = AutoModelForMaskedLM.from_pretrained(finished.output_dir)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    guesses = pipeline("fill-mask", model=finished.output_dir)("we found the [MASK] lovely at noon .")
    assert len(guesses) == 5 and guesses[0]["score"] > 1 / model.config.vocab_size


def test_what_a_masked_model_has_no_place_for_is_kept_for_the_task(finished: Run, tmp_path: Path) -> None:
    """BERT's pooler: without it the classifier that comes after would begin with one drawn at random."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    begun = AutoModel.from_pretrained(tiny.tiny_bert(tmp_path))  # from the same seed
    after, info = AutoModelForSequenceClassification.from_pretrained(
        finished.output_dir, output_loading_info=True
    )
    assert set(info["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    assert torch.equal(begun.pooler.dense.weight, after.bert.pooler.dense.weight)
    query = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(begun.get_parameter(query), after.bert.get_parameter(query))


def test_a_language_model_predicts_no_labels(finished: Run) -> None:
    assert "fill-mask" in refused(finished.predict, "a text")


def test_a_resumed_run_must_mask_as_much(finished: Run) -> None:
    task = language_modeling(finished.model, 0.3)
    args = {"resume_from_checkpoint": True}
    start = Path(finished.output_dir).parent / "tiny_bert"
    assert "--mlm_probability" in refused(small.run, task, str(start), finished.output_dir, args=args)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_adapters_leave_the_words_alone(kind: str, tmp_path: Path) -> None:
    """A copy of the tied scores, which peft would make of a head, learns apart from the words."""
    model = small.model(kind)
    output = model.get_output_embeddings()
    kept = heads_to_save(model)
    assert not [name for name in kept if model.get_submodule(name) is output] or kind == "llama"
    assert bool(kept) == (kind != "gpt2")
    adapted = adapt(model, peft_method("lora"))
    learning = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert learning and (
        kind == "llama" or max(p.numel() for n, p in adapted.named_parameters() if n in learning) < 3000
    )


def test_lora_and_the_next_word(tmp_path: Path) -> None:
    """Merged, and layer by layer slower; the root is read by plain transformers."""
    found = small.run(
        "text-generation", small.saved("gpt2", tmp_path), tmp_path / "run", layer_decay=0.9,
        peft_config=peft_method("lora"), skip_reload_check=False,
    )  # fmt: skip
    assert found.record["reload_check"]["merged"] and found.metrics["eval_perplexity"] > 1
    from transformers import pipeline

    text = pipeline("text-generation", model=found.output_dir)("we found", max_new_tokens=3)[0][
        "generated_text"
    ]
    assert text.startswith("we found")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strategy": "lp-ft"}, "needs labels"),
        ({"strategy": "prototypes"}, "needs labels"),
        ({"strategy": "contrastive"}, "needs labels"),
        ({"strategy": "auto"}, "looks at labels"),
        ({"watch_forgetting": True, "pooling": "mean"}, "--pooling"),
        ({"watch_forgetting": True, "compare_scratch": True}, "--compare_scratch"),
        ({"strategy": "knn"}, "needs labels"),
        ({"peft_config": "prefix"}, "no merged model"),
        ({"metrics": ["accuracy"]}, "perplexity is measured"),
        ({"regularization": Regularization(r_drop=1.0)}, "--r_drop"),
        ({"args": {"label_smoothing_factor": 0.1}}, "is for labels"),
        ({"max_length": 1000}, "--max_length"),
    ],
)
def test_what_needs_labels_is_refused_before_anything_is_written(
    options: dict[str, Any], said: str, base: Path, tmp_path: Path
) -> None:
    assert said in refused(small.run, "fill-mask", base, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
