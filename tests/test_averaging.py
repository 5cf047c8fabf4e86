"""Averages of weights: formulas, what is evaluated and saved, exact resume, and two processes as one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from regular_training import CASES, regular_setup, trained
from safetensors.torch import load_file
from small_training import changed, state
from torch import nn
from transformers import TrainerCallback

from hf_transfer.strategies import soups
from hf_transfer.strategies.averaging import AVERAGED, AveragedWeights, decay_at
from hf_transfer.strategies.regularization import Regularization
from hf_transfer.training.train import train

EVERY_STEP = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
TIMED = ("runtime", "per_second")
BEST = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}


# The moving average.


def test_the_average_follows_the_weights_from_the_first_steps_on() -> None:
    """A constant 0.9999 would leave 99 % of the start after 100 steps."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    averaged = AveragedWeights(layer, 0.9999)
    averaged.on_train_begin(None, None, None)
    expected = 0.0
    for step in range(100):
        nn.init.constant_(layer.weight, step + 1.0)
        averaged.on_step_end(None, None, None)
        decay = min(0.9999, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1)
    assert float(averaged.average["weight"]) == pytest.approx(expected, rel=1e-5)
    assert 85 < expected < 100 and decay_at(0.99, 10**6) == 0.99


def test_the_average_is_in_fp32_and_of_what_learns_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).to(torch.bfloat16)
    model[0].bias.requires_grad_(False)
    averaged = AveragedWeights(model, 0.999)
    averaged.on_train_begin(None, None, None)
    assert set(averaged.average) == {"0.weight", "1.weight", "1.bias"}
    assert {value.dtype for value in averaged.average.values()} == {torch.float32}


class Seen(TrainerCallback):
    """The weights as callbacks see them at an evaluation, and as the optimizer left them."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.evaluated: dict[int, dict[str, torch.Tensor]] = {}

    def on_step_end(self, args: Any, state_: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.steps.append(state(model))

    def on_evaluate(self, args: Any, found: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.evaluated[found.global_step] = state(model)


@pytest.mark.parametrize("name", ["bert", "resnet"])
def test_what_is_evaluated_chosen_and_kept_is_the_average(name: str, tmp_path: Path) -> None:
    given = EVERY_STEP | BEST | {"greater_is_better": True, "learning_rate": 3e-3}  # the best is not the last
    setup = regular_setup(name, tmp_path, Regularization(ema=0.9), **given)
    seen = Seen()
    setup.callbacks = [seen]
    average = {n: p.detach().clone() for n, p in setup.model.named_parameters()}
    (entry,) = train(setup)
    for step, weights in enumerate(seen.steps):
        share = 1 - decay_at(0.9, step)
        for key, value in average.items():
            value.lerp_(weights[key], share)
            torch.testing.assert_close(seen.evaluated[step + 1][key], value)
        buffers = set(weights) - set(average)
        assert all(torch.equal(seen.evaluated[step + 1][key], weights[key]) for key in buffers)
        if step + 1 < len(seen.steps):  # the optimizer goes on with its own weights
            assert changed(seen.evaluated[step + 1], weights) >= set(list(average)[:1])
    best = entry["best"]["step"]
    assert best < 4 and not changed(state(setup.model), seen.evaluated[best])
    assert entry["ema"]["updates"] == best
    saved = load_file(tmp_path / "model.safetensors")
    assert any(torch.equal(v, t) for v in saved.values() for t in [next(iter(seen.evaluated[best].values()))])
    kept = load_file(tmp_path / f"checkpoint-{best}" / AVERAGED)
    assert set(kept) == set(average)


def test_without_a_best_model_the_last_average_is_kept(tmp_path: Path) -> None:
    setup = regular_setup("bert", tmp_path, Regularization(ema=0.9))
    seen = Seen()
    setup.callbacks = [seen]
    train(setup)
    assert changed(state(setup.model), seen.steps[-1])


# Resume.

MANY = Regularization(ema=0.9, r_drop=1.0, mixup=0.4, cutmix=1.0, l2_sp=0.1, weighted_sampling=True, soup=2)
TEXT = Regularization(ema=0.9, r_drop=1.0, mixout=0.2, class_weights="auto", soup=2, wise_ft="auto")


@pytest.mark.parametrize(
    ("name", "chosen"), [("vit", MANY), ("bert", TEXT), ("resnet", Regularization(ema=0.9, mixup=0.4))]
)
def test_a_resumed_run_is_the_uninterrupted_one(name: str, chosen: Regularization, tmp_path: Path) -> None:
    """In the middle of an epoch of four steps; weights, losses, evaluations, soup."""
    options = {"max_steps": 7, "n": 16, "lr_scheduler_type": "cosine", "learning_rate": 2e-3}
    options |= EVERY_STEP | {"save_steps": 3, "eval_steps": 3}
    config = {"hidden_dropout_prob": 0.2} if name != "resnet" else {}

    def run(folder: Path, cut: int | None = None) -> tuple[Any, ...]:
        setup = regular_setup(name, folder, chosen, config=config, **options)
        torch.manual_seed(len(folder.name))  # whatever was drawn before must not matter
        setup.callbacks = [Cut(cut)] if cut else []
        (entry,) = train(setup, resume=folder.is_dir())
        rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        logged = [{k: v for k, v in row.items() if not k.endswith(TIMED)} for row in rows]
        return state(setup.model), load_file(folder / "checkpoint-6" / AVERAGED), logged, entry

    whole, averages, logged, entry = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="cut"):
        run(tmp_path / "cut off", 5)
    resumed, again, lines, found = run(tmp_path / "cut off")
    assert not changed(whole, resumed) and not changed(averages, again)
    assert lines == logged
    for key in ("soup", "wise_ft", "ema", "train_loss", "steps"):
        assert found.get(key) == entry.get(key), key
    assert not (tmp_path / "cut off" / soups.CANDIDATES).exists()


class Cut(TrainerCallback):
    """Ends a run in the middle of a step, as a power cut would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state_: Any, control: Any, **kwargs: Any) -> None:
        if state_.global_step == self.step:
            raise RuntimeError("cut")


def test_a_checkpoint_without_an_average_is_refused(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="has no averaged.safetensors"):
        AveragedWeights(layer, 0.9).load(tmp_path)
    other = AveragedWeights(nn.Linear(2, 2, bias=False), 0.9)
    other.on_train_begin(None, None, None)
    other.save(tmp_path)
    with pytest.raises(RuntimeError, match="averages other weights"):
        AveragedWeights(layer, 0.9).load(tmp_path)


# Two processes.


@pytest.fixture(scope="module")
def two(two_ranks: Path) -> Any:
    return torch.load(two_ranks / "regular_training" / "found.pt")


@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(case: str, two: Any, tmp_path: Path) -> None:
    found = two[case]
    assert found["alike"]
    if "mixout" in case:  # each process draws masks of its own
        return
    alone = trained(tmp_path, case, per_device_train_batch_size=8)
    for key, value in alone["state"].items():
        assert (found["state"][key] - value).abs().max() < 1e-5, key
    if alone["soup"]:
        assert [t["step"] for t in found["soup"]["tried"]] == [t["step"] for t in alone["soup"]["tried"]]
