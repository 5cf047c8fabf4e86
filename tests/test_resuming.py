"""What may differ when a run goes on, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
from conftest import ROOT
from resumed_runs import STEPS, go_on

from hf_transfer import Problems
from hf_transfer.run_folder import MARKER, write_json
from hf_transfer.training.phase import shared_out
from hf_transfer.training.resuming import begun_with, check_resumed, keep_global_batch


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps, and two tiny models beside it."""
    folder = tmp_path_factory.mktemp("begun")
    tiny.save_tiny_bert(folder / "model")
    tiny.save_tiny_bert(folder / "other" / "model", seed=1)
    go_on(folder, {})
    return folder


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "learning rate": ({"learning_rate": 1e-3}, {}, "--learning_rate: .* begun with 5e-05, and this is 0.001"),
    "steps": ({"max_steps": 3}, {}, "--max_steps: .* begun with 2, and this is 3\n.*schedule"),
    "seed": ({"seed": 7}, {}, "--seed: .* begun with 42, and this is 7"),
    "batch": ({"per_device_train_batch_size": 16}, {}, "begun with 32 rows a step, and this would be 16"),
    "evaluation": ({"eval_strategy": "steps", "eval_steps": 1}, {}, "--eval_strategy"),
    "strategy": ({}, {"strategy": "feature-extraction"}, "--strategy: .* full, and this is feature-extraction"),
    "layer decay": ({}, {"layer_decay": 0.9}, "--layer_decay: .* begun with none, and this is 0.9"),
    "head rate": ({}, {"head_learning_rate": 0.1}, "--head_learning_rate: .* none, and this is 0.1"),
    "patience": ({}, {"early_stopping_patience": 1}, "--early_stopping_patience"),
    "length": ({}, {"max_length": 8}, "--max_length: .* and this is 8"),
    "rows": ({}, {"rows": tiny.rows(42)}, "data: .* begun with other rows"),
    "weights": ({}, {"model": Path("other/model")}, "model: .* other pretrained weights"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_changes_the_result_is_refused_by_name(name: str, begun: Path) -> None:
    args, changes, said = REFUSED[name]
    changes = {k: begun / v if k == "model" else v for k, v in changes.items()}
    before = (begun / "run" / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(Problems, match=said):
        go_on(begun, args, resume=True, **changes)
    assert (begun / "run" / "model.safetensors").stat().st_mtime_ns == before


def test_lora_is_refused_by_its_flags(begun: Path, tmp_path: Path) -> None:
    from peft import LoraConfig

    with pytest.raises(Problems, match="--peft: .* begun with none, and this is lora") as error:
        go_on(begun, {}, resume=True, peft_config=LoraConfig(r=2))
    assert "--lora_r" not in str(error.value)  # follows from the other
    shutil.copytree(begun / "model", tmp_path / "model")
    go_on(tmp_path, {}, peft_config=LoraConfig(r=2))
    with pytest.raises(Problems, match="--lora_r: .* begun with 2, and this is 4"):
        go_on(tmp_path, {}, resume=True, peft_config=LoraConfig(r=4))


def test_what_does_not_change_the_result_is_allowed(begun: Path) -> None:
    shutil.copytree(
        begun / "model", begun / "moved" / "model", dirs_exist_ok=True
    )  # the same in another place
    args = {"logging_steps": 1, "per_device_eval_batch_size": 7, "save_total_limit": 3, "log_level": "error"}
    args |= {"dataloader_num_workers": 1, "hub_private_repo": True, **STEPS}
    again = go_on(begun, args, resume=True, model=begun / "moved" / "model")
    assert again.record["global_step"] == 2


def test_the_record_of_what_it_was_begun_with_holds_no_path(begun: Path) -> None:
    told = begun_with(begun / "run")
    assert told["--learning_rate"] == 5e-5 and told["--max_steps"] == 2
    assert str(begun) not in json.dumps(told) and str(ROOT) not in json.dumps(told)


def on(world: int, rows: int, accumulated: int = 1) -> Any:
    return SimpleNamespace(
        world_size=world, per_device_train_batch_size=rows, gradient_accumulation_steps=accumulated
    )


@pytest.mark.parametrize(
    ("now", "shared"), [(on(1, 8), (8, 2)), (on(2, 8), None), (on(4, 8), (4, 1)), (on(2, 3), (2, 4))]
)
def test_other_ranks_keep_the_rows_of_a_step(now: Any, shared: Any, tmp_path: Path) -> None:
    write_json(
        tmp_path / MARKER, {"begun": {"rows a step": 16, "processes": 2 if now.world_size != 2 else 1}}
    )
    before = (now.per_device_train_batch_size, now.gradient_accumulation_steps)
    said = keep_global_batch(now, tmp_path)
    after = (now.per_device_train_batch_size, now.gradient_accumulation_steps)
    assert after == (shared or before) and bool(said) == bool(shared)
    assert after[0] * after[1] * now.world_size == 16


def test_ranks_that_cannot_share_the_rows_are_refused_with_the_numbers(tmp_path: Path) -> None:
    write_json(tmp_path / MARKER, {"begun": {"rows a step": 16, "processes": 2}})
    with pytest.raises(Problems, match="16 rows a step, which 3 processes cannot share evenly"):
        keep_global_batch(on(3, 8), tmp_path)


def test_other_ranks_are_said_not_to_be_exact(tmp_path: Path) -> None:
    write_json(tmp_path / MARKER, {"begun": {"rows a step": 16, "processes": 2}})
    (said,) = check_resumed(tmp_path, {"rows a step": 16, "processes": 1})
    assert "not the same to the last bit" in said


def test_steps_are_shared_out_to_the_last() -> None:
    for steps in range(3, 60):
        for shares in ([1.0, 1.0], [1.0, 2.0], [1.0, 1.0, 1.0], [0.3, 0.3, 0.4]):
            parts = shared_out(steps, shares)
            assert sum(parts) == steps
            assert all(abs(p - steps * s / sum(shares)) < 1 for p, s in zip(parts, shares, strict=True))
    with pytest.raises(Problems, match="--max_steps: 1 are too few for 2 phases"):
        shared_out(1, [1.0, 1.0])


def test_a_schedule_that_cannot_be_made_is_refused(begun: Path, tmp_path: Path) -> None:
    for args, said in (
        ({"lr_scheduler_kwargs": {"nonsense": 1}}, "--lr_scheduler_kwargs"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "--lr_scheduler_type"),
    ):
        with pytest.raises(Problems, match=said):
            go_on(begun, args | {"output_dir": str(tmp_path / "run")})
        assert not (tmp_path / "run").exists()
