"""The task without labels: which kind a checkpoint is for, and its rows."""

from __future__ import annotations

import math
from collections import Counter

import language_models as small
import numpy as np
import pytest
import tiny
import torch
from data_tasks import refused

from hf_transfer import language_modeling, load
from hf_transfer.evaluation.perplexity import interval, perplexity
from hf_transfer.language import token_losses
from hf_transfer.tasks.language_modeling import CAUSAL_LM, MASKED_LM, masking
from hf_transfer.tasks.masking import evaluation_masks
from hf_transfer.tasks.task import IGNORED

LONG = " ".join(["we found the lovely garden at noon ."] * 30)


@pytest.mark.parametrize(
    ("kind", "changes", "name"),
    [
        ("bert", {}, "fill-mask"),
        ("roberta", {}, "fill-mask"),
        ("modernbert", {}, "fill-mask"),
        ("gpt2", {}, "text-generation"),
        ("llama", {}, "text-generation"),
        ("bert", {"is_decoder": True}, "text-generation"),
    ],
)
def test_the_kind_of_model_decides(kind: str, changes: dict[str, bool], name: str) -> None:
    assert language_modeling(small.config(kind, **changes)).name == name


@pytest.mark.parametrize("kind", ["t5", "bart", "vit"])
def test_what_is_no_language_model_of_these_kinds_is_refused(kind: str) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model("vit") if kind == "vit" else small.config(kind)
    assert kind in refused(language_modeling, config)


def test_a_share_that_is_none_is_refused() -> None:
    assert "--mlm_probability" in refused(language_modeling, small.config("bert"), 1.5)


def test_a_long_text_goes_on_in_further_rows_and_loses_nothing() -> None:
    tokenizer, texts = tiny.tiny_tokenizer(), [LONG, *small.TEXTS[:30]]
    data = load(MASKED_LM, texts, validation_size=0.2, test_size=0.0)
    found = MASKED_LM.prepare(data, tokenizer, small.model("bert"), 32)
    rows, places = found.splits["train"], found.origins["train"]
    assert max(map(len, rows["input_ids"])) <= 32 and len(rows) == len(places) > len(data.splits["train"])
    for place, text in enumerate(data.splits["train"]["text"]):
        pieces = [ids[1:-1] for ids, at in zip(rows["input_ids"], places, strict=True) if at == place]
        assert [i for ids in pieces for i in ids] == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert all(
        ids[0] == tokenizer.cls_token_id and ids[-1] == tokenizer.sep_token_id for ids in rows["input_ids"]
    )
    assert tokenizer.model_max_length == 64  # that of the task to come is not narrowed


def test_blocks_of_the_next_word_hold_every_token_and_an_end_behind_each_text() -> None:
    tokenizer, data = tiny.tiny_tokenizer(), load(CAUSAL_LM, small.TEXTS, test_size=0.0)
    found = CAUSAL_LM.prepare(data, tokenizer, small.model("gpt2"), 16)
    blocks = found.splits["train"]["input_ids"]
    stream = [i for block in blocks for i in block]
    whole = [i for ids in tokenizer(data.splits["train"]["text"][:])["input_ids"] for i in ids]
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    assert stream == whole and stream.count(end) == len(data.splits["train"])
    assert {len(block) for block in blocks[:-1]} == {16}
    for block, place in zip(blocks, found.origins["train"], strict=True):
        assert block[0] in tokenizer(data.splits["train"]["text"][place])["input_ids"]


def test_masks_are_drawn_for_training_and_fixed_for_evaluation() -> None:
    tokenizer = tiny.tiny_tokenizer()
    rows = [{"input_ids": ids, "labels": ids} for ids in tokenizer(small.TEXTS * 20)["input_ids"]]
    batch = masking(tokenizer, 0.3)([dict(row) for row in rows])
    other = masking(tokenizer, 0.3)([dict(row) for row in rows])
    assert not torch.equal(batch["labels"], other["labels"])
    whole = tokenizer.pad({"input_ids": [row["input_ids"] for row in rows]}, return_tensors="pt")["input_ids"]
    chosen = batch["labels"] != IGNORED
    assert torch.equal(batch["labels"][chosen], whole[chosen])
    assert torch.equal(batch["input_ids"][~chosen], whole[~chosen])
    assert not torch.isin(whole[chosen], torch.tensor(tokenizer.all_special_ids)).any()
    words = ~torch.isin(whole, torch.tensor(tokenizer.all_special_ids))
    assert chosen.sum() / words.sum() == pytest.approx(0.3, abs=0.02)
    seen = Counter(
        "mask" if now == tokenizer.mask_token_id else "same" if now == was else "other"
        for now, was in zip(batch["input_ids"][chosen].tolist(), whole[chosen].tolist(), strict=True)
    )
    shares = {name: count / int(chosen.sum()) for name, count in seen.items()}
    assert shares == pytest.approx({"mask": 0.8, "other": 0.1, "same": 0.1}, abs=0.03)

    first = evaluation_masks([row["input_ids"] for row in rows], tokenizer, 0.3)
    torch.manual_seed(99)
    assert evaluation_masks([row["input_ids"] for row in rows], tokenizer, 0.3) == first


def test_a_short_text_has_one_mask_at_least() -> None:
    """Stock's collator leaves most batches of one short text without any, and their mean loss is no number."""
    tokenizer = tiny.tiny_tokenizer()
    row = {"input_ids": tokenizer("lovely .")["input_ids"]}
    collate = masking(tokenizer, 0.15)
    counts = [
        int((collate([dict(row, labels=row["input_ids"])])["labels"] != IGNORED).sum()) for _ in range(40)
    ]
    assert min(counts) == 1
    assert all(
        (np.array(labels) != IGNORED).any()
        for labels in evaluation_masks([row["input_ids"]] * 40, tokenizer, 0.15)[1]
    )


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_losses_of_rows_are_those_of_the_model(kind: str) -> None:
    """A mean over tokens, whatever the batches: the mean of batches' means is another figure."""
    model, tokenizer = small.model(kind).eval(), tiny.tiny_tokenizer()
    batch = tokenizer(small.TEXTS[:7], padding=True, return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
    labels[0, 3:] = IGNORED
    with torch.no_grad():
        outputs = model(**batch, labels=labels)
    found = token_losses(outputs.logits, labels, kind == "gpt2").numpy()
    assert perplexity(found)["loss"] == pytest.approx(outputs.loss.item(), rel=1e-5)
    assert perplexity(found)["perplexity"] == pytest.approx(math.exp(outputs.loss.item()), rel=1e-4)


def test_the_interval_keeps_the_rows_of_a_text_together() -> None:
    generator = np.random.default_rng(0)
    losses = np.stack([generator.gamma(3, 10, 200), np.full(200, 10.0)], axis=1)
    alone, pairs = (
        interval(losses, np.arange(200)),
        interval(np.repeat(losses, 2, axis=0), np.repeat(np.arange(200), 2)),
    )
    assert alone == pytest.approx(pairs)
    low, high = alone
    assert low < perplexity(losses)["perplexity"] < high
    assert interval(losses[:3], np.zeros(3)) is None
