"""Every loss against what torch, or a sum written out by hand, makes of the same numbers; and however a batch is split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import inputs, make
from regular_training import STILL, regular_setup
from small_training import changed, make_setup, random_rows, state
from torch.nn import functional as F

from hf_transfer.strategies import balance, objectives
from hf_transfer.strategies.regularization import Regularization
from hf_transfer.training.phase import phase_trainer
from hf_transfer.training.trainer import stock_objective

LOGITS = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)) * 3
IDS = torch.tensor([0, 1, 1, 3, 2, 0, 3])
SEVERAL = (torch.rand(7, 4, generator=torch.Generator().manual_seed(1)) > 0.5).float()
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0])


# Formulas.


def test_cross_entropy_is_torchs() -> None:
    each: dict[str, Any] = {"weight": WEIGHTS, "label_smoothing": 0.1, "reduction": "none"}
    found = objectives.cross_entropy(LOGITS, IDS, weights=WEIGHTS, smoothing=0.1)
    torch.testing.assert_close(found, F.cross_entropy(LOGITS, IDS, **each).mean())
    shares = torch.softmax(LOGITS.flip(0), -1)
    torch.testing.assert_close(objectives.cross_entropy(LOGITS, shares), F.cross_entropy(LOGITS, shares))


def test_binary_cross_entropy_is_torchs() -> None:
    yes, no = WEIGHTS * 0.3, torch.full((4,), 0.3)
    wanted = 0.3 * F.binary_cross_entropy_with_logits(LOGITS, SEVERAL, pos_weight=WEIGHTS)
    torch.testing.assert_close(objectives.binary_cross_entropy(LOGITS, SEVERAL, weights=(yes, no)), wanted)
    smooth = F.binary_cross_entropy_with_logits(LOGITS, SEVERAL * 0.8 + 0.1)
    torch.testing.assert_close(objectives.binary_cross_entropy(LOGITS, SEVERAL, smoothing=0.2), smooth)


def test_focal_loss_is_the_one_of_the_paper() -> None:
    p = torch.softmax(LOGITS, -1)[range(7), IDS]
    wanted = (-((1 - p) ** 2) * p.log()).mean()
    torch.testing.assert_close(objectives.cross_entropy(LOGITS, IDS, gamma=2.0), wanted)
    p = torch.where(SEVERAL == 1, torch.sigmoid(LOGITS), 1 - torch.sigmoid(LOGITS))
    wanted = (-((1 - p) ** 0.5) * p.log()).mean()
    torch.testing.assert_close(objectives.binary_cross_entropy(LOGITS, SEVERAL, gamma=0.5), wanted)


def test_focal_loss_has_a_slope_where_a_row_is_surely_right() -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    objectives.cross_entropy(logits, torch.tensor([0]), gamma=0.5).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_logit_adjustment_makes_a_constant_model_calibrated_for_equal_labels() -> None:
    """With scores that are all alike the adjusted model says the priors, so the loss is their entropy."""
    ids = torch.tensor([0] * 8 + [1] * 2)
    offsets = torch.tensor(balance.log_priors(np.array([8.0, 2.0]), "ab"))
    found = objectives.cross_entropy(torch.zeros(10, 2), ids, offsets=offsets)
    assert float(found) == pytest.approx(-(0.8 * np.log(0.8) + 0.2 * np.log(0.2)), abs=1e-6)


def test_divergence_is_the_symmetric_one() -> None:
    p, q = torch.softmax(LOGITS, -1), torch.softmax(LOGITS.flip(0), -1)
    wanted = 0.5 * ((p * (p / q).log()).sum(-1) + (q * (q / p).log()).sum(-1)).mean()
    torch.testing.assert_close(objectives.divergence(LOGITS, LOGITS.flip(0)), wanted)
    p, q = torch.sigmoid(LOGITS), torch.sigmoid(LOGITS.flip(0))
    yes, no = p * (p / q).log(), (1 - p) * ((1 - p) / (1 - q)).log()
    back = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    wanted = 0.5 * (yes + no + back).mean()
    torch.testing.assert_close(objectives.divergence(LOGITS, LOGITS.flip(0), several=True), wanted)
    assert float(objectives.divergence(LOGITS, LOGITS)) == 0


# Balance.


def test_balanced_weights_are_scikit_learns_and_one_on_average() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0] * 6 + [1] * 3 + [2])
    rows = balance.counts(labels, 3)
    found = balance.class_weights(rows, None, "abc")
    np.testing.assert_allclose(found, compute_class_weight("balanced", classes=np.arange(3), y=labels))
    for given in (None, {"a": 3.0}, {"a": 0.1, "c": 7.0}):
        assert balance.class_weights(rows, given, "abc")[labels].mean() == pytest.approx(1)
    several = np.array([[1, 0], [1, 1], [1, 0], [0, 0]], dtype=np.float32)
    yes, no = balance.label_weights(balance.counts(several, 2), 4, None, "ab")
    np.testing.assert_allclose((several * yes).sum(0), ((1 - several) * no).sum(0))  # both count the same
    np.testing.assert_allclose((several * yes + (1 - several) * no).mean(0), 1)


def test_rows_are_drawn_so_that_labels_come_equally_often() -> None:
    labels = np.array([0] * 90 + [2] * 10)
    chances = balance.row_weights(labels, 3)
    assert chances.sum() == pytest.approx(1) and chances[:90].sum() == pytest.approx(0.5)


def test_a_label_without_rows_is_refused_where_it_would_weigh_without_end() -> None:
    rows = np.array([3.0, 0.0])
    for call in (balance.class_weights, lambda r, _, n: balance.log_priors(r, n)):
        with pytest.raises(ValueError, match="no training row with b"):
            call(rows, None, ("a", "b"))
    assert balance.class_weights(rows, {"b": 2.0}, ("a", "b"))[0] == 1


# Wrapped around a model.


def batch(n: int = 6) -> dict[str, Any]:
    return inputs("bert", n) | {"labels": torch.arange(n) % 3}


def test_r_drop_is_two_passes_and_nothing_outside_of_training() -> None:
    """Of dropout's masks both halves have their own; without dropout it is the plain loss."""
    model = make("bert", **STILL).train()
    run = objectives.r_drop(stock_objective, 2.0)
    torch.testing.assert_close(run(model, batch())[0], stock_objective(model, batch())[0])
    noisy = make("bert", hidden_dropout_prob=0.3).train()
    torch.manual_seed(5)
    loss, _ = run(noisy, batch())
    torch.manual_seed(5)
    outputs = noisy(**objectives.twice(batch()))
    first, second = outputs["logits"].chunk(2)
    labels = batch()["labels"]
    wanted = 0.5 * (F.cross_entropy(first, labels) + F.cross_entropy(second, labels))
    assert not torch.equal(first, second)
    torch.testing.assert_close(loss, wanted + 2.0 * objectives.divergence(first, second))
    assert torch.equal(run(noisy.eval(), batch())[0], stock_objective(noisy, batch())[0])


