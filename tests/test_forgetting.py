"""Forgetting, watched on request: nothing where nothing moved, more where more did, and never a change in the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from finetune_runs import ARGS, FAST, same

from hf_transfer import Run, finetune
from hf_transfer.report.plots import write_plots

TEXT, DISTANCES = "text-classification", ("relative_distance", "weight_distance")
SHORT: dict[str, Any] = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "learning_rate": 1e-3}
SHORT |= {"num_train_epochs": 1, "optim": "adamw_torch", "do_predict": False}


def run_of(folder: Path, *, model: Path | str | None = None, **options: Any) -> Run:
    """A short run on 120 rows that is watched; `args` are on top of `SHORT`."""
    args = SHORT | {"output_dir": str(folder / "run")} | options.pop("args", {})
    given = FAST | {"probe": False, "watch_forgetting": True, "seed": 3} | options
    return finetune(TEXT, model or tiny.tiny_bert(folder), tiny.rows(120), args=args, **given)


def moved(run: Run, name: str = "relative_distance") -> dict[str, float]:
    return {row["group"]: row[name] for row in run.record["forgetting"]["groups"]}


def is_still(row: dict[str, Any]) -> bool:
    return row["cka"] == 1 and row["relative_distance"] == row["weight_distance"] == 0


def test_a_watched_run_is_the_same_run_and_says_more(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    watched = run_of(tmp_path / "a", args=ARGS)
    plain = run_of(tmp_path / "b", args=ARGS, watch_forgetting=False)
    assert same(watched, plain)
    found = watched.record["forgetting"]
    assert (found["split"], found["rows"], found["head"]) == ("validation", 12, None)
    assert list(moved(watched)) == ["embeddings", "block.1", "block.2"]
    assert all(row[name] > 0 for row in found["groups"] for name in DISTANCES)
    assert all(0 < row["cka"] < 1 for row in found["groups"])
    folder, other = Path(watched.output_dir), Path(plain.output_dir)
    assert "**Forgetting:** Compared with the checkpoint on 12" in (folder / "README.md").read_text()
    assert "Linear CKA of features" in (folder / "report.html").read_text()
    assert (folder / "plots/drift.png").is_file() and "drift" in write_plots(folder)
    assert "forgetting" not in plain.record and not (other / "plots/drift.png").exists()
    for name in ("README.md", "report.html"):
        assert "orgetting" not in (other / name).read_text()


def test_nothing_drifts_below_what_learns_nor_at_rate_zero(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    embeddings, first, second = run_of(tmp_path / "a", strategy="partial:1").record["forgetting"]["groups"]
    assert is_still(embeddings) and is_still(first) and not is_still(second)
    run = run_of(tmp_path / "b", args={"learning_rate": 0.0})
    assert all(is_still(row) for row in run.record["forgetting"]["groups"])
    assert "no feature moved" in (Path(run.output_dir) / "README.md").read_text()


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A checkpoint that knows the task, with its head."""
    args = {"learning_rate": 3e-3, "num_train_epochs": 6, "per_device_train_batch_size": 8}
    return run_of(tmp_path_factory.mktemp("knowing"), args=args, watch_forgetting=False)


def test_full_moves_features_more_than_a_head_that_was_solved_first(tmp_path: Path, knowing: Run) -> None:
    """Behind a head that fits, features that know the task are hardly pulled at (Kumar et al. 2022); SGD shows it."""
    knowing.model.bert.save_pretrained(str(tmp_path / "body"))
    knowing.processor.save_pretrained(str(tmp_path / "body"))
    top = {}
    for strategy in ("full", "lp-ft", "feature-extraction"):
        (tmp_path / strategy).mkdir()
        args = {"optim": "sgd", "learning_rate": 0.05}
        run = run_of(tmp_path / strategy, model=tmp_path / "body", strategy=strategy, args=args)
        top[strategy] = max(moved(run).values())
    assert top["full"] > 2 * top["lp-ft"] > top["feature-extraction"] == 0


