"""Two hosts: network namespaces joined by a virtual cable, each with a launcher of its own and multi_node.yaml."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import launching
import pytest
import torch
from launching import flags, largest_difference, material
from test_accelerate_configs import assert_same_run

ADDRESSES = ("10.231.77.1", "10.231.77.2")
HOSTS = (f"hft{os.getpid()}a", f"hft{os.getpid()}b")
CABLE = "hft0"


def ip(*words: str, check: bool = True) -> bool:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if check and done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.returncode == 0


def kill(host: str) -> None:
    """SIGKILL to every process in the namespace: launchers give their workers sessions of their own."""
    found = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True).stdout.split()
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@pytest.fixture(scope="module")
def hosts() -> Iterator[None]:
    """The two namespaces, or a skip that says why there are none."""
    if torch.cuda.is_available():
        pytest.skip("two hosts of CPUs")
    if shutil.which("ip") is None:
        pytest.skip("needs ip (apt-get install iproute2)")
    try:
        for host in HOSTS:
            ip("netns", "add", host)
        ip("link", "add", CABLE, "netns", HOSTS[0], "type", "veth", "peer", "name", CABLE, "netns", HOSTS[1])
        for host, address in zip(HOSTS, ADDRESSES, strict=True):
            ip("-n", host, "address", "add", f"{address}/24", "dev", CABLE)
            ip("-n", host, "link", "set", CABLE, "up")
            ip("-n", host, "link", "set", "lo", "up")
    except OSError as error:
        for host in HOSTS:
            ip("netns", "delete", host, check=False)
        pytest.skip(f"network namespaces cannot be made here (root?): {error}")
    yield
    for host in HOSTS:
        ip("netns", "delete", host)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return material(tmp_path_factory.mktemp("made"))


@contextlib.contextmanager
def running(words: list[str], log: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """The same command on both hosts, each in a process group of its own."""
    started = []
    for rank, host in enumerate(HOSTS):
        launcher = ["--machine_rank", rank, "--main_process_ip", ADDRESSES[0], "--num_processes", 2]
        call = launching.command("multi_node.yaml", *launcher, "--mixed_precision", "no", "--", *words)
        with open(log.with_name(f"{log.name}.{rank}"), "w") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", host, *call],
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                env=launching.environment(GLOO_SOCKET_IFNAME=CABLE),
            )
        started.append(process)
    try:
        yield started
    finally:
        for host, process in zip(HOSTS, started, strict=True):
            kill(host)
            process.wait()


def run(words: list[str], log: Path) -> None:
    with running(words, log) as started:
        ends = [process.wait(timeout=600) for process in started]
    assert ends == [0, 0], log.with_name(f"{log.name}.0").read_text()[-3000:]


def test_two_hosts_give_what_one_process_gives(
    hosts: None, made: tuple[Path, Path], recipe: ModuleType, tmp_path: Path
) -> None:
    run(flags(*made, tmp_path / "run", 8, skip_reload_check=True), tmp_path / "log")
    recipe.main(flags(*made, tmp_path / "alone", 16, skip_reload_check=True))
    assert_same_run(tmp_path / "run", tmp_path / "alone")
    assert "Plan" in (tmp_path / "log.0").read_text() and "Plan" not in (tmp_path / "log.1").read_text()


@pytest.mark.full
@pytest.mark.parametrize("dies", [1, 0])
def test_a_host_that_dies_ends_the_other_and_the_run_goes_on(
    dies: int, hosts: None, made: tuple[Path, Path], tmp_path: Path
) -> None:
    """SIGKILL to everything on one host; the other says so and ends; resumed, the result is that of the whole run."""
    long = {"max_steps": 150, "save_steps": 10, "eval_steps": 10, "skip_reload_check": True}
    words = flags(*made, tmp_path / "run", 8, **long)
    with running(words, tmp_path / "log") as started:
        deadline = time.monotonic() + 600
        while not list((tmp_path / "run").glob("checkpoint-[2-9]0")):
            assert time.monotonic() < deadline and started[0].poll() is None
            time.sleep(0.05)
        kill(HOSTS[dies])
        killed = time.monotonic()
        assert started[1 - dies].wait(timeout=120) != 0
    took = time.monotonic() - killed
    said = (tmp_path / f"log.{1 - dies}").read_text()
    assert took < 60, said[-2000:]
    assert said.count("Another process of this run has ended") == 1, said[-3000:]
    assert "Safe on disk" in said and "--resume_from_checkpoint" in said
    run([*words, "--resume_from_checkpoint", "true"], tmp_path / "again")
    run(flags(*made, tmp_path / "whole", 8, **long), tmp_path / "uninterrupted")
    assert largest_difference(tmp_path / "run", tmp_path / "whole") == 0
