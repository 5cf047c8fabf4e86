"""What may differ when a run goes on, what is refused, and what an interrupted run says."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from architectures import make
from small_training import changed, make_setup, state
from transformers import Trainer, TrainerCallback, default_data_collator

from hf_transfer import Problems, finetune
from hf_transfer.again import goes_on
from hf_transfer.problems import Diverged
from hf_transfer.resuming import begun_with, check_resumed, keep_global_batch
from hf_transfer.run import MARKER, write_json
from hf_transfer.saved import complete, newest_checkpoint, placed
from hf_transfer.training import phase_trainer, shared_out, train

ROOT = Path(__file__).resolve().parent.parent
ARGS: dict[str, Any] = {"max_steps": 2, "save_strategy": "no", "eval_strategy": "no", "report_to": "none"}
ARGS |= {"load_best_model_at_end": False, "disable_tqdm": True, "do_eval": False, "do_predict": False}
STEPS = {"save_strategy": "steps", "save_steps": 1}


# Refused, or not.


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps, and two tiny models beside it."""
    folder = tmp_path_factory.mktemp("begun")
    tiny.save_tiny_bert(folder / "model")
    tiny.save_tiny_bert(folder / "other" / "model", seed=1)
    go_on(folder, {})
    return folder


def go_on(folder: Path, args: dict[str, Any], resume: bool = False, **changes: Any) -> Any:
    given = {"model": folder / "model", "rows": tiny.rows(40)} | changes
    model, rows = given.pop("model"), given.pop("rows")
    args = ARGS | {"output_dir": str(folder / "run"), "resume_from_checkpoint": resume} | args
    more = {"cpu_threads": 1, "skip_reload_check": True} | given
    return finetune("text-classification", model, rows, args=args, **more)


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


# Steps and phases.


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


# Whole and torn.


def test_every_cut_file_of_a_checkpoint_makes_it_torn(tmp_path: Path) -> None:
    train(make_setup(make("bert"), "bert", tmp_path, **STEPS, max_steps=1))
    whole = tmp_path / "checkpoint-1"
    names = sorted(path.name for path in whole.iterdir())
    assert {"files.json", "losses.json", "model.safetensors", "optimizer.pt", "rng_state.pth"} <= set(names)
    unread = {
        "training_args.bin",
        "files.json",
    }  # where a checkpoint has no list, as stock's: only what is read
    for listed, cut in ((True, names), (False, sorted(set(names) - unread))):
        for name in cut:
            for share in (0.0, 0.5, 0.99):
                torn = tmp_path / "torn"
                shutil.copytree(whole, torn)
                if not listed:
                    (torn / "files.json").unlink()
                assert complete(torn)
                os.truncate(torn / name, int((torn / name).stat().st_size * share))
                assert not complete(torn), (name, share, listed)
                shutil.rmtree(torn)
    assert complete(whole)
    (whole / "rng_state.pth").unlink()
    assert newest_checkpoint(tmp_path) is None


def test_a_model_is_moved_into_its_place_whole(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("before")
    with pytest.raises(OSError, match="full"), placed(tmp_path) as beside:
        (beside / "model.safetensors").write_text("half")
        raise OSError("full")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("model.safetensors", "before")]
    with placed(tmp_path) as beside:
        (beside / "model.safetensors").write_text("after")
        assert (tmp_path / "model.safetensors").read_text() == "before"
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("model.safetensors", "after")]


# Where stock does not go on exactly.


def learned(setup: Any, stock: bool, checkpoint: Path | None = None) -> Any:
    """The trainer of a setup after training, ours or stock's."""
    if stock:
        rows = setup.prepared.splits["train"]
        trainer: Any = Trainer(setup.model, setup.args, setup.collator, train_dataset=rows)
    else:
        trainer = phase_trainer(setup, 1)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return trainer


@pytest.mark.parametrize("stock", [False, True])
def test_a_run_cut_off_after_its_last_step_takes_no_further_one(stock: bool, tmp_path: Path) -> None:
    given = {**STEPS, "max_steps": 6, "n": 16}  # four steps an epoch
    setup = make_setup(make("bert"), "bert", tmp_path, **given)
    learned(setup, stock)
    again = make_setup(make("bert", seed=5), "bert", tmp_path, **given)
    trainer = learned(again, stock, tmp_path / "checkpoint-6")
    assert (trainer.state.global_step == 6) == (not stock)
    assert bool(changed(state(setup.model), state(again.model))) == stock


