"""A recipe's arguments and defaults, read from words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from hf_transfer.arguments import Arguments, parse
from hf_transfer.problems import Problems

DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 3,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "load_best_model_at_end": True,
    "logging_steps": 10,
}


@dataclass
class RecipeArguments(Arguments):
    model_name_or_path: str | None = "some/encoder"
    early_stopping_patience: int | None = 3
    mixup: float = 0.0
    hide: ClassVar[tuple[str, ...]] = ("image_column",)
    recipe: ClassVar[str] = "sentiment"


def read(line: str) -> RecipeArguments:
    return parse(RecipeArguments, line.split())


def wrong(*words: str) -> str:
    with pytest.raises(Problems) as caught:
        parse(RecipeArguments, list(words))
    return str(caught.value)
