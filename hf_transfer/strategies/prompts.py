"""Prefix and prompt tuning: learned tokens before the input of a frozen text model.

peft offers them to classifiers of texts that take a cache (prefix: Li and Liang 2021) or embeddings (prompt: Lester et
al. 2021). Whether a model really does is tried on eight tokens: some ignore the prefix, some read the score off the
wrong token once there are others before it, and none of that shows in the loss.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hf_transfer.anatomy import head_leaves, max_positions
from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.peft_methods import is_prompt, kind_of

INSTEAD = "choose --peft lora or --peft ia3, which need nothing of the kind"


def with_prompt(model: nn.Module, config: Any) -> Any:
    """The model wrapped by peft with learned tokens before its input; these and the head learn.

    Raises:
        Problems: the model takes no texts, cannot use them, or would read its score off another token.
    """
    from peft import get_peft_model

    told = "prefix" if kind_of(config) == "PREFIX_TUNING" else "prompt"
    loaded: Any = model
    if getattr(loaded, "main_input_name", "") != "input_ids":
        what = f"{told} tuning puts tokens before a text, and {type(model).__name__} reads none"
        raise Problems(Problem("--peft", what, INSTEAD))
    leaves = head_leaves(model)
    filled = replace(config, task_type=config.task_type or "SEQ_CLS", modules_to_save=leaves or None)
    if not {"hidden_size", "n_embd", "d_model"} & loaded.config.to_dict().keys():  # DistilBERT's own words
        filled.token_dim = filled.token_dim or loaded.config.hidden_size
        filled.num_layers = filled.num_layers or loaded.config.num_hidden_layers
        filled.num_attention_heads = filled.num_attention_heads or loaded.config.num_attention_heads
    try:
        without = _scores(loaded, *_texts(loaded))
        adapted: Any = get_peft_model(loaded, filled)
        _frozen_but_the_head(adapted, leaves)
        _try(adapted, without, told)
    except (
        ValueError,
        TypeError,
        RuntimeError,
        AttributeError,
        IndexError,
        KeyError,
        NotImplementedError,
    ) as error:
        if isinstance(error, Problems):
            raise
        said = " ".join(str(error).split())[:160]
        what = f"{type(model).__name__} cannot use {told} tuning as peft does it ({said})"
        raise Problems(Problem("--peft", what, INSTEAD)) from error
    return adapted


def _frozen_but_the_head(adapted: Any, leaves: list[str]) -> None:
    learned = ("prompt_encoder.", *(f"base_model.{leaf}.modules_to_save." for leaf in leaves))
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_(name.startswith(learned))


def _texts(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A text of eight tokens, after one of five that is padded: ids and mask (2, 8)."""
    ends = getattr(model.config, "eos_token_id", None)
    end = ends if isinstance(ends, int) else 5  # T5 and BART read the score off it
    pad = model.config.pad_token_id or 0
    words = [word % model.get_input_embeddings().num_embeddings for word in range(6, 13)]
    ids = torch.tensor([[*words[:4], end, pad, pad, pad], [*words, end]])
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[0, 5:] = 0
    return ids, mask


def _scores(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    device, training = next(model.parameters()).device, model.training
    with torch.no_grad():
        found = model.eval()(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
    model.train(training)
    return found


def _try(adapted: Any, without: torch.Tensor, told: str) -> None:
    """That the tokens reach the scores, and that a row's scores do not hang on how much it is padded."""
    ids, mask = _texts(adapted)
    both, alone = _scores(adapted, ids, mask), _scores(adapted, ids[:1, :5], mask[:1, :5])
    name = type(adapted.get_base_model()).__name__
    if torch.equal(both[1], without[1]):
        what = f"{name} does not look at what {told} tuning puts before its input"
        raise Problems(Problem("--peft", what, INSTEAD))
    if not torch.allclose(alone[0], both[0], atol=1e-3, rtol=1e-2):
        what = f"with {told} tuning {name} reads the score of a padded text off the wrong token"
        raise Problems(Problem("--peft", what, INSTEAD))


def leave_room(model: Any, tokenizer: Any, config: Any) -> list[str]:
    """Lower the tokenizer's limit where learned tokens will take positions of the text's.

    Returns:
        A sentence for the plan.

    Raises:
        Problems: they would leave none.
    """
    if not is_prompt(config) or not hasattr(tokenizer, "model_max_length"):
        return []
    most, tokens = max_positions(model), config.num_virtual_tokens
    if most is None or tokenizer.model_max_length + tokens <= most:
        return []
    if tokens >= most:
        what = f"{tokens} learned tokens leave no room for a text in {most} positions"
        raise Problems(Problem("--num_virtual_tokens", what, "give fewer"))
    tokenizer.model_max_length = most - tokens
    return [
        f"{tokens} learned tokens stand before each text, which may have {most - tokens} of the {most} positions."
    ]