@pytest.mark.parametrize("stock", [False, True])
def test_random_collators_go_on_exactly(stock: bool, tmp_path: Path) -> None:
    def masked(rows: list[Any]) -> Any:
        batch = default_data_collator(rows)
        batch["input_ids"][torch.rand(batch["input_ids"].shape) < 0.3] = 1
        return batch

    whole, again = (
        make_setup(make("bert", seed=seed), "bert", tmp_path, **STEPS, max_steps=6, n=16) for seed in (0, 5)
    )
    whole.collator = again.collator = masked
    learned(whole, stock)
    learned(again, stock, tmp_path / "checkpoint-2")
    assert bool(changed(state(whole.model), state(again.model))) == stock


@pytest.mark.parametrize("stock", [False, True])
def test_a_loss_logged_after_resuming_counts_the_steps_before(stock: bool, tmp_path: Path) -> None:
    given = {**STEPS, "max_steps": 4, "logging_steps": 4}
    whole, again = (make_setup(make("bert", seed=seed), "bert", tmp_path, **given) for seed in (0, 5))
    first = learned(whole, stock)
    second = learned(again, stock, tmp_path / "checkpoint-3")
    logged = [[row["loss"] for row in t.state.log_history if "loss" in row] for t in (first, second)]
    assert (logged[0] == logged[1]) == (not stock)


def test_the_order_of_rows_reaches_later_epochs_where_batches_are_skipped(tmp_path: Path) -> None:
    """As one of two processes resumes in its second epoch; accelerate's loader tells the epoch to no sampler then."""
    from accelerate import skip_first_batches
    from accelerate.data_loader import BatchSamplerShard, DataLoaderShard
    from torch.utils.data import BatchSampler

    trainer = phase_trainer(make_setup(make("bert"), "bert", tmp_path, n=16), 1)
    trainer.get_train_dataloader()
    assert trainer._keys is not None
    shard = BatchSamplerShard(BatchSampler(trainer._keys, 4, False), num_processes=2, process_index=0)
    loader = skip_first_batches(DataLoaderShard(range(64), batch_sampler=shard), 1)
    loader.set_epoch(1)
    assert trainer._keys.epoch == 0  # when this fails the mend in `_run_epoch` can go


def test_the_best_checkpoint_is_found_where_the_run_was_moved_to(tmp_path: Path) -> None:
    given = STEPS | {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "load_best_model_at_end": True,
        "max_steps": 3,
    }
    given |= {"metric_for_best_model": "eval_loss", "greater_is_better": True, "learning_rate": 3e-3}
    setup = make_setup(make("bert"), "bert", tmp_path / "a", **given)
    trainer = phase_trainer(setup, 1)
    trainer.train()
    assert trainer.state.best_global_step < 3
    (tmp_path / "a").rename(tmp_path / "b")
    again = make_setup(make("bert", seed=5), "bert", tmp_path / "b", **given)
    learned(again, False, tmp_path / "b" / "checkpoint-3")
    assert not changed(state(setup.model), state(again.model))


# No number.


def poisoned(bad: int) -> Any:
    """An objective whose loss is no number where row `bad` (by its first token) is in the batch."""

    def objective(model: Any, inputs: Any) -> Any:
        outputs = model(**inputs)
        wrong = (inputs["input_ids"] == bad).any() if model.training else torch.tensor(False)
        return outputs["loss"] * (float("nan") if wrong else 1.0), outputs

    return objective


