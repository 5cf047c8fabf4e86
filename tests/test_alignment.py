"""DANN and CORAL: their terms, whom they move, one pass for both domains, exact resume, and two processes as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import architectures
import numpy as np
import pytest
import torch
from peft import LoraConfig
from shifted_training import CORAL, DANN, shifted_setup, trained
from small_training import changed, state
from torch import nn

from hf_transfer.strategies.alignment import (
    ALIGNMENT,
    Alignment,
    coral,
    domain_loss,
    ramp,
)
from hf_transfer.strategies.lora import adapt
from hf_transfer.strategies.phases import Phase
from hf_transfer.strategies.regularization import Regularization
from hf_transfer.strategies.shift import Shift
from hf_transfer.training.phase import phase_trainer
from hf_transfer.training.train import train


def both(rows: int = 6, width: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn((rows, width), generator=generator)
    return source.requires_grad_(), (2 * torch.randn((rows + 3, width), generator=generator)).requires_grad_()


def begun(method: str, weight: float = 1.0) -> Alignment:
    found = Alignment(method, weight, nn.Linear(4, 2), nn.functional.cross_entropy)
    found.begin(0, torch.device("cpu"))
    return found


# The terms.


def test_coral_is_the_papers() -> None:
    """No term for the means, and the sum of squares over 4 d^2."""
    source, target = (part.detach() for part in both())
    apart = np.cov(source.numpy().T) - np.cov(target.numpy().T)
    assert float(coral(source, target)) == pytest.approx(float((apart**2).sum()) / (4 * 4**2), rel=1e-5)
    assert float(coral(source, source + 100)) == pytest.approx(0, abs=1e-6)
    alone = coral(both()[0][:1], target)
    assert alone.requires_grad and float(alone.detach()) == 0


def test_the_reversal_grows_as_in_the_paper() -> None:
    assert ramp(0) == 0 and ramp(0.1) == pytest.approx(np.tanh(0.5)) and 0.9999 < ramp(1) < 1


def test_the_features_learn_against_the_domain_classifier() -> None:
    """Fails without the reversal, and where the classifier itself is reversed; the length is the head's affair."""
    alignment = begun("dann")
    alignment.strength = 0.3
    source, target = both()
    alignment.term(source, target).backward()
    learned = [parameter.grad.clone() for parameter in alignment.parameters()]  # type: ignore[union-attr]
    alignment.classifier.zero_grad()
    plain = [part.detach().clone().requires_grad_() for part in (source, target)]
    logits = [alignment.classifier(part) for part in plain]
    domain_loss(*logits)[0].backward()
    head = alignment.layer.weight.detach()
    for found, wanted, logit, sign in zip((source.grad, target.grad), plain, logits, (1, -1), strict=True):
        error = torch.sigmoid(-sign * logit.detach()) / (2 * len(logit))
        assert found is not None and wanted.grad is not None
        assert torch.allclose(nn.functional.cosine_similarity(found, wanted.grad), -torch.ones(len(logit)))
        torch.testing.assert_close(found.norm(dim=1, keepdim=True), 0.3 * head.norm() * error)
    for parameter, before in zip(alignment.parameters(), learned, strict=True):
        torch.testing.assert_close(parameter.grad, before)


def test_a_domain_classifier_with_steep_layers_pushes_no_harder() -> None:
    """As the paper has it, weights twice as large in each of three layers push about eight times as hard."""
    pushes = []
    for times in (1.0, 2.0):
        alignment, (source, target) = begun("dann"), both()
        alignment.strength = 1.0
        with torch.no_grad():
            for parameter in alignment.parameters():
                parameter *= times
        alignment.term(source, target).backward()
        assert source.grad is not None
        pushes.append(float(source.grad.norm()))
    assert pushes[1] < 1.5 * pushes[0]


def test_a_domain_classifier_that_watches_moves_no_feature() -> None:
    alignment = begun("coral", weight=3.0)
    source, target = both()
    term = alignment.term(source, target)
    term.backward()
    plain = [part.detach().clone().requires_grad_() for part in (source, target)]
    wanted = 3 * coral(*plain)
    wanted.backward()
    assert float(term.detach()) == pytest.approx(float(wanted.detach()))
    torch.testing.assert_close(source.grad, plain[0].grad)
    assert all(float(p.grad.abs().sum()) > 0 for p in alignment.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in alignment.parameters())


def test_both_domains_weigh_the_same_in_the_accuracy() -> None:
    loss, accuracy = domain_loss(torch.full((1, 1), 5.0), torch.full((9, 1), 5.0))
    assert float(accuracy) == 0.5 and float(loss) == pytest.approx(
        (np.log1p(np.exp(-5)) + 5.0067) / 2, rel=1e-3
    )


# In training.