def test_l2_sp_pulls_to_the_start_and_new_weights_to_nothing() -> None:
    model = make("bert", **STILL)
    start = {n: p.detach().clone() for n, p in model.named_parameters() if not n.startswith("classifier")}
    embeddings = "bert.embeddings.word_embeddings.weight"
    with torch.no_grad():
        model.get_parameter(embeddings).add_(0.5)
    model.get_parameter("bert.pooler.dense.weight").requires_grad_(False)
    objectives.distance(model, start, 0.1, 0.02).backward()  # type: ignore[union-attr]
    for name, weight in model.named_parameters():
        wanted = 0.05 if name == embeddings else 0.02 * weight if name not in start else 0.0
        found = weight.grad if weight.requires_grad else torch.zeros(1)
        torch.testing.assert_close(found, torch.as_tensor(wanted).expand_as(found).clone())


def test_mixout_is_the_weight_on_average_and_the_start_where_nothing_moved() -> None:
    weight, start = torch.randn(2000, 50), torch.randn(2000, 50)
    torch.manual_seed(0)
    mixed = objectives.mixed_out(weight, start, 0.3)
    torch.testing.assert_close(objectives.mixed_out(start, start, 0.3), start)
    is_start = torch.isclose(mixed, start)
    assert float(is_start.float().mean()) == pytest.approx(0.3, abs=0.01)
    wanted = (weight - 0.3 * start) / 0.7  # Lee et al., equation 5
    torch.testing.assert_close(mixed[~is_start], wanted[~is_start])