def test_a_loss_that_is_no_number_is_named_with_step_and_rows(tmp_path: Path) -> None:
    given = {"max_steps": 8, "logging_steps": 50, "n": 16, "per_device_train_batch_size": 2}
    given |= {"gradient_accumulation_steps": 2, "save_strategy": "steps", "save_steps": 2}
    setup = make_setup(make("bert"), "bert", tmp_path, **given)
    rows = setup.prepared.splits["train"].to_dict()
    rows["input_ids"] = [[3] * len(ids) for ids in rows["input_ids"]]
    rows["input_ids"][11][0] = 9
    setup.prepared.splits["train"] = type(setup.prepared.splits["train"]).from_dict(rows)
    order = list(phase_trainer(setup, 1)._get_train_sampler())
    place = order.index(11)
    step, pair = place // 4 + 1, order[place - place % 2 : place - place % 2 + 2]
    setup.objective = poisoned(9)
    with pytest.raises(Diverged, match=rf"\(nan\) at step {step} .*batch: {pair[0]}, {pair[1]}\.") as error:
        train(setup)
    assert "--learning_rate" in str(error.value)
    kept = newest_checkpoint(tmp_path)
    assert (kept.name if kept else None) == (f"checkpoint-{(step - 1) // 2 * 2}" if step > 2 else None)
    assert "same" not in error.value.safe or kept is None  # type: ignore[attr-defined]


