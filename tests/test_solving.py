"""Phases whose head is solved, through the whole run: exact, still below the head, resumed, and handed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from architectures import make
from small_training import changed, make_setup, random_rows, state

from hf_transfer import finetune
from hf_transfer.predict import scores
from hf_transfer.problems import Problems
from hf_transfer.solving import settle_solvers, solve
from hf_transfer.strategies.phases import Phase
from hf_transfer.strategies.regularization import Regularization
from hf_transfer.training.train import train

QUIET = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "num_train_epochs": 1}


def solved(name: str, folder: Path, strategy: Any = "feature-extraction", **options: Any) -> Any:
    model = make(name)
    model.config.problem_type = "single_label_classification"
    folder.mkdir(exist_ok=True)
    setup = make_setup(
        model, name, folder, strategy, eval_strategy="epoch", max_steps=-1, num_train_epochs=1, **options
    )
    assert settle_solvers(setup) == []
    return setup


@pytest.mark.parametrize("name", ["bert", "distilbert", "llama", "resnet", "timm-resnet18"])
def test_the_head_alone_changes_and_gives_what_was_solved(name: str, tmp_path: Path) -> None:
    setup = solved(name, tmp_path)
    before = state(setup.model)
    _, logits = solve(setup, setup.phases[0])
    head = {n for group in setup.groups if group.name == "head" for n in group.parameters}
    assert changed(before, state(setup.model)) <= head
    given = scores(setup.model, setup.prepared.splits["validation"].remove_columns("labels"), setup.collator)
    np.testing.assert_allclose(given, logits, rtol=1e-4, atol=1e-4)


def test_an_lp_ft_run_starts_from_the_probes_own_predictions(tmp_path: Path) -> None:
    setup = solved("bert", tmp_path, "lp-ft")
    probe, full = setup.phases
    _, logits = solve(setup, probe)
    from hf_transfer.training.phase import phase_trainer

    trainer = phase_trainer(setup, 2)
    first = trainer.predict(setup.prepared.splits["validation"]).predictions
    np.testing.assert_allclose(first, logits, rtol=1e-4, atol=1e-4)


def test_class_weights_reach_a_solved_head(tmp_path: Path) -> None:
    """Rows with three times as many of one label: balanced, the other one is given more often."""
    rows = [row for i, row in enumerate(tiny.rows(240)) if row["label"] == "positive" or i % 3 == 0]
    given = []
    for name, weights in (("plain", None), ("balanced", "auto")):
        run = finetune(
            "text-classification", str(tiny.tiny_bert(tmp_path / name)), rows,
            args={**QUIET, "output_dir": str(tmp_path / name / "run")}, strategy="feature-extraction", probe=False,
            regularization=Regularization(class_weights=weights), skip_reload_check=True,
        )  # fmt: skip
        scores_ = [
            answer["probabilities"]["negative"] for answer in run.predict([row["text"] for row in rows])
        ]
        given.append(np.mean(scores_))
    assert given[1] > given[0] + 0.1


def test_a_pooler_that_hides_what_the_backbone_knows_is_replaced(tmp_path: Path) -> None:
    """With the pooler's weights at zero its output is constant: as it stands no head could tell the classes."""
    setup = solved("bert", tmp_path)
    with torch.no_grad():
        setup.model.bert.pooler.dense.weight.zero_()
    facts, _ = solve(setup, setup.phases[0])
    assert "identity" in facts["view"]
    rows = setup.prepared.splits["train"]
    given = scores(setup.model, rows.remove_columns("labels"), setup.collator)
    assert len(np.unique(given.round(6), axis=0)) > 1


def test_a_model_without_a_readout_is_trained_and_says_so(tmp_path: Path) -> None:
    model = make("bert")
    model.config.problem_type = "single_label_classification"
    model.classifier.register_forward_hook(lambda module, args, output: output**2)
    setup = make_setup(model, "bert", tmp_path, "feature-extraction", max_steps=2)
    (note,) = settle_solvers(setup)
    assert "trained step by step" in note and setup.phases[0].solve is None
    ledger = train(setup)
    assert ledger[0]["steps"] == 2
    setup = make_setup(model, "bert", tmp_path / "other", "prototypes")
    with pytest.raises(Problems, match="not a linear function of features"):
        settle_solvers(setup)


@pytest.mark.parametrize("kind", tiny.KINDS)
@pytest.mark.parametrize("strategy", ["feature-extraction", "ridge", "lp-ft"])
def test_whole_runs_of_every_problem_type(kind: str, strategy: str, tmp_path: Path) -> None:
    run = finetune(
        "text-classification", tiny.tiny_bert(tmp_path), tiny.rows(120, kind), strategy=strategy,
        args=QUIET | {"output_dir": str(tmp_path / "run")}, skip_reload_check=kind != "single", seed=3,
        pooling="own",
    )  # fmt: skip
    assert run.metrics["train_loss"] > 0 and run.metrics["train_samples_per_second"] > 0
    first = json.loads((tmp_path / "run" / "phases.json").read_text())[0]
    assert first["solved"]["rows"] == 96 and first["steps"] == 0
    least_squares = kind == "regression" or strategy == "ridge"  # as the plan says, and the card
    solver = "ridge" if least_squares else "logistic"
    assert first["solve"] == first["solved"]["solver"] == solver
    assert f"({solver}" in (tmp_path / "run" / "README.md").read_text()
    constant = {"single": 0.69, "multi": 0.67, "regression": 1.0}[kind]  # loss of the best constant answer
    assert 0 < first["solved"]["train_loss"] < constant


def test_a_finished_solved_phase_is_not_solved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resumed in the second phase, a run ends as the uninterrupted one."""
    whole, broken = solved("bert", tmp_path / "whole", "lp-ft"), solved("bert", tmp_path / "broken", "lp-ft")
    train(whole)

    class Killed(BaseException): ...

    def fail(*args: Any, **kwargs: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("hf_transfer.training.train.phase_trainer", fail)
        with pytest.raises(Killed):
            train(broken)
    again = solved("bert", tmp_path / "broken", "lp-ft")
    with monkeypatch.context() as patched:
        patched.setattr("hf_transfer.solving.solve", fail)
        train(again, resume=True)
    assert not changed(state(whole.model), state(again.model))


def test_own_phases_may_solve_and_name_ranges(tmp_path: Path) -> None:
    """As YAML gives them."""
    own = [
        {"learns": "head", "solve": "ridge"},
        {"name": "top", "learns": "block.2 .. head", "layer_decay": 0.5},
    ]
    setup = solved("bert", tmp_path, own)
    assert setup.phases[0] == Phase("phase 1", ("head",), solve="ridge")
    assert setup.phases[1].learns[0] == "block.2" and setup.phases[1].learns[-1] == "head"
    assert [phase["steps"] for phase in train(setup)] == [0, 4]


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ({"learns": "block.9"}, "no layer group 'block.9'"),
        ({"learns": "head", "solve": "svm"}, "solve is 'svm'"),
        ({"learns": "all", "solve": "ridge"}, "only the head can be solved"),
        ({"learns": "all", "only": "bias"}, "only is 'bias'"),
        ({"learn": "all"}, "no field 'learn'"),
        ({"epochs": 1}, "does not say what learns"),
        ("head", "phase 1 is 'head'"),
    ],
)
def test_wrong_phases_are_named(phase: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(Problems, match=said):
        solved("bert", tmp_path, [phase])


def test_random_rows_are_not_what_is_tested() -> None:
    """The rows above differ: a constant input would let any head pass."""
    assert len(set(map(tuple, random_rows("bert", 8)["input_ids"]))) == 8
