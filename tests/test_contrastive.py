"""Tuning by pairs of rows: the loss by hand, what learns, and a run that is better for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from architectures import make
from small_training import changed, make_setup, state

from hf_transfer import finetune
from hf_transfer.problems import Problems
from hf_transfer.solving import settle_solvers
from hf_transfer.strategies.contrastive import pair_loss
from hf_transfer.training.train import train

QUIET = {"use_cpu": True, "report_to": "none", "disable_tqdm": True}


def test_the_loss_is_the_mean_over_like_and_over_unlike_pairs() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    labels = torch.tensor([0, 0, 1])
    half = 0.5**0.5  # the cosine of the third row with each of the others
    like, unlike = (0 - 1) ** 2, half**2
    assert float(pair_loss(features, labels)) == pytest.approx((like + unlike) / 2)
    assert float(pair_loss(features * 10, labels)) == pytest.approx((like + unlike) / 2)


def test_a_batch_without_pairs_moves_nothing() -> None:
    features = torch.randn(1, 4, requires_grad=True)
    loss = pair_loss(features, torch.tensor([1]))
    loss.backward()
    assert float(loss) == 0 and features.grad is not None and not features.grad.any()


@pytest.mark.parametrize("name", ["bert", "llama", "resnet"])
def test_pairs_teach_the_backbone_and_the_head_is_solved_after(name: str, tmp_path: Path) -> None:
    model = make(name)
    model.config.problem_type = "single_label_classification"
    setup = make_setup(model, name, tmp_path, "contrastive", eval_strategy="steps", eval_steps=1, max_steps=3)
    settle_solvers(setup)
    before = state(model)
    first, second = train(setup)
    moved = changed(before, state(model))
    assert any(n.startswith(tuple(g.parameters)) for g in setup.groups[:-1] for n in moved)
    assert (first["steps"], second["steps"]) == (3, 0) and "solved" in second
    assert not [g["name"] for g in first["groups"] if g["name"] == "head" and g["learns"]]


def test_a_run_learns_from_few_rows(tmp_path: Path) -> None:
    run = finetune(
        "text-classification", tiny.tiny_bert(tmp_path), tiny.rows(160), strategy="contrastive", seed=1,
        args=QUIET | {"output_dir": str(tmp_path / "run"), "learning_rate": 2e-3, "num_train_epochs": 20},
        skip_reload_check=True, pooling="own",
    )  # fmt: skip
    assert run.metrics["test_accuracy"] >= run.metrics["test_baseline_accuracy"] + 0.2


def test_it_needs_one_label_a_row(tmp_path: Path) -> None:
    with pytest.raises(Problems, match="--strategy contrastive: it needs one label a row"):
        finetune(
            "text-classification", tiny.tiny_bert(tmp_path), tiny.rows(60, "multi"), strategy="contrastive",
            args=QUIET | {"output_dir": str(tmp_path / "run")},
        )  # fmt: skip
