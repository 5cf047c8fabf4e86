"""What the README and docs/results.md claim, measured again: minutes to an hour each, so only with `-m full`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT

pytestmark = pytest.mark.full


def trained(recipe: str, folder: Path, *flags: str | Path) -> dict[str, float]:
    """`all_results.json` of a recipe that was launched as a user would, on all cores."""
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--num_processes",
        "1",
        "--num_machines",
        "1",
    ]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--cpu", str(ROOT / "recipes" / recipe)]
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    words = [*map(str, flags), "--output_dir", str(folder)]
    subprocess.run([*launch, *words], check=True, cwd=ROOT, env=environment)
    return json.loads((folder / "all_results.json").read_text())


def fast() -> tuple[str, ...]:
    """bf16, where the processor has instructions for it."""
    from hf_transfer.hardware import bf16_seconds_per_fp32

    return ("--bf16", "true") if bf16_seconds_per_fp32() < 1 else ()


def split_files(folder: Path) -> tuple[str | Path, ...]:
    """Flags that name a data set's two files."""
    return ("--train_file", folder / "train.parquet", "--validation_file", folder / "validation.parquet")


def test_the_default_run(tmp_path: Path, shared_data: Path) -> None:
    from hf_transfer import Run

    found = trained("sentiment.py", tmp_path / "run")
    assert found["test_accuracy"] >= 0.82
    sst2 = pd.read_parquet(shared_data / "sst2" / "validation.parquet")
    answers = Run.open(tmp_path / "run").predict(sst2["sentence"].tolist())
    right = [
        answer["label"] == ("negative", "positive")[y]
        for answer, y in zip(answers, sst2["label"], strict=True)
    ]
    assert sum(right) / len(right) >= 0.75


def test_lora_on_the_default_data(tmp_path: Path) -> None:
    assert trained("sentiment.py", tmp_path / "run", "--peft", "lora")["test_accuracy"] >= 0.80


SST2 = ("--learning_rate", "1e-4", "--ema", "0.999", "--soup", "3")
SST2 += ("--eval_strategy", "steps", "--eval_steps", "421", "--save_steps", "421")  # five times an epoch


def test_sst2_whole(tmp_path: Path, shared_data: Path) -> None:
    """0.9025 where it was measured, in fp32; 0.900 is two rows less."""
    files = split_files(shared_data / "sst2")
    assert trained("sentiment.py", tmp_path / "run", *files, *SST2, *fast())["eval_accuracy"] >= 0.90


@pytest.mark.parametrize(
    ("labels", "flags", "least"),
    [("coarse_label", (), 0.92), ("fine_label", ("--num_train_epochs", "10"), 0.83)],
)
def test_trec(labels: str, flags: tuple[str, ...], least: float, tmp_path: Path, shared_data: Path) -> None:
    files = split_files(shared_data / "trec")
    more = ("--label_column", labels, *fast(), *flags)
    assert trained("sentiment.py", tmp_path / "run", *files, *more)["eval_accuracy"] >= least


def test_sts_b(tmp_path: Path, shared_data: Path) -> None:
    files = split_files(shared_data / "stsb")
    found = trained("sentiment.py", tmp_path / "run", *files, "--num_train_epochs", "5", *fast())
    assert found["eval_pearsonr"] >= 0.84


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_hymenoptera_by_feature_extraction(seed: int, tmp_path: Path, shared_data: Path) -> None:
    data, model = shared_data / "hymenoptera", shared_data / "models" / "mobilenetv2_100_timm"
    flags = (
        "--dataset_name",
        data,
        "--model_name_or_path",
        model,
        "--strategy",
        "feature-extraction",
        "--seed",
        str(seed),
    )
    assert trained("image_classification.py", tmp_path / "run", *flags)["eval_accuracy"] >= 0.94
