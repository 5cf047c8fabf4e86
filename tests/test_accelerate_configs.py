"""Every file of accelerate_configs/: it parses, it starts what it says as far as this machine can, or it is refused."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import architectures
import launching
import psutil
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from launching import CONFIGS, command, environment, flags, largest_difference, launch, material

from hf_transfer import Problems
from hf_transfer.anatomy import layer_groups
from hf_transfer.hardware import check_world
from hf_transfer.sharding import block_classes

FILES = sorted(path.name for path in CONFIGS.glob("*.yaml"))
IN_FP32 = ["--mixed_precision", "no", "--main_process_port", 0, "--"]
PRETENDED = Path(__file__).resolve().parent / "pretended_gpus.py"
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None,
    reason='needs deepspeed: pip install "hf-transfer-learning[deepspeed]"',
)
SHARDED = ["fsdp2.yaml", *(pytest.param(f"zero{stage}.yaml", marks=deepspeed) for stage in (2, 3))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return material(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def alone(made: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run in one process with cpu.yaml, sixteen rows a step."""
    out = tmp_path_factory.mktemp("alone") / "run"
    done = launch("cpu.yaml", *flags(*made, out, 16, skip_reload_check=True))
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def results(folder: Path) -> dict[str, float]:
    return json.loads((folder / "all_results.json").read_text())


