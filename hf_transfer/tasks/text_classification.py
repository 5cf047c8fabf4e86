"""Text classification and regression: one or several labels, or a number, for a text or a pair of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.anatomy import max_positions
from hf_transfer.problems import Problem, Problems
from hf_transfer.tasks.classification import add_labels
from hf_transfer.tasks.task import Prepared, Task

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_transfer.data import Data

# Tokens: the least that texts are cut at unless --max_length says less, and what a model without a limit is given.
SHORTEST_DEFAULT, LONGEST_DEFAULT = 128, 512


def _table_size(model: Any) -> float:
    """How many ids the model knows: no end where it has no table of them (CANINE hashes, Perceiver's lies elsewhere)."""
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError):
        return float("inf")


def fit(tokenizer: Any, model: Any) -> list[str]:
    """Check that the tokenizer's ids exist in the model, and give both a padding token if they lack one."""
    table = _table_size(model)
    highest = max(tokenizer.get_vocab().values(), default=-1) + 1
    if highest > table:
        raise Problems(
            Problem(
                "--model_name_or_path",
                f"the tokenizer knows {highest} tokens but the model's table has {table} rows: they do not belong "
                "together",
                "give a folder or Hub id in which model and tokenizer come from the same checkpoint",
            )
        )
    if highest <= len(
        set(tokenizer.all_special_ids)
    ):  # what AutoTokenizer makes of a folder without its files
        what = f"the tokenizer of {tokenizer.name_or_path} knows no words, as if its files were missing"
        mend = "save it into the same folder: tokenizer.save_pretrained(folder)"
        raise Problems(Problem("--model_name_or_path", what, mend))
    notes = []
    own = getattr(model.config, "pad_token_id", None)
    if tokenizer.pad_token is None and isinstance(own, int) and 0 <= own < table:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(
            own
        )  # the model's; None where there is no such token
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise Problems(
                Problem("tokenizer", "it has neither a padding nor an end token", "set tokenizer.pad_token")
            )
        tokenizer.pad_token = tokenizer.eos_token
        notes.append(f"The tokenizer has no padding token; its end token {tokenizer.eos_token!r} pads.")
    # A decoder's head, called `score`, reads the last token that is no padding by the id in the config.
    if own is None or not 0 <= own < table or hasattr(model, "score"):
        model.config.pad_token_id = tokenizer.pad_token_id
    return notes


def prepare(data: Data, tokenizer: Any, model: Any, max_length: int | None = None) -> Prepared:
    """Tokenize every split once and cut what is longer than `max_length`.

    The default is the smallest multiple of 8 that leaves 99 % of the training texts whole, at least 128 (batches are
    padded to their own longest text, so room for longer ones later costs nothing), bounded by what the model and its
    tokenizer can take. What is cut is counted and said. The tokenizer's `model_max_length` becomes the length
    trained with, so that the saved model cuts texts just so.
    """
    limit = length_limit(tokenizer, model)
    if max_length is not None and not 0 < max_length <= (limit or max_length):
        raise Problems(
            Problem(
                "--max_length",
                f"{max_length} tokens, but the model takes 1 to {limit}",
                f"give at most {limit}",
            )
        )
    whole = {split: _tokenize(rows, tokenizer, None) for split, rows in data.splits.items()}
    lengths = {
        split: np.array([len(ids) for ids in encoded["input_ids"]]) for split, encoded in whole.items()
    }
    chosen = max_length or _default_length(
        lengths["train" if "train" in lengths else next(iter(lengths))], limit
    )
    tokenizer.model_max_length = chosen
    splits, cut = {}, {}
    for split, rows in data.splits.items():
        too_long = np.flatnonzero(lengths[split] > chosen)
        cut[split] = len(too_long) / max(1, len(rows))
        splits[split] = add_labels(_dataset(_shortened(whole[split], rows, too_long, tokenizer)), rows, data)
    facts = {"max_length": chosen, "cut": cut, "quantiles": {s: _quantiles(n) for s, n in lengths.items()}}
    shown = {split: np.minimum(n, chosen).tolist() for split, n in lengths.items()}
    warnings = _length_warnings(cut, chosen, max_length)
    return Prepared(splits, shown, facts, warnings, plan={"length": f"texts are cut at {chosen} tokens"})


