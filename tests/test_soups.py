"""Soups, and part of the way from where a run started to where it ended."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from architectures import make
from regular_training import STILL, regular_setup
from safetensors.torch import load_file
from small_training import changed, random_rows, state

from hf_transfer.final_weights import way_back
from hf_transfer.strategies import soups
from hf_transfer.strategies.phases import Phase
from hf_transfer.strategies.regularization import Regularization
from hf_transfer.training.phase import phase_trainer
from hf_transfer.training.train import train

EVERY_STEP = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
BEST = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}


def test_the_mean_takes_integers_and_never_averages_them() -> None:
    """Tried: `(1 - a) * count + a * count` makes a float of BatchNorm's count."""
    states = [{"w": torch.tensor([v]), "n": torch.tensor(int(v))} for v in (2.0, 4.0, 9.0)]
    assert {k: v.item() for k, v in soups.mean(states).items()} == {"w": 5.0, "n": 2}
    half = soups.interpolated(states[0], states[1], 0.25)
    assert half["w"].item() == 2.5 and half["n"].item() == 4 and half["n"].dtype == torch.int64


def test_a_greedy_soup_takes_what_helps_and_ranks_no_lower_than_the_best() -> None:
    aim = torch.tensor([1.0, 1.0])

    def rank(found: soups.State) -> soups.Rank:
        return -float((found["w"] - aim).square().sum()), 0.0

    states = [{"w": torch.tensor(w)} for w in ([1.5, 1.5], [0.4, 0.4], [9.0, 9.0], [0.3, 0.9])]
    soup, tried = soups.greedy_soup([(i, rank(s), s) for i, s in enumerate(states)], rank)
    assert [t["step"] for t in tried] == [3, 0, 1, 2] or [t["step"] for t in tried] == [0, 3, 1, 2]
    assert tried[0]["kept"] and not tried[-1]["kept"]
    assert rank(soup) >= max(rank(s) for s in states)
    ranks = [t["rank"] for t in tried if t["kept"]]
    assert ranks == sorted(ranks) and rank(soup) == pytest.approx(ranks[-1])


@pytest.mark.parametrize("name", ["bert", "resnet"])
def test_alpha_1_is_the_trained_model_and_alpha_0_the_pretrained_one_under_its_new_head(
    name: str, tmp_path: Path
) -> None:
    found = {}
    for alpha in (None, 0.0, 0.5, 1.0):
        setup = regular_setup(
            name, tmp_path / str(alpha), Regularization(wise_ft=alpha), config=STILL if name == "bert" else {}
        )
        before = state(setup.model)
        train(setup)
        found[alpha] = state(setup.model)
    assert not changed(found[1.0], found[None])
    names = way_back(setup)
    integers = {n for n, v in before.items() if not v.is_floating_point()}
    moved = changed(before, found[0.0])
    assert moved == {n for n in before if n.startswith("classifier")} | (
        changed(before, found[1.0]) & integers
    )
    for key in names:
        torch.testing.assert_close(found[0.5][key], (before[key] + found[1.0][key]) / 2)
    assert found[0.5].keys() == before.keys() and all(found[0.5][k].dtype == before[k].dtype for k in before)


def test_a_head_that_an_earlier_phase_has_trained_goes_part_of_the_way_too(tmp_path: Path) -> None:
    everything = ("embeddings", "block.1", "block.2", "block.3", "head")
    phases = [Phase("head", ("head",)), Phase("full", everything)]
    found = {}
    for alpha in (0.0, 1.0):
        chosen = Regularization(wise_ft=alpha)
        setup = regular_setup("bert", tmp_path / str(alpha), chosen, strategy=phases, config=STILL)
        train(setup)
        found[alpha] = state(setup.model)
    after_head = load_file(tmp_path / "0.0" / "phase-1" / "model.safetensors")
    assert torch.equal(found[0.0]["classifier.weight"], after_head["classifier.weight"])
    assert not torch.equal(found[1.0]["classifier.weight"], after_head["classifier.weight"])


def test_the_chosen_weights_score_as_tried_on_validation(tmp_path: Path) -> None:
    given = EVERY_STEP | BEST | {"max_steps": 6, "learning_rate": 3e-3}
    for chosen in (Regularization(soup=4), Regularization(wise_ft="auto")):
        setup = regular_setup("resnet", tmp_path / str(chosen.soup), chosen, **given)
        (entry,) = train(setup)
        fresh = phase_trainer(setup, 1)
        loss = fresh.evaluate(random_rows("resnet", 8, seed=1))["eval_loss"]
        if chosen.soup:
            tried = entry["soup"]["tried"]
            assert len(tried) == 4
            best = max(t["rank"] for t in tried)
            assert -tried[0]["rank"][0] == pytest.approx(entry["best"]["value"], abs=1e-6)
        else:
            ranks = entry["wise_ft"]["ranks"]
            assert len(ranks) == 11 and entry["wise_ft"]["metric"] == "eval_loss"
            best = max(ranks.values())
            assert ranks[f"{entry['wise_ft']['alpha']:g}"] == best
        assert loss == pytest.approx(-best[0], abs=1e-6)


def test_lora_is_scaled(tmp_path: Path) -> None:
    """Interpolating both matrices would not scale their product."""
    from peft import LoraConfig
    from small_training import make_setup

    from hf_transfer.final_weights import averaged_end, state_before
    from hf_transfer.strategies.lora import adapt

    torch.manual_seed(0)
    model = adapt(make("bert", **STILL), LoraConfig(r=2))
    setup = make_setup(model, "bert", tmp_path)
    setup.regularization = Regularization(wise_ft=0.25)
    start = state_before(setup, 1)
    trainer = phase_trainer(setup, 1)
    trainer.train()
    layer = next(m for n, m in model.named_modules() if n.endswith("layer.0.attention.self.query"))
    delta = layer.get_delta_weight("default").detach().clone()
    averaged_end(setup, 1, trainer, tmp_path, start)
    assert delta.abs().max() > 0
    torch.testing.assert_close(layer.get_delta_weight("default"), 0.25 * delta)
