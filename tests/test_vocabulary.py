"""New words: chosen by what they save, begun as the mean of their pieces, tied and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import language_models as small
import pytest
import tiny
import torch
from data_tasks import refused

from hf_transfer.adaptation.vocabulary import add_vocabulary, frequent_words
from hf_transfer.models import new_parameters

TEXTS = ["The gardenroom was Warmbright, and the gardenroom was cold."] * 6 + ["A songbook at home."] * 4


@pytest.fixture
def tokenizer() -> Any:
    """One that breaks words into pieces: `gardenroom` is `garden ##room`."""
    from transformers import BertTokenizer

    words = [*tiny.SPECIAL, *tiny.WORDS, *(f"##{word}" for word in tiny.WORDS)]
    return BertTokenizer(vocab={word: i for i, word in enumerate(words)}, model_max_length=64)


def masked(tokenizer: Any, **changes: Any) -> Any:
    from transformers import AutoModelForMaskedLM

    torch.manual_seed(0)
    config = small.config("bert", **changes)
    config.vocab_size = len(tokenizer)
    return AutoModelForMaskedLM.from_config(config)


def test_words_are_chosen_by_the_tokens_they_save(tokenizer: Any) -> None:
    found = frequent_words(tokenizer, TEXTS, 10)
    assert [(new.word, new.count, len(new.pieces), new.saved) for new in found] == [
        ("gardenroom", 12, 2, 12),
        ("warmbright", 6, 2, 6),
    ]  # songbook stands too seldom, cold is whole
    assert frequent_words(tokenizer, TEXTS, 1) == found[:1]


@pytest.mark.parametrize("tied", [True, False])
def test_a_new_word_begins_as_the_mean_of_its_pieces(tied: bool, tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model = masked(tokenizer, tie_word_embeddings=tied)
    before = tokenizer(TEXTS[0])["input_ids"]
    with torch.no_grad():
        model.get_output_embeddings().bias.normal_()
    words, said = add_vocabulary(model, tokenizer, TEXTS, 10)
    assert [new.word for new in words] == ["gardenroom", "warmbright"] and "18 tokens shorter" in said
    assert len(tokenizer(TEXTS[0])["input_ids"]) == len(before) - 3
    output, table = model.get_output_embeddings(), model.get_input_embeddings().weight
    assert (output.weight is table) == tied and len(table) == len(tokenizer) == len(output.bias)
    number = tokenizer.convert_tokens_to_ids("gardenroom")
    for rows in (table, output.weight, output.bias):
        assert torch.allclose(rows[number], rows[list(words[0].pieces)].mean(0))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, text = AutoModelForMaskedLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert (again.get_output_embeddings().weight is again.get_input_embeddings().weight) == tied
    assert text(TEXTS[0])["input_ids"] == tokenizer(TEXTS[0])["input_ids"]


def test_a_resized_table_is_still_a_pretrained_one(tokenizer: Any, tmp_path: Path) -> None:
    """Else the plan would call all words new, and the head would be taken for one drawn at random."""
    from transformers import AutoModelForMaskedLM

    masked(tokenizer).save_pretrained(tmp_path)
    model = AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert new_parameters(model) == []
    add_vocabulary(model, tokenizer, TEXTS, 10)
    assert new_parameters(model) == []


def test_byte_level_words_take_their_blank_with_them(tmp_path: Path) -> None:
    """RoBERTa's pieces begin with the blank before a word: a new word has to take it in, or leaves it alone."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizer

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(["the room was cold and the garden warm"] * 5, vocab_size=300, show_progress=False,
                                special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])  # fmt: skip
    trained.save_model(str(tmp_path))
    tokenizer = RobertaTokenizer.from_pretrained(tmp_path)
    texts = ["Cold was the troposphere, and the troposphere stayed."] * 5
    model = masked(tokenizer)
    add_vocabulary(model, tokenizer, texts, 1)
    ids = tokenizer(texts[0])["input_ids"]
    number, the = tokenizer.convert_tokens_to_ids(["troposphere", "Ġthe"])
    assert ids.count(number) == 2 and ids[ids.index(number) - 1] == the  # no blank of its own between them


def test_writers_of_text_and_texts_without_such_words(tokenizer: Any) -> None:
    assert "masked language models" in refused(add_vocabulary, small.model("gpt2"), tokenizer, TEXTS, 5)
    words, said = add_vocabulary(masked(tokenizer), tokenizer, ["the room was cold"] * 9, 5)
    assert words == [] and "No new vocabulary" in said
