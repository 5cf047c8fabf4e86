"""`--compare_scratch`: the same model from random weights beside the result, which it leaves as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny

from hf_transfer import Problems, finetune
from hf_transfer.data import load
from hf_transfer.scratch import Scratch, scratch_warnings
from hf_transfer.tasks import find

TEXT = find("text-classification")
ARGS: dict[str, Any] = {
    "use_cpu": True, "report_to": "none", "disable_tqdm": True, "num_train_epochs": 2, "learning_rate": 1e-3,
    "per_device_train_batch_size": 8,
}  # fmt: skip


def run_of(model: Any, folder: Path, args: dict[str, Any] | None = None, **options: Any) -> Any:
    given = {"skip_reload_check": True, "probe": False, "seed": 3, "compare_scratch": True} | options
    args = ARGS | {"output_dir": str(folder)} | (args or {})
    return finetune(TEXT, model, tiny.rows(120), args=args, **given)


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that has learnt the task."""
    folder = tmp_path_factory.mktemp("knowing")
    args = ARGS | {"output_dir": str(folder / "run"), "num_train_epochs": 8, "learning_rate": 3e-3}
    finetune(
        TEXT,
        str(tiny.tiny_bert(folder)),
        tiny.rows(240),
        args=args,
        skip_reload_check=True,
        probe=False,
        seed=1,
    )
    return folder / "run"


def test_pretraining_is_worth_something_and_the_result_stays(knowing: Path, tmp_path: Path) -> None:
    """Were the weights read again from the checkpoint, scratch would be as good."""
    run = run_of(str(knowing), tmp_path / "a")
    without = run_of(str(knowing), tmp_path / "b", compare_scratch=False)
    assert run.metrics["test_accuracy"] > run.metrics["test_scratch_accuracy"] + 0.2
    assert "eval_scratch_f1_macro" in run.metrics and not any("scratch" in name for name in without.metrics)
    same = {name for name in without.metrics if not name.startswith("train_")}
    assert {name: run.metrics[name] for name in same} == {name: without.metrics[name] for name in same}
    assert run.metrics["train_loss"] == without.metrics["train_loss"]  # of the run alone
    assert not (tmp_path / "a" / "scratch").exists()
    facts = run.record["scratch"]
    assert facts["steps"] == 24 and facts["learning_rate"] == 1e-3 and not facts["diverged"]
    assert any("one more training" in note for note in run.record["plan_notes"])
    card = (tmp_path / "a" / "README.md").read_text()
    assert "| Scratch |" in card and "from random weights on the same rows for 24 steps" in card
    assert "what pretraining was worth" in (tmp_path / "a" / "report.html").read_text()
    assert "Scratch" not in (tmp_path / "b" / "README.md").read_text()


def test_interrupted_it_goes_on_and_ends_the_same(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at the end of the second training; the message names the run's folder, not the one inside."""
    args = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2, "eval_strategy": "no",
            "load_best_model_at_end": False}  # fmt: skip
    whole = run_of(str(base), tmp_path / "whole", args)

    class Killed(BaseException): ...

    from hf_transfer.training.train import averaged_end

    calls: list[Path] = []

    def fail(setup: Any, *rest: Any) -> Any:
        calls.append(setup.folder)
        if len(calls) == 2:
            raise Killed
        return averaged_end(setup, *rest)

    with monkeypatch.context() as patched:
        patched.setattr("hf_transfer.training.train.averaged_end", fail)
        with pytest.raises(Killed) as caught:
            run_of(str(base), tmp_path / "run", args)
    assert calls == [tmp_path / "run", tmp_path / "run" / "scratch"]
    assert "scratch" not in caught.value.safe  # type: ignore[attr-defined]
    assert (tmp_path / "run" / "scratch" / "checkpoint-6").is_dir()
    again = run_of(str(base), tmp_path / "run", args | {"resume_from_checkpoint": True})
    kept = {name: value for name, value in whole.metrics.items() if not name.startswith("train_")}
    assert {name: again.metrics[name] for name in kept} == kept
    assert not (tmp_path / "run" / "scratch").exists()


def test_beside_what_is_not_trained_whole_everything_learns_at_the_usual_rate(
    base: Path, tmp_path: Path
) -> None:
    run = run_of(str(base), tmp_path / "run", strategy="knn", pooling="own")
    assert run.record["scratch"]["learning_rate"] == 5e-5 and run.record["scratch"]["steps"] == 24
    assert "test_scratch_accuracy" in run.metrics


def test_another_class_than_the_auto_class_makes_is_refused(base: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertForSequenceClassification

    class Mine(BertForSequenceClassification): ...

    model, tokenizer = Mine.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    with pytest.raises(Problems, match="Mine is not what AutoModelForSequenceClassification makes"):
        run_of(model, tmp_path / "run", processor=tokenizer)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("wrong", "said"), [(4, True), (1, False)])
def test_a_run_below_scratch_says_so_beyond_two_standard_errors(wrong: int, said: bool) -> None:
    rows = [{"text": f"text {i}", "label": ("a", "b")[i % 2]} for i in range(48)]
    data = load(TEXT, pd.DataFrame(rows), test_size=1 / 3)
    truths = np.asarray(data.splits["test"]["label"])
    right = np.eye(2)[truths]
    trained = right.copy()
    trained[:wrong] = trained[:wrong, ::-1]
    found = scratch_warnings(data, {"test": trained}, Scratch({"test": right}))
    assert bool(found) == said and (not said or "from random weights" in found[0]["what"])
    assert "diverged" in scratch_warnings(data, {"test": right}, Scratch({}, {"diverged": True}))[0]["what"]
