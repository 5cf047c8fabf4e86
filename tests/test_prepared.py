"""Precision and compilation go right through the phases, and the model comes out as it went in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from architectures import make
from finetune_runs import FAST
from small_training import changed, make_setup, state
from torch import nn
from torch._dynamo.utils import counters
from transformers import TrainerCallback

from hf_transfer import finetune
from hf_transfer.training.phase import phase_trainer

# Graphs are taken apart and put together, but no C++ is compiled for them, which takes a minute.
COMPILED: dict[str, Any] = {"torch_compile": True, "torch_compile_backend": "aot_eager"}
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SHORT = {
    "max_steps": 6,
    "per_device_train_batch_size": 8,
    "disable_tqdm": True,
    "report_to": "none",
    "use_cpu": True,
}


class Precisions(TrainerCallback):
    """What a matrix layer computes in, phase by phase."""

    def __init__(self) -> None:
        self.found: list[set[torch.dtype]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        seen: set[torch.dtype] = set()
        self.found.append(seen)
        layer = next(module for module in model.modules() if isinstance(module, nn.Linear))
        self.handle = layer.register_forward_hook(lambda module, given, output: seen.add(output.dtype))

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.handle.remove()


def test_every_phase_is_computed_in_bf16_and_forward_is_the_models_own(tmp_path: Path) -> None:
    """Stock marks the model in the first phase and passes over it in the next; its way back strips `forward`."""
    precisions = Precisions()
    run = finetune(
        "text-classification", str(tiny.tiny_bert(tmp_path)), tiny.rows(60), callbacks=[precisions],
        args={**SHORT, "bf16": True, "output_dir": str(tmp_path / "run")}, strategy="gradual", **FAST,
    )  # fmt: skip
    assert precisions.found == [{torch.bfloat16}] * 3
    assert run.model.forward.__func__ is type(run.model).forward
    inputs = run.processor(["a lovely film"], return_tensors="pt")
    assert len(run.model(**inputs, output_hidden_states=True).hidden_states) == 3
    assert isinstance(run.model(**inputs, return_dict=False), tuple)


@pytest.fixture
def fresh_compiler() -> Any:
    """No code from another test, and none left for one."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def trained(name: str, folder: Path, strategy: str, **arguments: Any) -> tuple[list[Any], list[int]]:
    """The state after each phase, and how many graphs were compiled in it."""
    model = make(name, **(STILL if name == "bert" else {}))
    setup = make_setup(model, name, folder, strategy, max_steps=8, learning_rate=1e-2, **arguments)
    found, graphs, before = [], [], state(model)
    for number, phase in enumerate(setup.phases, 1):
        counters.clear()
        phase_trainer(setup, number).train()
        found.append(state(model))
        graphs.append(counters["stats"]["unique_graphs"])
        learning = [group for group in setup.groups if group.name in phase.learns]
        moved = changed(before, found[-1])
        assert moved & {n for n, _ in model.named_parameters()} == {n for g in learning for n in g.parameters}
        assert moved <= {n for g in learning for n in (*g.parameters, *g.buffers)}
        before = found[-1]
    return found, graphs


@pytest.mark.parametrize(("name", "strategy"), [("bert", "gradual"), ("resnet", "two-phase")])
@pytest.mark.usefixtures("fresh_compiler")
def test_every_phase_is_compiled_and_learns_as_without(name: str, strategy: str, tmp_path: Path) -> None:
    plain, none = trained(name, tmp_path / "plain", strategy)
    compiled, graphs = trained(name, tmp_path / "compiled", strategy, **COMPILED)
    assert not any(none) and all(graphs)
    for one, two in zip(plain, compiled, strict=True):
        for key, value in one.items():
            torch.testing.assert_close(
                two[key], value, rtol=1e-4, atol=1e-4, msg=lambda m, k=key: f"{k}: {m}"
            )
