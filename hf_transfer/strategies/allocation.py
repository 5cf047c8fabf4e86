"""AdaLoRA's ranks: a budget that falls over the run and goes to the matrices that matter most (Zhang et al. 2023)."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback

from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.peft_methods import UNPLANNED

FIRST, LAST = 0.1, 0.3  # shares of the steps with the whole budget, and with the final one


class Allocation(TrainerCallback):
    """Tells peft's AdaLoRA how long the run is, and lets it set ranks after each step, before gradients are cleared.

    What is left out is kept as zeros rather than cut off, so that checkpoints of any step fit the model. The importance
    of each rank is not saved: a resumed run measures it anew from its first steps.
    """

    def __init__(self) -> None:
        self.before: int | None = None  # ranks of all matrices together, when training began
        self.pattern: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Lay the schedule over the steps of this training."""
        config = model.peft_config[model.active_adapter]
        if config.total_step == UNPLANNED:
            config.tinit, config.tfinal = round(FIRST * state.max_steps), round(LAST * state.max_steps)
        config.total_step = state.max_steps

    def on_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """Measure importance by the gradients of this step, and zero what the budget does not cover."""
        config = model.peft_config[model.active_adapter]
        still = [p for n, p in model.named_parameters() if ".lora_" in n and p.grad is None]
        for parameter in still:  # of frozen blocks: no importance
            parameter.grad = torch.zeros_like(parameter)
        config.rank_pattern = self.pattern or _pattern(model)
        model.base_model.update_and_allocate(state.global_step)
        self.pattern, config.rank_pattern = config.rank_pattern, None
        for parameter in still:
            parameter.grad = None


def _pattern(model: Any) -> dict[str, list[bool]]:
    """Which ranks are in use, by the name that peft gives them: those whose singular value is not zero."""
    return {
        name.removeprefix("base_model.model."): (value != 0).flatten().tolist()
        for name, value in model.named_parameters()
        if ".lora_E." in name
    }


def is_adalora(model: Any) -> bool:
    """Whether the model's adapter is AdaLoRA's."""
    return any(
        str(getattr(c.peft_type, "value", "")) == "ADALORA"
        for c in getattr(model, "peft_config", {}).values()
    )


def check_allocation(model: Any, phases: int) -> None:
    """The budget falls once, over one phase.

    Raises:
        Problems: AdaLoRA in a strategy of several phases.
    """
    if phases > 1 and is_adalora(model):
        what = f"adalora shares out its ranks over one phase, and the strategy has {phases}"
        raise Problems(Problem("--peft with --strategy", what, "use --strategy full, or --peft lora"))