def test_stock_hides_a_loss_that_is_no_number(tmp_path: Path) -> None:
    class Poison(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            torch.nn.init.constant_(next(model.parameters()), math.nan)

    setup = make_setup(make("bert"), "bert", tmp_path, max_steps=3)
    stock = Trainer(
        model=setup.model,
        args=setup.args,
        train_dataset=setup.prepared.splits["train"],
        data_collator=default_data_collator,
        callbacks=[Poison()],
    )
    stock.train()
    assert all(math.isfinite(row["loss"]) for row in stock.state.log_history if "loss" in row)


def test_a_learning_rate_out_of_bounds_ends_in_a_message(begun: Path, tmp_path: Path) -> None:
    for steps in (1, 4):  # diverged in evaluation after the only step, and in training
        args = {"output_dir": str(tmp_path / str(steps)), "learning_rate": 1e30, "max_steps": steps}
        with pytest.raises(Diverged, match="What to try: a lower --learning_rate"):
            go_on(begun, args | {"do_predict": True, "warmup_steps": 0})


# Signals and what is said.


@pytest.mark.parametrize(
    ("typed", "again"),
    [
        ("python r.py", "python r.py --output_dir 'my run' --resume_from_checkpoint true"),
        (
            "accelerate launch -n 2 r.py a.yaml --resume_from_checkpoint false --text_column 'a b'",
            "accelerate launch -n 2 r.py a.yaml --text_column 'a b' --output_dir 'my run' --resume_from_checkpoint true",
        ),
        (
            "python r.py --overwrite-output-dir --output-dir=o --resume-from-checkpoint=o/checkpoint-1 --bf16",
            "python r.py --output-dir=o --bf16 --resume_from_checkpoint true",
        ),
    ],
)
def test_the_command_that_goes_on(typed: str, again: str) -> None:
    assert goes_on(shlex.split(typed), "my run") == again


FLAGS = ["--per_device_train_batch_size", "4", "--num_train_epochs", "400", "--skip_reload_check", "true"]
FLAGS += ["--cpu_threads", "1", "--save_strategy", "steps", "--save_steps", "1000", "--eval_strategy", "no"]
FLAGS += ["--logging_steps", "1", "--output_dir", "run"]
PYTHON = [sys.executable]
ACCELERATE = [str(Path(sys.executable).parent / "accelerate"), "launch", "--cpu"]
TWO = [str(Path(sys.executable).parent / "torchrun"), "--nproc_per_node", "2", "--master_port", "0"]
LAUNCHED = [
    pytest.param(PYTHON, signal.SIGTERM, 143, id="python"),
    pytest.param(PYTHON, signal.SIGINT, 130, id="python, SIGINT", marks=pytest.mark.full),
    pytest.param(ACCELERATE, signal.SIGINT, None, id="accelerate launch", marks=pytest.mark.full),
    pytest.param(TWO, signal.SIGINT, None, id="two ranks, SIGINT", marks=pytest.mark.full),
    pytest.param(TWO, signal.SIGTERM, None, id="two ranks, SIGTERM", marks=pytest.mark.full),
]


def launched(command: list[str], folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # What a shell starts in the background ignores Ctrl-C, and so would all that it starts.
    streams["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **streams)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(("launcher", "number", "code"), LAUNCHED)
def test_a_signal_saves_and_tells_the_command_that_goes_on(
    launcher: list[str], number: int, code: int | None, tmp_path: Path
) -> None:
    """The command that is printed is run, with fewer steps to go, and finishes."""
    base = tiny.tiny_bert(tmp_path)
    rows = tmp_path / "my rows.json"
    rows.write_text(json.dumps(tiny.rows(40)))
    recipe = str(ROOT / "recipes" / "sentiment.py")
    flags = [recipe, "--model_name_or_path", str(base), "--dataset_name", str(rows), *FLAGS]
    run = launched([*launcher, *flags], tmp_path)
    until = time.monotonic() + 300
    while "%|" not in _read(tmp_path, run) and time.monotonic() < until:
        time.sleep(0.2)
    os.killpg(run.pid, number)
    out, said = run.communicate(timeout=200)
    assert run.returncode == code if code is not None else run.returncode != 0, said[-3000:]
    assert "Interrupted." in said and "Safe on disk: run/checkpoint-" in said, said[-3000:]
    if launcher is PYTHON:
        assert "Traceback" not in said
    (again,) = [line.strip() for line in said.splitlines() if line.endswith("--resume_from_checkpoint true")]
    words = shlex.split(again)
    assert words[-2:] == ["--resume_from_checkpoint", "true"] and words[-2 - len(flags) : -2] == flags
    assert words[0] == Path(launcher[0]).name and words[1 : len(launcher)] == launcher[1:]
    checkpoint = newest_checkpoint(tmp_path / "run")
    assert checkpoint is not None and f"run/{checkpoint.name}" in said


def _read(folder: Path, run: subprocess.Popen[str]) -> str:
    """Whether training has begun: nothing is written before, and the bar is on stderr, which is read at the end."""
    assert run.poll() is None, run.communicate()[1][-3000:]
    return "%|" if (folder / "run" / MARKER).is_file() and time.sleep(3) is None else ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_preparation_ends_quickly(number: int, tmp_path: Path) -> None:
    script = "import sys, time, hf_transfer\n"
    script += "def main():\n    print('on', flush=True)\n    time.sleep(60)\n"
    script += "sys.exit(hf_transfer.command(main))"
    run = launched([sys.executable, "-c", script], tmp_path)
    assert run.stdout is not None and run.stdout.readline() == "on\n"
    os.kill(run.pid, number)
    _, said = run.communicate(timeout=20)
    assert (run.returncode, said) == (128 + number, "Interrupted.\n") and not list(tmp_path.iterdir())


# A full disk.

FULL = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from architectures import make
from small_training import make_setup
from hf_transfer import command
from hf_transfer.training import train
import torch
torch.set_num_threads(1)
folder = Path(sys.argv[1])
def main():
    model = make("bert")
    size = sum(p.numel() for p in model.parameters()) * 4
    setup = make_setup(model, "bert", folder, save_strategy="steps", save_steps=1, max_steps=9)
    room = int(size * 3 * 2.5)  # two checkpoints and a half
    import shutil
    free = shutil.disk_usage(folder).free
    (folder / "of_others").write_bytes(bytes(free - room))
    train(setup)
sys.exit(command(main))
"""


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    script = tmp_path / "full.py"
    script.write_text(FULL.format(tests=str(ROOT / "tests")))
    mounted = f"mount -t tmpfs -o size=64m none {folder} && {sys.executable} {script} {folder}; code=$?; "
    mounted += f"ls {folder} > {tmp_path}/listed; exit $code"
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("needs a user namespace, to mount a small disk")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounted], capture_output=True, text=True, env=environment
    )
    listed = (tmp_path / "listed").read_text().split()
    assert done.returncode == 1, done.stderr[-2000:]
    assert "The disk is full" in done.stderr and "Traceback" not in done.stderr, done.stderr[-2000:]
    kept = [name for name in listed if name.startswith("checkpoint-")]
    assert kept == ["checkpoint-1", "checkpoint-2"] and "checkpoint.partial" not in listed
    assert f"Safe on disk: {folder}/checkpoint-2" in done.stderr