def encode(rows: Dataset, tokenizer: Any, max_length: int | None = None) -> Dataset:
    """Model inputs for rows with `text` (and `text_pair`), cut at the length trained with."""
    return _dataset(_tokenize(rows, tokenizer, max_length or tokenizer.model_max_length))


def collator(tokenizer: Any) -> Any:
    """Pads each batch to its longest row (to a multiple of 8 where tensor cores profit)."""
    import torch
    from transformers import DataCollatorWithPadding

    return DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8 if torch.cuda.is_available() else None)


def raw(rows: Dataset) -> list[Any]:
    """Texts, or `{"text", "text_pair"}` for pairs, as `pipeline` takes them."""
    if "text_pair" in rows.column_names:
        return [
            {"text": a, "text_pair": b} for a, b in zip(rows["text"][:], rows["text_pair"][:], strict=True)
        ]
    return list(rows["text"][:])


def length_limit(tokenizer: Any, model: Any) -> int | None:
    """Most tokens that the position table and the tokenizer take; None where neither sets a limit."""
    # A tokenizer without a limit reports a huge number.
    limits = [n for n in (max_positions(model), tokenizer.model_max_length) if n is not None and n < 10**9]
    return min(limits, default=None)


def _default_length(lengths: np.ndarray, limit: int | None) -> int:
    longest = float(np.quantile(lengths, 0.99, method="higher")) if len(lengths) else 0.0
    return min(max(SHORTEST_DEFAULT, int(np.ceil(longest / 8)) * 8), limit or LONGEST_DEFAULT)


def _tokenize(rows: Dataset, tokenizer: Any, max_length: int | None) -> dict[str, list[Any]]:
    pairs = [rows["text_pair"][:]] if "text_pair" in rows.column_names else []
    # verbose=False: the tokenizer's own warning about long texts is replaced by a count.
    encoded = tokenizer(
        rows["text"][:], *pairs, truncation=max_length is not None, max_length=max_length, verbose=False
    )
    return dict(encoded.items())


def _shortened(
    encoded: dict[str, list[Any]], rows: Dataset, too_long: np.ndarray, tokenizer: Any
) -> dict[str, list[Any]]:
    if not len(too_long):
        return encoded
    again = _tokenize(rows.select(too_long), tokenizer, tokenizer.model_max_length)
    for name, values in again.items():
        for i, value in zip(too_long, values, strict=True):
            encoded[name][i] = value
    return encoded


def _dataset(columns: dict[str, list[Any]]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_dict(columns)


def _quantiles(lengths: np.ndarray) -> dict[str, int]:
    if not len(lengths):
        return {}
    return {f"p{q}": int(np.quantile(lengths, q / 100)) for q in (50, 95, 99)} | {"max": int(lengths.max())}


def _length_warnings(cut: dict[str, float], chosen: int, given: int | None) -> list[dict[str, str]]:
    worst = max(cut.values(), default=0.0)
    if worst < 0.02:
        return []
    shares = ", ".join(f"{share:.1%} of {split}" for split, share in cut.items() if share)
    what = f"texts longer than {chosen} tokens are cut: {shares}"
    return [
        {
            "where": "length",
            "what": what,
            "mend": "" if given else "a larger --max_length if the model takes it",
        }
    ]


TEXT_CLASSIFICATION = Task(
    name="text-classification",
    auto_class="AutoModelForSequenceClassification",
    processor_class="AutoTokenizer",
    inputs=("text", "text_pair"),
    optional=("text_pair",),
    target="label",
    fit=fit,
    prepare=prepare,
    encode=encode,
    collator=collator,
    raw=raw,
)