def test_answers_of_a_head_of_its_own_are_compared(tmp_path: Path, knowing: Run) -> None:
    args = {"learning_rate": 0.0, "max_steps": 1, "output_dir": str(tmp_path / "x")}
    still = run_of(tmp_path, model=knowing.output_dir, args=args)
    assert still.record["forgetting"]["head"] == {"agreement": 1.0, "kl": 0.0}
    args |= {"learning_rate": 0.03, "max_steps": 3, "output_dir": str(tmp_path / "y")}
    head = run_of(tmp_path, model=knowing.output_dir, args=args).record["forgetting"]["head"]
    assert 0 <= head["agreement"] <= 1 and head["kl"] > 1e-3
    assert "the checkpoint's own head gave the same answer on" in (tmp_path / "y/README.md").read_text()


def test_a_resumed_run_is_compared_with_the_checkpoint_and_not_with_where_it_went_on(tmp_path: Path) -> None:
    """Both after a phase that was finished and from the middle of one."""
    from hf_transfer.run_folder import read_json, write_json

    whole = run_of(tmp_path, strategy="two-phase", args=ARGS | {"max_steps": 8})
    folder, wanted = Path(whole.output_dir), whole.record["forgetting"]
    write_json(
        folder / "run.started.json", {"begun": whole.record["begun"]}
    )  # as an interrupted run leaves it
    write_json(folder / "phases.json", read_json(folder / "phases.json")[:1])
    (folder / "run.json").unlink()
    again = ARGS | {"max_steps": 8, "resume_from_checkpoint": True}
    assert (
        run_of(tmp_path, model=tmp_path / "tiny_bert", strategy="two-phase", args=again).record["forgetting"]
        == wanted
    )


def test_weights_that_pissa_moves_into_its_adapter_have_not_moved(tmp_path: Path) -> None:
    run = run_of(tmp_path, peft_config="pissa", args={"learning_rate": 0.0, "max_steps": 1})
    assert all(distance < 1e-6 for distance in moved(run, "weight_distance").values())


@pytest.mark.parametrize(
    ("peft", "merges"), [("lora", True), ("houlsby", False), ("prompt", False), ("prefix", False)]
)
def test_adapters_are_compared_with_the_model_without_them(tmp_path: Path, peft: str, merges: bool) -> None:
    """Prompts and prefixes move even what goes into the blocks: the texts' positions come after them."""
    run = run_of(tmp_path, peft_config=peft)
    rows = {row["group"]: row for row in run.record["forgetting"]["groups"]}
    assert list(rows) == ["embeddings", "block.1", "block.2"]
    assert rows["block.2"]["relative_distance"] > 0 and rows["block.2"]["cka"] < 1
    assert all((row["weight_distance"] is not None) == merges for row in rows.values())
    assert (rows["embeddings"]["relative_distance"] == 0) == (peft in ("lora", "houlsby"))
    if merges:
        assert rows["embeddings"]["weight_distance"] == 0 < rows["block.1"]["weight_distance"] < 1
    said = "The weights of the checkpoint have not moved"
    assert (said in (Path(run.output_dir) / "report.html").read_text()) != merges


def test_the_plan_says_why_it_is_not_watched(tmp_path: Path) -> None:
    from hf_transfer.strategies.regularization import Regularization

    run = run_of(tmp_path, args=ARGS, regularization=Regularization(reinit_layers=1))
    assert "forgetting" not in run.record
    assert "Forgetting is not watched: blocks of the checkpoint are drawn anew." in run.record["plan_notes"]


def test_reading_draws_nothing(tmp_path: Path) -> None:
    import random

    import architectures
    import numpy as np
    from small_training import changed, make_setup, state

    from hf_transfer.forgetting import before

    setup = make_setup(architectures.make("vit"), "vit", tmp_path, eval_strategy="epoch")
    collate = setup.collator

    def drawing(rows: Any) -> Any:
        random.random(), np.random.random(), torch.rand(1)
        return collate(rows)

    setup.collator = drawing
    kept = state(setup.model)
    draws = []
    for watch in (True, False):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        if watch:
            found = before(setup, own_head=True)
            assert found.logits is not None and found.logits.shape == (8, 3)
        draws.append((random.random(), np.random.random(), torch.rand(1).item()))
    assert draws[0] == draws[1] and not changed(kept, state(setup.model))
