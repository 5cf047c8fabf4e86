"""`--help` of a recipe: quick, and with the recipe's own defaults."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from recipe_arguments import RecipeArguments

from hf_transfer.flags.help import HIDDEN, help_text
from hf_transfer.training_fields import training_fields

pytestmark = pytest.mark.usefixtures("empty_folder")


RECIPE = '''"""Tell good from bad."""
import sys
from dataclasses import dataclass
from hf_transfer.arguments import Arguments, parse
from hf_transfer.exits import command


@dataclass
class SentimentArguments(Arguments):
    model_name_or_path: str = "some/encoder"


def main():
    arguments = parse(SentimentArguments)
    rate = 1e-3
    print(
        arguments.training(
            learning_rate=rate if arguments.peft == "lora" else 2e-5,  # 2e-5; LoRA 1e-3
            num_train_epochs=round(8000 / 400), weight_decay=-0.5,
        )
    )


if __name__ == "__main__":
    sys.exit(command(main))
'''


@pytest.mark.parametrize(
    "recipe", [None, *sorted(ROOT.glob("recipes/*.py"))], ids=lambda path: path and path.stem
)
def test_help_is_quick_and_imports_nothing_heavy(recipe: Path | None, tmp_path: Path) -> None:
    script = recipe or tmp_path / "sentiment.py"
    if recipe is None:
        script.write_text(RECIPE)
    probe = (
        "import sys, runpy; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", probe, script, "--help"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.strip().endswith("[]"), done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Seconds of the processor, not of the clock: the machine may be busy.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    assert "--learning_rate" in done.stdout and "--adam_beta1" not in done.stdout
    assert recipe is None or "by the size of the data" in " ".join(done.stdout.split())
    assert "round(" not in done.stdout and "arguments.peft" not in done.stdout


def test_help_shows_defaults_of_the_recipe(tmp_path: Path) -> None:
    script = tmp_path / "sentiment.py"
    script.write_text(RECIPE)
    command = [sys.executable, "sentiment.py", "--help_all"]
    text = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}).stdout
    flat = " ".join(text.split())
    assert "Tell good from bad." in flat and "(default: some/encoder)" in flat
    assert "(default: 2e-5; LoRA 1e-3)" in flat and "(default: -0.5)" in flat
    assert "in epochs. (default: set by the recipe)" in flat and "8000" not in flat
    assert "--adam_beta1 NUMBER" in flat and "--hub_token" not in flat


def test_help_names_every_flag_and_no_hidden_one() -> None:
    text = help_text(RecipeArguments, everything=True)
    missing = [name for name in training_fields() if f"--{name}" not in text and name not in HIDDEN]
    assert not missing and "--mixup NUMBER" in text and "--image_column" not in text
    _usage, *lines = help_text(
        RecipeArguments, everything=False, columns=80
    ).splitlines()  # it names the script's path
    assert max(map(len, lines)) <= 90