@pytest.mark.parametrize("name", ["resnet", "timm-resnet18"])
def test_batchnorm_sees_both_domains_at_once(name: str, tmp_path: Path) -> None:
    setup = shifted_setup(name, tmp_path, DANN, n=8, max_steps=1)
    seen: list[int] = []
    norm = next(m for m in setup.model.modules() if isinstance(m, nn.BatchNorm2d))
    norm.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    phase_trainer(setup, 1).train()
    assert seen == [8]  # four training rows and four target rows, once


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "vit"])
def test_scores_and_loss_are_those_of_the_training_rows(name: str, tmp_path: Path) -> None:
    """Whether the model pools before the last layer (BERT) or after it (GPT-2)."""
    setup = shifted_setup(name, tmp_path, CORAL, config={"pad_token_id": 0} if name == "gpt2" else {})
    setup.alignment.weight = 0.0
    batch = architectures.inputs(name, 3) | {"labels": torch.tensor([0, 1, 2])}
    plain = setup.model(**batch)
    setup.model.training = True  # the objective asks; the modules stay in eval mode, without dropout
    loss, outputs = setup.objective(setup.model, {**batch, "target": architectures.inputs(name, 3, seed=1)})
    torch.testing.assert_close(outputs["logits"], plain["logits"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, plain["loss"], rtol=1e-4, atol=1e-5)
    assert float(setup.alignment.watched[2]) == 3


def test_the_domain_classifier_is_trained_beside_the_model(tmp_path: Path) -> None:
    setup = shifted_setup("bert", tmp_path, DANN, max_steps=4)
    trainer = phase_trainer(setup, 1)
    before = state(setup.alignment.classifier)
    grown: list[float] = []
    step = setup.alignment.on_step_end

    def watching(*args: Any, **kwargs: Any) -> None:
        grown.append(sum(float(p.grad.abs().sum()) for p in setup.alignment.parameters()))
        step(*args, **kwargs)
        assert all(p.grad is None for p in setup.alignment.parameters())  # stock clears its model's alone

    setup.alignment.on_step_end = watching
    trainer.train()
    assert len(grown) == 4 and changed(before, state(setup.alignment.classifier))
    assert [row["domain_accuracy"] for row in trainer.state.log_history if "loss" in row]
    assert setup.alignment.strength == pytest.approx(0.3 * ramp(3 / 4))
    assert not [name for name, _ in setup.model.named_modules() if "domain" in name]
    assert trainer._get_learning_rate() == trainer.args.learning_rate


def test_a_phase_in_which_only_the_head_learns_aligns_nothing(tmp_path: Path) -> None:
    everything = ("embeddings", "block.1", "block.2", "block.3", "head")
    strategy = [Phase("head", ("head",)), Phase("full", everything)]
    setup = shifted_setup("bert", tmp_path, DANN, strategy=strategy, max_steps=4)
    ledger = train(setup)
    assert ["align" in entry for entry in ledger] == [False, True]
    assert ledger[1]["align"]["target_rows"] == 10


GOES_WITH = {
    "r_drop, mixout, l2_sp": Regularization(r_drop=1.0, mixout=0.2, l2_sp=0.1, ema=0.9),
    "weights, sampling": Regularization(class_weights={"a": 2.0}, weighted_sampling=True, focal_gamma=1.0),
}


@pytest.mark.parametrize("case", GOES_WITH)
def test_regularisers_go_with_it(case: str, tmp_path: Path) -> None:
    (entry,) = train(shifted_setup("bert", tmp_path, DANN, GOES_WITH[case], max_steps=2))
    assert np.isfinite(entry["train_loss"]) and entry["align"]["domain_accuracy"]["last"] > 0


def test_adapters_are_aligned_too(tmp_path: Path) -> None:
    model = adapt(architectures.make("bert"), LoraConfig(r=2))
    setup = shifted_setup("bert", tmp_path, DANN, model=model, max_steps=2, learning_rate=1e-2)
    before = state(model)
    train(setup)
    moved = changed(before, state(setup.model))
    assert moved and all("lora_" in name or "modules_to_save" in name for name in moved)


# However a batch is split, and however often a run is interrupted.


def test_accumulation_changes_nothing_under_dann(tmp_path: Path) -> None:
    whole = trained(tmp_path / "a", DANN, per_device_train_batch_size=8)
    parts = trained(tmp_path / "b", DANN, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    for key, value in whole["state"].items():
        assert (parts["state"][key] - value).abs().max() < 1e-5, key


@pytest.mark.parametrize("chosen", [DANN, CORAL])
def test_an_interrupted_run_goes_on_exactly(chosen: Shift, tmp_path: Path) -> None:
    """In the middle of an epoch and of a log interval; the optimizer has a state of the domain classifier's weights."""
    given = {"n": 14, "max_steps": 7, "save_strategy": "steps", "save_steps": 1, "logging_steps": 3}
    whole, again = (shifted_setup("bert", tmp_path, chosen, seed=seed, **given) for seed in (0, 5))
    trainers = []
    for setup, checkpoint in ((whole, None), (again, str(tmp_path / "checkpoint-5"))):
        trainers.append(phase_trainer(setup, 1))
        trainers[-1].train(resume_from_checkpoint=checkpoint)
    assert not changed(state(whole.model), state(again.model))
    assert not changed(state(whole.alignment.classifier), state(again.alignment.classifier))
    logged = [[r.get("domain_accuracy") for r in t.state.log_history if "loss" in r] for t in trainers]
    assert logged[0] == logged[1] and len(logged[0]) == 2
    (tmp_path / "checkpoint-5" / ALIGNMENT).unlink()
    with pytest.raises(RuntimeError, match="not written by a run with --align"):
        phase_trainer(again, 1).train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))


def test_two_processes_are_one(two_ranks: Path, tmp_path: Path) -> None:
    found = torch.load(two_ranks / "shifted_training" / "found.pt")
    assert found["alike"]
    alone = trained(tmp_path / "alone", DANN, per_device_train_batch_size=8)
    for key, value in alone["state"].items():
        assert (found["state"][key] - value).abs().max() < 1e-5, key
    assert found["align"]["target_rows"] == 10