def test_mixout_leaves_no_trace_in_the_model_and_gradients_reach_the_weights() -> None:
    model = make("bert", **STILL).train()
    name = "bert.encoder.layer.2.output.dense.weight"
    start = {name: torch.randn(32, 64)}
    names = [n for n, _ in model.named_parameters()]
    run = objectives.mixout(stock_objective, model, start, {name}, 0.5)
    torch.manual_seed(0)
    loss, _ = run(model, batch())
    loss.backward()
    grad = model.get_parameter(name).grad
    assert grad is not None and 0.3 < float((grad == 0).float().mean()) < 0.7  # masked entries have none
    assert [n for n, _ in model.named_parameters()] == names
    assert not torch.equal(loss, stock_objective(model, batch())[0])
    assert torch.equal(run(model.eval(), batch())[0], stock_objective(model, batch())[0])


# In a Trainer.

EVERYTHING = Regularization(class_weights={"a": 5.0}, focal_gamma=1.5, l2_sp=0.3, l2_sp_new=0.2)


@pytest.mark.parametrize("name", ["bert", "vit"])
def test_a_batch_may_be_split_in_any_way(name: str, tmp_path: Path) -> None:
    """13 rows of unequal weights: torch's own weighted mean, which divides by the weights at hand, would differ."""
    weights = []
    for micro, steps in ((8, 1), (2, 4)):
        sizes = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": steps, "max_steps": 4}
        setup = regular_setup(
            name, tmp_path, EVERYTHING, config=STILL, n=13, optim="sgd", label_smoothing_factor=0.1, **sizes
        )
        trainer = phase_trainer(setup, 1)
        trainer.train()
        weights.append(state(setup.model))
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, atol=1e-5, rtol=0)


def test_the_first_step_of_a_run_is_the_formula(tmp_path: Path) -> None:
    setup = regular_setup(
        "bert", tmp_path, Regularization(class_weights={"a": 5.0}), config=STILL, n=8, max_steps=1,
        per_device_train_batch_size=8, label_smoothing_factor=0.2,
    )  # fmt: skip
    rows = random_rows("bert", 8).with_format("torch")[:]
    with torch.no_grad():
        logits = setup.model(**{k: v for k, v in rows.items() if k != "labels"})["logits"]
    weights = torch.tensor(balance.class_weights(np.array([3.0, 3, 2]), {"a": 5.0}, "abc")).float()
    each = F.cross_entropy(logits, rows["labels"], weights, label_smoothing=0.2, reduction="none")
    trainer = phase_trainer(setup, 1)
    plain = trainer.evaluate(random_rows("bert", 8))["eval_loss"]
    trainer.train()
    (found,) = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert found == pytest.approx(float(each.mean()), abs=1e-4)
    assert plain == pytest.approx(float(F.cross_entropy(logits, rows["labels"])), abs=1e-5)


def test_nothing_chosen_changes_nothing(tmp_path: Path) -> None:
    found = []
    for make_one in (lambda: regular_setup("bert", tmp_path, Regularization()), lambda: plain(tmp_path)):
        setup = make_one()
        assert setup.objective is stock_objective
        phase_trainer(setup, 1).train()
        found.append(state(setup.model))
    assert not changed(*found)


def plain(folder: Path) -> Any:
    return make_setup(make("bert", problem_type="single_label_classification"), "bert", folder)