def assert_same_run(found: Path, alone: Path, atol: float = 1e-5) -> None:
    """Weights, metrics and the losses on the way, of several processes as of one."""
    assert largest_difference(found, alone) < atol
    mine, theirs = results(found), results(alone)
    assert mine.keys() == theirs.keys()
    for key, value in theirs.items():
        if not key.endswith(("runtime", "per_second")):
            assert mine[key] == pytest.approx(value, abs=10 * atol), key
    logs = [
        [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        for folder in (found, alone)
    ]
    assert len(logs[0]) == len(logs[1])
    for key in ("loss", "eval_loss", "eval_accuracy"):
        values = [[line[key] for line in log if key in line] for log in logs]
        assert values[0] and values[0] == pytest.approx(values[1], abs=10 * atol), key
    assert json.loads((found / "run.json").read_text())["world_size"] == 2


# The files.


def test_these_files_are_there() -> None:
    assert [
        *("cpu.yaml", "fsdp2.yaml", "mps.yaml", "multi_cpu.yaml", "multi_gpu.yaml", "multi_node.yaml"),
        *("single_gpu.yaml", "zero2.yaml", "zero3.yaml"),
    ] == FILES


@pytest.mark.parametrize("name", FILES)
def test_a_file_parses_says_what_it_is_for_and_knows_no_model(name: str) -> None:
    config = load_config_from_file(str(CONFIGS / name))  # raises on unknown keys
    assert config.num_processes >= 1
    text = (CONFIGS / name).read_text()
    comment = [line for line in text.splitlines() if line.startswith("#")]
    assert any(f"accelerate launch --config_file accelerate_configs/{name}" in line for line in comment)
    assert "fsdp_transformer_layer_cls_to_wrap" not in config.fsdp_config
    assert config.deepspeed_config.get("zero3_init_flag", False) is False


# What runs here.


@no_gpu
def test_two_cpu_processes_give_what_one_gives(made: tuple[Path, Path], alone: Path, tmp_path: Path) -> None:
    words = flags(*made, tmp_path / "run", 8, skip_reload_check=True)
    done = launch("multi_cpu.yaml", "--main_process_port", 0, "--", *words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(tmp_path / "run", alone)
    assert done.stdout.count("Plan") == 1  # only the first process prints
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in alone.iterdir()}


@pytest.mark.full
@no_gpu
def test_fsdp2_gives_what_one_process_gives(made: tuple[Path, Path], alone: Path, tmp_path: Path) -> None:
    """The reload check inside the run proves the saved model; there is one whole file of weights, no pickle beside."""
    out = tmp_path / "run"
    done = launch("fsdp2.yaml", *IN_FP32, *flags(*made, out, 8, use_cpu=False), script=PRETENDED)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(out, alone)
    assert [path.name for path in out.glob("*.safetensors")] == ["model.safetensors"]
    assert not [path for path in out.iterdir() if path.suffix in (".bin", ".pt", ".pth")]


@pytest.mark.full
@no_gpu
@pytest.mark.parametrize("name", SHARDED)
@pytest.mark.parametrize("changes", [{"strategy": "two-phase"}, {"peft": "lora"}, {"layer_decay": 0.5}])
def test_shards_with_each_kind_of_strategy(
    changes: dict[str, Any], name: str, made: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    done = launch("cpu.yaml", *flags(*made, one, 16, **changes))
    assert done.returncode == 0, done.stderr[-3000:]
    words = flags(*made, two, 8, use_cpu=False, **changes)
    done = launch(name, *IN_FP32, *words, script=PRETENDED, env=environment(DS_ACCELERATOR="cpu"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(two, one)


@pytest.mark.full
@no_gpu
@pytest.mark.parametrize("name", SHARDED)
@pytest.mark.parametrize("changes", [{}, {"peft": "lora"}])
def test_shards_go_on_after_a_kill(
    changes: dict[str, Any], name: str, made: tuple[Path, Path], tmp_path: Path
) -> None:
    """Both processes are killed once a checkpoint is there; the resumed run is the uninterrupted one, to the bit."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    long = {"max_steps": 90, "save_steps": 30, "eval_steps": 30, "use_cpu": False} | changes
    # torch cannot load an optimizer's state where there is none, as SGD's without momentum.
    long |= {"optim": "adamw_torch", "learning_rate": 1e-3}
    env = environment(DS_ACCELERATOR="cpu")
    done = launch(name, *IN_FP32, *flags(*made, whole, 8, **long), script=PRETENDED, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    again = flags(*made, killed, 8, **long)
    with subprocess.Popen(command(name, *IN_FP32, *again, script=PRETENDED), env=env) as run:
        until = time.monotonic() + 300
        while not (killed / "checkpoint-30").exists() and run.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        started = psutil.Process(run.pid)
        for process in [*started.children(recursive=True), started]:  # each has a session of its own
            process.kill()
    assert not (killed / "phases.json").exists()  # it was in training
    resumed = [*again, "--resume_from_checkpoint", "true"]
    done = launch(name, *IN_FP32, *resumed, script=PRETENDED, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "The run goes on from" in " ".join(done.stdout.split())
    assert largest_difference(killed, whole) == 0
    assert_same_run(killed, whole, atol=1e-9)


@pytest.mark.full
@no_gpu
@deepspeed
@pytest.mark.parametrize(
    ("name", "precision", "atol"),
    [("zero2.yaml", "no", 1e-5), ("zero3.yaml", "no", 1e-5), ("zero3.yaml", "bf16", 2e-2)],
)
def test_zero_gives_what_one_process_gives(
    name: str, precision: str, atol: float, made: tuple[Path, Path], alone: Path, tmp_path: Path
) -> None:
    asked = {"bf16": True} if precision == "bf16" else {}  # or a configuration for GPUs is refused on a CPU
    words = flags(*made, tmp_path / "run", 8, use_cpu=False, **asked)
    done = launch(
        *(name, "--mixed_precision", precision, "--main_process_port", 0, "--", *words),
        script=PRETENDED,
        env=environment(DS_ACCELERATOR="cpu"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert largest_difference(tmp_path / "run", alone) < atol
    if precision == "no":
        assert_same_run(tmp_path / "run", alone)


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is not None, reason="deepspeed is installed")
def test_without_deepspeed_the_line_to_install_it_is_said(made: tuple[Path, Path], tmp_path: Path) -> None:
    done = launch("zero2.yaml", *flags(*made, tmp_path / "run", 8))
    assert done.returncode != 0 and "pip3 install deepspeed" in done.stderr
    assert not (tmp_path / "run").exists()


# FSDP2 knows the blocks of every model.


@pytest.mark.parametrize("name", architectures.NAMES)
def test_blocks_are_found_without_a_name_in_the_file(name: str) -> None:
    model = architectures.make(name)
    try:
        groups = layer_groups(model)
    except Problems:
        pytest.skip("a model without blocks is kept together as a whole")
    found = block_classes(model, groups)
    blocks = [module for module in model.modules() if type(module).__name__ in found]
    assert len(blocks) >= len([g for g in groups if g.name.startswith("block.")]) - 1
    inside = {id(p) for block in blocks for p in block.parameters()}
    head = {name for g in groups if g.name == "head" for name in g.parameters}
    assert not [n for n, p in model.named_parameters() if n in head and id(p) in inside]


def test_what_accelerate_would_take_for_blocks_breaks_it() -> None:
    """The fault that is mended: embeddings among them are sharded twice. When this fails the mend can go."""
    assert "BertEmbeddings" in architectures.make("bert")._no_split_modules


# What is refused, with the file that is right here.


def world(**changes: Any) -> Namespace:
    given: dict[str, Any] = {"world_size": 1, "n_gpu": 0, "bf16": False, "device": torch.device("cpu")}
    kind = Namespace(distributed_type="DistributedType.NO")
    return Namespace(**(given | {"distributed_state": kind} | changes))


@pytest.mark.parametrize(
    ("env", "args", "said", "file"),
    [
        ({"WORLD_SIZE": "2", "RANK": "0"}, {}, "2 processes were launched", "multi_cpu.yaml"),
        ({"MASTER_PORT": "29500"}, {}, "accelerate started one", "multi_cpu.yaml"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, {}, "is for GPUs (bf16)", "/cpu.yaml"),
        ({"ACCELERATE_USE_FSDP": "true"}, {}, "FSDP was asked for", "multi_cpu.yaml"),
        ({}, {"n_gpu": 2, "device": torch.device("cuda", 0)}, "for 2 GPUs", "multi_gpu.yaml"),
    ],
)
def test_a_world_that_is_not_what_was_launched(
    env: dict[str, str], args: dict[str, Any], said: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_PORT", "ACCELERATE_USE_FSDP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    check_world(world())
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Problems) as refused:
        check_world(world(**args))
    assert said in str(refused.value) and file in str(refused.value)


@no_gpu
@pytest.mark.full
@pytest.mark.parametrize(
    ("launcher", "said", "file"),
    [
        (["accelerate.commands.launch", "--quiet", "--cpu", "--num_processes", "2"], "started one", "multi_cpu.yaml"),
        (["accelerate.commands.launch", "--quiet", "--config_file", "single_gpu.yaml"], "for GPUs", "/cpu.yaml"),
        (["accelerate.commands.launch", "--quiet", "--config_file", "multi_gpu.yaml"], "for GPUs", "multi_cpu.yaml"),
        (["accelerate.commands.launch", "--quiet", "--config_file", "fsdp2.yaml"], "FSDP", "multi_cpu.yaml"),
    ],
)  # fmt: skip
def test_a_launch_for_another_machine_is_refused_once(
    launcher: list[str], said: str, file: str, made: tuple[Path, Path], tmp_path: Path
) -> None:
    call = [str(CONFIGS / word) if word.endswith(".yaml") else word for word in launcher]
    words = flags(*made, tmp_path / "run", 8)
    done = subprocess.run(
        [sys.executable, "-m", *call, str(launching.RECIPE), *words],
        capture_output=True,
        text=True,
        env=launching.environment(),
        timeout=600,
    )
    assert done.returncode != 0 and not (tmp_path / "run").exists()
    assert done.stderr.count("One thing has to be mended first") == 1
    assert said in done.stderr and file in done.stderr
