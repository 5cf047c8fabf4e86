"""The machine a run is on: cores, threads, processes, versions."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from hf_transfer.problems import Problem, Problems

PACKAGES = (
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "evaluate",
    "peft",
    "huggingface_hub",
    "timm",
    "numpy",
)


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_threads(asked: int | None = None) -> int:
    """Set torch's CPU threads and return their number.

    `accelerate launch` sets OMP_NUM_THREADS=1 when it has no config file, and training then runs on one core. Unless
    the user asked for a number, one process takes all cores and several on one machine share them.
    """
    import torch

    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ or local > 1
    by_user = "OMP_NUM_THREADS" in os.environ and not launched
    if asked or not by_user:
        torch.set_num_threads(asked or max(1, cores() // local))
    return torch.get_num_threads()


def half_precision_notes(args: Any) -> list[str]:
    """A sentence where bf16 would slow training down: processors without instructions for it emulate them.

    Measured, on a product of two small matrices: there are many processors, and no list of those that can.
    """
    if args.device.type != "cpu" or not args.bf16:
        return []
    factor = bf16_seconds_per_fp32()
    if factor < 1.5:
        return []
    return [
        f"bf16 is about {factor:.0f} times slower than fp32 on this processor, which has no instructions for it: "
        "leave --bf16 out."
    ]


def bf16_seconds_per_fp32() -> float:
    """How many times as long as in fp32 a product of matrices takes in bf16 on this CPU."""
    import torch

    best = []
    for kind in (torch.bfloat16, torch.float32):
        a, b = (torch.ones(128, 256, dtype=kind), torch.ones(256, 256, dtype=kind))
        a @ b
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            a @ b
            seconds.append(time.perf_counter() - started)
        best.append(min(seconds))
    return best[0] / max(best[1], 1e-9)


def on_cpu() -> dict[str, bool]:
    """Training arguments for a machine without an accelerator; none where there is one.

    Without `use_cpu` bf16 is refused there, and several launched processes would each train alone.
    """
    import torch

    return {} if torch.accelerator.is_available() else {"use_cpu": True, "dataloader_pin_memory": False}


def free_memory() -> int:
    """Bytes of memory that this process may still take: what the machine has free, or a container's limit leaves."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    try:
        return min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no such limit: no file, or "max"
        return free


def check_world(args: Any) -> None:
    """Stop when the run is not in the world that was launched: it would train otherwise than asked, silently.

    Args:
        args: TrainingArguments.

    Raises:
        Problems: what was launched, what was found, and the file of `accelerate_configs` to launch with.
    """
    launched, cpu = int(os.environ.get("WORLD_SIZE", "1")), args.device.type == "cpu"
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ
    several = "multi_cpu.yaml" if cpu else "multi_gpu.yaml"
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    sharding = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    what, config = "", several
    if launched != args.world_size:
        what = f"{launched} processes were launched but this one trains in a world of {args.world_size}"
    elif by_accelerate and "MASTER_PORT" in os.environ and "RANK" not in os.environ:
        # accelerate sets the port for several processes, and starts one where the type is NO or MULTI_CPU
        what = "several processes were asked for but accelerate started one"
    elif args.n_gpu > 1:
        what = f"one process was started for {args.n_gpu} GPUs (CUDA_VISIBLE_DEVICES=0 takes one of them)"
    elif cpu and sharding and str(args.distributed_state.distributed_type).endswith(("NO", "MULTI_CPU")):
        what = "FSDP was asked for, but there is no GPU here, and on a CPU accelerate leaves the model whole"
    elif cpu and precision in ("fp16", "bf16") and not args.bf16:
        what = f"the configuration is for GPUs ({precision}), but there is none here"
        config = several if launched > 1 else "cpu.yaml"
    if what:
        raise Problems(Problem("launch", what, f"launch with --config_file accelerate_configs/{config}"))


def describe(device: Any, processes: int) -> dict[str, Any]:
    """Device, processor and threads for the record."""
    import torch

    if getattr(device, "type", str(device)) == "cuda":
        processor = torch.cuda.get_device_name(device)
    else:
        processor = _cpu_name()
    return {
        "device": str(device),
        "processor": processor,
        "threads": torch.get_num_threads(),
        "cores": cores(),
        "processes": processes,
    }


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those it stands on."""
    found = {"python": platform.python_version(), "hf_transfer": own_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def own_version() -> str:
    """Version of this distribution."""
    try:
        return metadata.version("hf-transfer-learning")
    except metadata.PackageNotFoundError:
        return "unknown"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
