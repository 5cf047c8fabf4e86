"""New words for a tokenizer: those of a domain that it breaks into many pieces, with embeddings that begin sensibly."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hf_transfer.problems import Problem, Problems

LEAST = 5  # times that a word must occur: a rarer one would hardly be learned
WORD = re.compile(r"[^\W\d_]{3,}")  # three letters or more


@dataclass(frozen=True)
class NewWord:
    """A word, how often it stands in the texts, and the ids of the pieces that the tokenizer made of it."""

    word: str
    count: int
    pieces: tuple[int, ...]

    @property
    def saved(self) -> int:
        """Tokens that the texts have less with it."""
        return self.count * (len(self.pieces) - 1)


def frequent_words(tokenizer: Any, texts: Sequence[str], most: int) -> list[NewWord]:
    """At most `most` words that stand in `texts` often and in several pieces, those that save most tokens first."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        what = f"{type(tokenizer).__name__} is written in Python alone, and takes no whole words"
        raise Problems(Problem("--new_vocabulary", what, "leave it out"))
    normal = backend.normalizer.normalize_str if backend.normalizer is not None else str
    counts = Counter(word for text in texts for word in WORD.findall(normal(text)))
    often = sorted(word for word, count in counts.items() if count >= LEAST)
    if not often:
        return []
    # behind a blank, as a word stands in a text: byte-level tokenizers take it into the word
    pieces = tokenizer([f" {word}" for word in often], add_special_tokens=False)["input_ids"]
    found = [NewWord(word, counts[word], tuple(ids)) for word, ids in zip(often, pieces, strict=True)]
    found = [new for new in found if len(new.pieces) > 1 and tokenizer.unk_token_id not in new.pieces]
    return sorted(found, key=lambda new: (-new.saved, new.word))[:most]


def add_vocabulary(model: Any, tokenizer: Any, texts: Sequence[str], most: int) -> tuple[list[NewWord], str]:
    """Give tokenizer and model, both in place, up to `most` words of `texts` that were in pieces until now.

    The embedding of a new word begins as the mean of its pieces', and so does its bias among the scores, so that
    the model loses nothing to begin with that it could tell from the pieces together.

    Args:
        model: with a masked-language-modelling head, in which tied weights stay tied.
        texts: of training; what is held out must not choose words.

    Returns:
        The words, and a sentence for the plan.

    Raises:
        Problems: a model of the next word, whose texts would lose the blanks before new words.
    """
    from tokenizers import AddedToken

    if tokenizer.mask_token_id is None or type(model).__name__.endswith(("ForCausalLM", "LMHeadModel")):
        what = (
            "is for masked language models: in what others write, new words would lose the blank before them"
        )
        raise Problems(Problem("--new_vocabulary", what, "leave it out"))
    words = frequent_words(tokenizer, texts, most)
    if not words:
        return [], f"No new vocabulary: no word that stands {LEAST} times in the texts is in pieces."
    blank = (
        tokenizer.tokenize(" a")[0] != tokenizer.tokenize("a")[0]
    )  # a part of the word, where it makes another piece
    tokens = [AddedToken(new.word, single_word=True, lstrip=blank, normalized=True) for new in words]
    tokenizer.add_tokens(tokens)
    _add_rows(model, tokenizer, words)
    saved = sum(new.saved for new in words)
    shown = ", ".join(new.word for new in words[:5])
    return words, f"{len(words)} new words ({shown}, ...) make the training texts {saved:,} tokens shorter."


def _add_rows(model: Any, tokenizer: Any, words: Sequence[NewWord]) -> None:
    """Rows for the new ids in the table of words, and in the layer of scores where that is another."""
    import torch

    marked = {name for name, p in model.named_parameters() if getattr(p, "_is_hf_initialized", False)}
    size = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > size:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    output = model.get_output_embeddings()
    tables = {
        id(t): t
        for t in (model.get_input_embeddings().weight, getattr(output, "weight", None))
        if t is not None
    }
    bias = getattr(output, "bias", None)
    ids = tokenizer.convert_tokens_to_ids([new.word for new in words])
    with torch.no_grad():
        for new, number in zip(words, ids, strict=True):
            for table in [*tables.values(), *([bias] if bias is not None else [])]:
                table[number] = table[list(new.pieces)].mean(dim=0)
    for name, parameter in model.named_parameters():
        if name in marked:  # a resized table is another object, of pretrained rows still
            parameter._is_hf_initialized = True
