"""docs/running.md and what it says about files: scripts' requirements, configurations, command lines."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import launching
import pytest
import yaml
from packaging.requirements import Requirement

from hf_transfer import Problems, shipped

ROOT = launching.ROOT
PAGE = (ROOT / "docs" / "running.md").read_text()
# The reference expression of PEP 723.
SCRIPT = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.py")), ids=lambda path: path.stem)
def test_a_recipe_carries_its_requirements(recipe: Path) -> None:
    (found,) = SCRIPT.finditer(recipe.read_text())
    lines = found["content"].splitlines(keepends=True)
    content = tomllib.loads("".join(line[2:] if line.startswith("# ") else line[1:] for line in lines))
    assert found["type"] == "script" and content["requires-python"] == PROJECT["requires-python"]
    (needed,) = map(Requirement, content["dependencies"])
    assert needed.name == PROJECT["name"] and needed.extras <= set(PROJECT["optional-dependencies"])


def test_the_page_names_every_file_and_no_other() -> None:
    named = set(re.findall(r"`(?:accelerate_configs/)?(\w+\.yaml)`", PAGE))
    named |= set(re.findall(r"accelerate_configs/(\w+\.yaml)", PAGE))
    assert named == {path.name for path in launching.CONFIGS.glob("*.yaml")}
    assert "docs/running.md" in (ROOT / "README.md").read_text()


def test_the_lines_of_the_page_are_those_of_the_launchers() -> None:
    """Every flag of a `torchrun` or `accelerate launch` line is one that the installed launcher has."""
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    known = {
        "torchrun": {word for action in get_args_parser()._actions for word in action.option_strings},
        "accelerate launch": {
            word for action in launch_command_parser()._actions for word in action.option_strings
        },
    }
    seen = 0
    for launcher, flags in known.items():
        for line in re.findall(
            rf"^(?:srun bash -c ')?{launcher} .*?\.py", PAGE, flags=re.MULTILINE | re.DOTALL
        ):
            given = {word.replace("-", "_") for word in re.findall(r"--(\w+)", line)}
            assert given <= {flag.lstrip("-").replace("-", "_") for flag in flags}, line
            seen += 1
    assert seen >= 6


def test_the_slurm_script_is_bash() -> None:
    (script,) = re.findall(r"```bash\n(#!/bin/bash.*?)```", PAGE, flags=re.DOTALL)
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_configurations_travel(tmp_path: Path) -> None:
    copied = shipped.copy_configs(str(tmp_path))
    assert {path.name: path.read_text() for path in copied.iterdir()} == {
        path.name: path.read_text() for path in launching.CONFIGS.iterdir()
    }
    assert all(yaml.safe_load(path.read_text()) for path in copied.iterdir())
    with pytest.raises(Problems, match="is there already"):
        shipped.copy_configs(str(tmp_path))
    assert shipped.copy_configs(str(tmp_path), force=True) == copied


@pytest.mark.full
def test_the_gpu_benchmark_runs_small(tmp_path: Path) -> None:
    out = tmp_path / "small.csv"
    words = ["--out", str(out), "--small", "--only", "single_gpu.yaml", "--steps", "3", "--batch", "4"]
    call = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *words, "--length", "16"]
    done = subprocess.run(call, capture_output=True, text=True, env=launching.environment())
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(out.open())
    assert row["case"] == "single_gpu.yaml" and float(row["tokens_per_second"]) > 0 and not row["reason"]
