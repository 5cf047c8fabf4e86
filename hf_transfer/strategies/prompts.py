"""Prefix and prompt tuning: learned tokens before the input of a frozen text model.

peft offers them to classifiers of texts that take a cache (prefix: Li and Liang 2021) or embeddings (prompt: Lester et
al. 2021). Whether a model really does is tried on eight tokens: some ignore the prefix, some read the score off the
wrong token once there are others before it, and none of that shows in the loss.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from hf_transfer.anatomy import head_leaves, max_positions
from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.peft_methods import kind_of

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
    try:
        plain = copy.deepcopy(model)
        adapted: Any = get_peft_model(loaded, filled)
        _frozen_but_the_head(adapted, leaves)
        _try(plain, adapted, told)
    except (ValueError, TypeError, RuntimeError, AttributeError, IndexError, KeyError, NotImplementedError) as error:
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


def _try(plain: Any, adapted: Any, told: str) -> None:
    """That the tokens reach the scores, and that a row's scores do not hang on how much it is padded."""
    vocabulary = plain.get_input_embeddings().num_embeddings
    ids = torch.arange(5, 13)[None] % vocabulary
    pad = plain.config.pad_token_id or 0
    padded = torch.cat([ids[:, :5], torch.full((1, 3), pad)], dim=1)
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[0, 5:] = 0
    device = next(plain.parameters()).device
    modes = plain.training, adapted.training
    with torch.no_grad():
        plain.eval(), adapted.eval()
        without = plain(input_ids=ids.to(device)).logits
        alone = adapted(input_ids=ids[:, :5].to(device), attention_mask=mask[1:, :5].to(device)).logits
        beside = adapted(input_ids=torch.cat([padded, ids]).to(device), attention_mask=mask.to(device)).logits
    plain.train(modes[0]), adapted.train(modes[1])
    if torch.equal(beside[1:], without):
        what = f"{type(plain).__name__} does not look at what {told} tuning puts before its input"
        raise Problems(Problem("--peft", what, INSTEAD))
    if not torch.allclose(alone[0], beside[0], atol=1e-3, rtol=1e-2):
        what = f"with {told} tuning {type(plain).__name__} reads the score of a padded text off the wrong token"
        raise Problems(Problem("--peft", what, INSTEAD))


def check_room(model: Any, max_length: int | None) -> None:
    """The learned tokens take positions of the text's.

    Raises:
        Problems: texts of `max_length` tokens and those together are more than the model has positions.
    """
    config = next(iter(getattr(model, "peft_config", {}).values()), None)
    if not getattr(config, "is_prompt_learning", False) or max_length is None:
        return
    most, tokens = max_positions(model.get_base_model()), config.num_virtual_tokens
    if most is not None and max_length + tokens > most:
        what = f"texts of {max_length} tokens and {tokens} learned ones do not fit into {most} positions"
        raise Problems(Problem("--max_length", what, f"give --max_length {most - tokens} or less"))
