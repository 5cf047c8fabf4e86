"""`hft`: how it starts, what wrong arguments say, its recipes and reports."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from example_runs import write_run
from hft_commands import ending

from hf_transfer import shipped
from hf_transfer.problems import Problems


@pytest.mark.parametrize("words", [["--help"], ["predict", "--help"], ["recipes", "--help"], ["--version"]])
def test_help_is_quick_and_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from hf_transfer.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as done: assert not done.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'numpy', 'pyarrow', 'matplotlib', 'rich'}\n"
        "sys.exit(str(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "hft" in done.stdout or "hf-transfer-learning" in done.stdout
    assert time.perf_counter() - started < 2  # 0.1 s on a quiet machine


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pred", "x"], "'pred' (did you mean predict?)"),
        (["predict", "x", "--outpt", "y"], "--outpt: hft predict has no such flag (did you mean --output?)"),
        (["predict", "x", "y", "--batch_size", "0"], "--batch_size: '0', expected a whole number from 1 on"),
        (["predict"], "required: RUN_DIR"),
        (["merge", "a"], "required: OUT"),
        (["report", "a", "b"], "'b' is one word too many"),
        (["recipes", "show", "sentimnt"], "no recipe 'sentimnt' (did you mean sentiment?)"),
        (["recipes", "copy"], "copy needs the name of a recipe"),
        (["recipes", "lisst"], "invalid choice"),
    ],
)
def test_wrong_arguments(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ending(capsys, *words)
    assert code == 2 and said in err and out == ""


def test_report_writes_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    code, out, _ = ending(capsys, "report", run)
    assert code == 0 and str(run / "report.html") in out
    assert "<html" in (run / "report.html").read_text() and (run / "README.md").read_text().startswith("---")
    assert (run / "plots" / "confusion.png").stat().st_size > 1000
    (run / "report.html").write_text("old")
    assert ending(capsys, "report", run)[0] == 0 and (run / "report.html").read_text() != "old"


def test_report_needs_a_run_whose_record_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(capsys, "report", tmp_path)[0] == 2
    (tmp_path / "run.json").write_text('{"format": 1, "ta')
    code, _, err = ending(capsys, "report", tmp_path)
    assert code == 2 and "run.json" in err and "JSON" in err


def test_recipes_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ending(capsys, "recipes", "list")
    names = [line.split()[0] for line in out.splitlines()]
    assert code == 0 and names == sorted(path.stem for path in (ROOT / "recipes").glob("*.py"))
    assert all(len(line.split()) > 4 for line in out.splitlines())
    assert ending(capsys, "recipes", "show", "sentiment.py")[1] == (ROOT / "recipes/sentiment.py").read_text()


def test_a_recipe_is_copied_and_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    original = (ROOT / "recipes" / "sentiment.py").read_bytes()
    code, out, _ = ending(capsys, "recipes", "copy", "sentiment")
    assert code == 0 and (tmp_path / "sentiment.py").read_bytes() == original
    assert "accelerate launch sentiment.py" in out and "accelerate_configs" in out and "multi_gpu" in out
    (tmp_path / "sentiment.py").write_text("mine")
    code, _, err = ending(capsys, "recipes", "copy", "sentiment")
    assert code == 2 and "--force" in err and (tmp_path / "sentiment.py").read_text() == "mine"
    assert ending(capsys, "recipes", "copy", "sentiment", "--force")[0] == 0
    assert ending(capsys, "recipes", "copy", "image-classification", "new/")[0] == 0
    assert ending(capsys, "recipes", "copy", "sentiment", "deep/er/mine.py")[0] == 0
    assert (tmp_path / "sentiment.py").read_bytes() == original == (tmp_path / "deep/er/mine.py").read_bytes()
    assert (tmp_path / "new" / "image_classification.py").is_file()


def test_the_recipe_itself_is_safe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / "recipes")
    code, _, err = ending(capsys, "recipes", "copy", "sentiment", "--force")
    assert code == 2 and "the recipe itself" in err


def test_an_installed_package_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.py").write_text('"""Mine."""\n')
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path)
    assert list(shipped.recipes()) == ["mine"]
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "recipes" / "nowhere")
    with pytest.raises(Problems, match="reinstall"):
        shipped.shipped("accelerate_configs")
