"""Fixtures shared by the tests: no network, the shared data where it is."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # many small models: more threads only wait for each other

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Between files: what stays (imports above all) is looked at no more when a Trainer collects garbage, 0.4 s each."""
    if nextitem is None or nextitem.path != item.path:
        _keep()


def pytest_collection_finish(session: pytest.Session) -> None:
    _keep()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # what is still kept when the interpreter ends is reported as leaked by extension modules


def _keep() -> None:
    gc.collect()
    gc.freeze()


# What the pictures show is looked at in these files; elsewhere they are made, but not drawn: 0.3 s each.
DRAWN = (
    "test_card",
    "test_cli",
    "test_forgetting",
    "test_forgetting_report",
    "test_masked_runs",
    "test_report",
)


@pytest.fixture(scope="module", autouse=True)
def pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__ not in DRAWN:
            patch.setattr("hf_transfer.report.plots._save", _blank)
        yield


def _blank(figure: Any, path: Path) -> Path:
    from PIL import Image

    Image.new("L", (1, 1)).save(path)
    return path


@pytest.fixture(scope="module", autouse=True)
def reloads(request: pytest.FixtureRequest) -> Iterator[None]:
    """The check of a saved model runs in a fork of a process that is as fresh, but has imported transformers."""
    import prepared_process

    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__ != "test_reload":
            patch.setattr("hf_transfer.reload.in_fresh_process", prepared_process.run)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets and checkpoints, or a skip that says why."""
    folder = Path(os.environ.get("HF_TRANSFER_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared data sets: {folder} is not there (set HF_TRANSFER_DATA)")
    return folder.resolve()


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# One run of the recipe, which several files look at.


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT."""
    import tiny

    return tiny.tiny_bert(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A csv file of 80 rows."""
    import pandas as pd
    import tiny

    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    pd.DataFrame(tiny.rows(80)).to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def recipe() -> ModuleType:
    """The recipe for texts as a module."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("sentiment", ROOT / "recipes" / "sentiment.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sentiment"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def by_recipe(recipe: ModuleType, base: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The `Run` of the recipe on these."""
    from finetune_runs import ARGS

    folder = tmp_path_factory.mktemp("recipe") / "run"
    flags = [word for name, value in ARGS.items() for word in (f"--{name}", str(value).lower())]
    where = ["--model_name_or_path", str(base), "--dataset_name", str(table), "--output_dir", str(folder)]
    return recipe.main([*flags, *where, "--cpu_threads", "1", "--skip_reload_check", "true"])


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SPLIT/CLASS/ images, 24 and 8, in all modes: reddish and bluish ones."""
    from image_runs import noise

    root = tmp_path_factory.mktemp("images")
    for split, count in (("train", 12), ("validation", 4)):
        for tint, name in ((2, "blue"), (0, "red")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                mode = ("RGB", "RGBA", "P")[i % 3]
                noise(1000 * count + 100 * tint + i, mode, tint=tint).save(root / split / name / f"{i}.png")
    return root


# The stand-in for the Hub.


@pytest.fixture(scope="session")
def hub_server() -> Iterator[Any]:
    """A `Hub` that keeps what was pushed."""
    from hub_stand_in import stand_in

    with stand_in() as hub:
        yield hub


@pytest.fixture
def hub(hub_server: Any) -> Any:
    """A `Hub` without repositories, requests and faults."""
    hub_server.reset()
    hub_server.repos.clear()
    hub_server.lfs.clear()
    return hub_server


@pytest.fixture
def run_to_push(tmp_path: Path) -> Path:
    """`run`: a finished run, as far as a push reads it."""
    from pushed_runs import make_run

    return make_run(tmp_path / "run")


# Two processes.


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have left what they found, a folder for each of the modules; made once for all workers."""
    import subprocess

    from filelock import FileLock

    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder = root / "two_ranks"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            modules = ("two_processes", "regular_training", "shifted_training")
            command = [sys.executable, str(ROOT / "tests" / "two_ranks.py"), str(folder), *modules]
            done = subprocess.run(command, capture_output=True, text=True)
            (folder / "failed.txt").write_text(done.stderr[-3000:] if done.returncode else "")
    assert not (failed := (folder / "failed.txt").read_text()), failed
    return folder
