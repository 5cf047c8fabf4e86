"""Language modelling on texts without labels: masked words (BERT and its kin) or the next word (GPT and its kin)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.problems import Problem, Problems
from hf_transfer.tasks import text_classification as texts
from hf_transfer.tasks.task import IGNORED, Prepared, Task

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_transfer.data import Data

MLM_PROBABILITY = 0.15  # Devlin et al. 2018
LONGEST_DEFAULT = (
    512  # tokens of a block unless --max_length says otherwise: more costs memory and teaches little
)


def language_modeling(model: Any, mlm_probability: float = MLM_PROBABILITY) -> Task:
    """The task for a checkpoint: `fill-mask` where its kind of model fills masks, else `text-generation`.

    Asked of transformers' own tables of classes; a decoder whose kind is in both (a BERT with `is_decoder`) generates.

    Args:
        model: a folder or Hub id, a model, or its configuration.
        mlm_probability: share of the tokens that are masked; no meaning for the next word.

    Raises:
        Problems: models with an encoder and a decoder, which are pretrained otherwise, and those with no such head.
    """
    from transformers import PreTrainedConfig
    from transformers.models.auto import modeling_auto as auto

    if isinstance(model, (str, Path)):
        from hf_transfer.training.checkpoints import checkpoint, load_pretrained

        model = load_pretrained("AutoConfig", checkpoint(str(model)))
    config = model if isinstance(model, PreTrainedConfig) else model.config
    kind, where = config.model_type, "--model_name_or_path"
    masked, causal = (
        kind in names
        for names in (auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    )
    mend = "choose an encoder such as BERT, or a decoder such as GPT-2"
    if getattr(config, "is_encoder_decoder", False):
        what = f"{kind} has an encoder and a decoder: it is pretrained on spans of texts, which is not offered here"
        raise Problems(Problem(where, what, mend))
    if not masked and not causal:
        raise Problems(Problem(where, f"transformers has no language model of the kind {kind}", mend))
    if not 0 < mlm_probability < 1:
        what = f"found {mlm_probability:g}, expected above 0 and below 1"
        raise Problems(Problem("--mlm_probability", what, "0.15 is usual"))
    if causal and (not masked or getattr(config, "is_decoder", False)):
        return CAUSAL_LM
    return replace(
        MASKED_LM,
        prepare=partial(prepare_masked, probability=mlm_probability),
        train_collator=partial(masking, probability=mlm_probability),
    )


def fit(tokenizer: Any, model: Any) -> list[str]:
    """As for classification: ids that the model has, and a padding token."""
    return texts.fit(tokenizer, model)


def fit_masked(tokenizer: Any, model: Any) -> list[str]:
    """The tokenizer must know a mask too."""
    if tokenizer.mask_token_id is None:
        what = f"the tokenizer of {tokenizer.name_or_path} has no mask token"
        raise Problems(Problem("tokenizer", what, "give the one that the checkpoint was pretrained with"))
    return fit(tokenizer, model)


def prepare_masked(
    data: Data,
    tokenizer: Any,
    model: Any,
    max_length: int | None = None,
    probability: float = MLM_PROBABILITY,
) -> Prepared:
    """Each text a row; one that is longer than `max_length` goes on in further rows, and nothing is cut off.

    Masks are drawn anew for every training batch (`masking`), for the other splits once and always the same: figures
    from before and after training, and of other runs, are of the same masked tokens.
    """
    from hf_transfer.tasks.masking import evaluation_masks

    whole, before, behind = _encoded(data, tokenizer)
    special = len(before) + len(behind)
    limit = _checked_limit(tokenizer, model, max_length, special + 1)
    lengths = {split: np.array([len(ids) + special for ids in rows]) for split, rows in whole.items()}
    chosen = max_length or min(texts._default_length(lengths[next(iter(lengths))], limit), LONGEST_DEFAULT)
    pieces = {split: _pieces(rows, chosen - special) for split, rows in whole.items()}
    splits, origins = {}, {}
    for split, (ids, places) in pieces.items():
        closed = [[*before, *piece, *behind] for piece in ids]
        inputs, labels = closed, closed
        if split != "train":
            inputs, labels = evaluation_masks(closed, tokenizer, probability)
        splits[split], origins[split] = _dataset(inputs, labels), places
    plan = f"{chosen} tokens at most, {probability:.0%} of them masked; longer texts go on in further rows"
    return _prepared(splits, origins, chosen, plan, {"mlm_probability": probability})


def prepare_causal(data: Data, tokenizer: Any, model: Any, max_length: int | None = None) -> Prepared:
    """Texts one after the other, an end token behind each, in blocks of `max_length` tokens; the last one is shorter."""
    whole, before, behind = _encoded(data, tokenizer)
    limit, end = _checked_limit(tokenizer, model, max_length, 2), tokenizer.eos_token_id
    chosen = max_length or min(limit or LONGEST_DEFAULT, LONGEST_DEFAULT)
    if end is not None and end not in behind:
        behind = [*behind, end]
    splits, origins = {}, {}
    for split, rows in whole.items():
        closed = [[*before, *ids, *behind] for ids in rows]
        stream = list(chain.from_iterable(closed))
        owner = np.repeat(np.arange(len(closed)), [len(ids) for ids in closed])
        blocks = [stream[i : i + chosen] for i in range(0, len(stream), chosen)]
        blocks = [block for block in blocks if len(block) > 1] or blocks  # of one token nothing can be told
        splits[split] = _dataset(blocks, blocks)
        origins[split] = [int(owner[i * chosen]) for i in range(len(blocks))]
    plan = f"texts one after the other in blocks of {chosen} tokens"
    return _prepared(splits, origins, chosen, plan, {})


def _prepared(
    splits: dict[str, Any], origins: dict[str, list[int]], chosen: int, plan: str, facts: dict[str, Any]
) -> Prepared:
    lengths = {split: [len(ids) for ids in rows["input_ids"]] for split, rows in splits.items()}
    told: dict[str, Any] = {"quantiles": {s: texts._quantiles(np.array(n)) for s, n in lengths.items()}}
    told |= {"tokens": {s: int(sum(n)) for s, n in lengths.items()}}
    sizes = ", ".join(
        f"{len(n):,} rows with {sum(n):,} tokens in all for {split}" for split, n in lengths.items()
    )
    return Prepared(
        splits,
        lengths,
        facts={"max_length": chosen, **told, **facts},
        plan={"length": plan, "tokens": sizes},
        origins=origins,
    )


def _encoded(data: Data, tokenizer: Any) -> tuple[dict[str, list[list[int]]], list[int], list[int]]:
    """Token ids per text and split, whole and without special tokens; and those that go before and behind a text."""
    found: dict[str, list[list[int]]] = {}
    for split, rows in data.splits.items():
        ids = tokenizer(rows["text"][:], add_special_tokens=False, verbose=False)["input_ids"]
        if not any(ids):
            raise Problems(Problem(split, "the tokenizer makes nothing of its texts"))
        found[split] = ids
    some = data.splits[split]["text"][next(i for i, row in enumerate(found[split]) if row)]
    plain, closed = (
        tokenizer(some, add_special_tokens=own, verbose=False)["input_ids"] for own in (False, True)
    )
    at = next(i for i in range(len(closed)) if closed[i : i + len(plain)] == plain)
    return found, closed[:at], closed[at + len(plain) :]


def _pieces(rows: list[list[int]], size: int) -> tuple[list[list[int]], list[int]]:
    """The texts in pieces of at most `size` tokens, as even as they come, and the text of each; empty ones left out."""
    pieces, places = [], []
    for place, ids in enumerate(rows):
        count = -(-len(ids) // size)
        ends = [round(len(ids) * (i + 1) / count) for i in range(count)]
        for start, stop in zip([0, *ends], ends, strict=False):
            pieces.append(ids[start:stop])
            places.append(place)
    return pieces, places


def _checked_limit(tokenizer: Any, model: Any, max_length: int | None, least: int) -> int | None:
    limit = texts.length_limit(tokenizer, model)
    if max_length is not None and not least <= max_length <= (limit or max_length):
        what = f"{max_length} tokens, but the model takes {least} to {limit}"
        raise Problems(Problem("--max_length", what, f"give at most {limit}"))
    return limit


def _dataset(inputs: list[list[int]], labels: list[list[int]]) -> Dataset:
    from datasets import Dataset

    ones = [[1] * len(ids) for ids in inputs]
    return Dataset.from_dict({"input_ids": inputs, "attention_mask": ones, "labels": labels})


def encode(rows: Dataset, tokenizer: Any, max_length: int | None = None) -> Dataset:
    """Model inputs for rows with `text`, cut at what the model takes."""
    return texts.encode(rows, tokenizer, max_length)


def collator(tokenizer: Any) -> Any:
    """Pads each batch to its longest row, labels with what the loss leaves out."""
    import torch
    from transformers import DataCollatorForTokenClassification

    multiple = 8 if torch.cuda.is_available() else None
    return DataCollatorForTokenClassification(
        tokenizer, label_pad_token_id=IGNORED, pad_to_multiple_of=multiple
    )


def masking(tokenizer: Any, probability: float = MLM_PROBABILITY) -> Any:
    """Of training batches: as `collator`, and masks that are drawn from torch's random state."""
    from hf_transfer.tasks.masking import masked_batch

    special = tuple(sorted(set(tokenizer.all_special_ids)))
    options = {"mask": tokenizer.mask_token_id, "special": special, "vocabulary": len(tokenizer)}
    return partial(masked_batch, collator(tokenizer), probability=probability, **options)


def raw(rows: Dataset) -> list[Any]:
    """The beginnings of texts, short enough for any model."""
    return [text[:200] for text in rows["text"][:]]


MASKED_LM = Task(
    name="fill-mask",
    auto_class="AutoModelForMaskedLM",
    processor_class="AutoTokenizer",
    inputs=("text",),
    optional=(),
    target="",
    fit=fit_masked,
    prepare=prepare_masked,
    encode=encode,
    collator=collator,
    raw=raw,
    train_collator=masking,
)
CAUSAL_LM = replace(
    MASKED_LM,
    name="text-generation",
    auto_class="AutoModelForCausalLM",
    fit=fit,
    prepare=prepare_causal,
    train_collator=None,
)
