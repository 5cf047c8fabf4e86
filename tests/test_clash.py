"""PyPI's other package of this name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hf_transfer
from hf_transfer import clash
from hf_transfer.cli import main
from hf_transfer.problems import Problems


def install_other(site: Path) -> None:
    (site / "hf_transfer-0.1.9.dist-info").mkdir(parents=True)
    record = "Metadata-Version: 2.1\nName: hf_transfer\nVersion: 0.1.9\n"
    (site / "hf_transfer-0.1.9.dist-info" / "METADATA").write_text(record)


def test_no_clash_here() -> None:
    assert clash.clash() is None


def test_the_other_package_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_transfer import Arguments, parse

    install_other(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for start in (lambda: main(["--version"]), lambda: parse(Arguments, [])):
        start()
        said = capsys.readouterr().err
        assert said.startswith("warning: hf-transfer 0.1.9:") and "pip uninstall -y hf-transfer" in said
    monkeypatch.setenv("RANK", "1")
    main(["--version"])
    assert capsys.readouterr().err == ""


def test_being_overwritten_by_it_ends_with_what_to_do(tmp_path: Path) -> None:
    """Their `__init__` lies where ours was, as pip leaves it when theirs is installed last."""
    package = Path(hf_transfer.__file__).parent
    shutil.copytree(package, tmp_path / "hf_transfer", ignore=shutil.ignore_patterns("__pycache__", "*.csv"))
    (tmp_path / "hf_transfer" / "__init__.py").write_text("from .hf_transfer import *\n")
    (tmp_path / "hf_transfer" / "hf_transfer.py").write_text("def download(): ...\n")
    install_other(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "hf_transfer.cli", "recipes", "list"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert (
        "has overwritten" in done.stderr
        and "--force-reinstall" in done.stderr
        and "Traceback" not in done.stderr
    )


def test_clash_without_our_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    install_other(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    theirs = types.ModuleType("hf_transfer")
    theirs.__file__ = "site-packages/hf_transfer/__init__.py"
    with pytest.raises(Problems, match="has overwritten site-packages"):
        clash.clash(theirs)
