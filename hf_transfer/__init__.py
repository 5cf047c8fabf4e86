"""Transfer learning on Hugging Face: a pretrained checkpoint, your data, a model that can be trusted.

`finetune` does the work, `load` reads data, `Run` is the result. Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_transfer.adaptation.adapt import adapt as adapt
    from hf_transfer.adaptation.arguments import AdaptationArguments as AdaptationArguments
    from hf_transfer.adapters import load_adapter as load_adapter
    from hf_transfer.anatomy import LayerGroup as LayerGroup
    from hf_transfer.anatomy import layer_groups as layer_groups
    from hf_transfer.arguments import Arguments as Arguments
    from hf_transfer.arguments import parse as parse
    from hf_transfer.checking.checks import check_training as check_training
    from hf_transfer.data import Data as Data
    from hf_transfer.data import examples as examples
    from hf_transfer.data import load as load
    from hf_transfer.embedded import minilm as minilm
    from hf_transfer.episodes import evaluate_episodes as evaluate_episodes
    from hf_transfer.exits import command as command
    from hf_transfer.finetuning import finetune as finetune
    from hf_transfer.problems import NotPushed as NotPushed
    from hf_transfer.problems import Problem as Problem
    from hf_transfer.problems import Problems as Problems
    from hf_transfer.run import Run as Run
    from hf_transfer.strategies.peft_methods import PEFT_RATES as PEFT_RATES
    from hf_transfer.strategies.peft_methods import peft_method as peft_method
    from hf_transfer.strategies.phases import Phase as Phase
    from hf_transfer.strategies.regularization import Regularization as Regularization
    from hf_transfer.tasks import (
        IMAGE_CLASSIFICATION as IMAGE_CLASSIFICATION,
    )
    from hf_transfer.tasks import (
        TEXT_CLASSIFICATION as TEXT_CLASSIFICATION,
    )
    from hf_transfer.tasks.language_modeling import language_modeling as language_modeling
    from hf_transfer.training.checkpoints import checkpoint as checkpoint
    from hf_transfer.training_arguments import default_arguments as default_arguments

_HOME = {
    "AdaptationArguments": "adaptation.arguments",
    "Arguments": "arguments",
    "Data": "data",
    "IMAGE_CLASSIFICATION": "tasks",
    "LayerGroup": "anatomy",
    "NotPushed": "problems",
    "PEFT_RATES": "strategies.peft_methods",
    "Phase": "strategies.phases",
    "Problem": "problems",
    "Problems": "problems",
    "Regularization": "strategies.regularization",
    "Run": "run",
    "TEXT_CLASSIFICATION": "tasks",
    "adapt": "adaptation.adapt",
    "check_training": "checking.checks",
    "checkpoint": "training.checkpoints",
    "command": "exits",
    "default_arguments": "training_arguments",
    "evaluate_episodes": "episodes",
    "examples": "data",
    "finetune": "finetuning",
    "language_modeling": "tasks.language_modeling",
    "layer_groups": "anatomy",
    "load": "data",
    "load_adapter": "adapters",
    "minilm": "embedded",
    "parse": "arguments",
    "peft_method": "strategies.peft_methods",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hf_transfer' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"hf_transfer.{_HOME[name]}"), name)
    # Kept, so that the next use costs nothing.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
