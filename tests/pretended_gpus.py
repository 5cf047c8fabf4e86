"""The sentiment recipe in processes that accelerate takes for GPUs; run by test_accelerate_configs.py under a launcher.

accelerate shards a model on GPUs only. Told that these processes have one, its FSDP2 and DeepSpeed code, ours, and
torch's collectives (gloo) run for real on a CPU.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"

import torch
import transformers.training_args
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from launching import RECIPE

from hf_transfer import command


def pretend(self: PartialState, *args: Any) -> tuple[str, DistributedType]:
    return "gloo", DistributedType.MULTI_GPU


def recipe() -> Any:
    spec = importlib.util.spec_from_file_location("sentiment", RECIPE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sentiment"] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    run = recipe().main()
    assert torch.distributed.get_world_size() == 2
    kinds = {type(parameter).__name__ for parameter in run.model.parameters()}
    assert kinds == {"Parameter"}, kinds


if __name__ == "__main__":
    PartialState._prepare_backend = pretend
    transformers.training_args.is_torch_bf16_gpu_available = lambda: True
    sys.exit(command(main))
