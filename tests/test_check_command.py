"""`hft check`: scripts of one's own, what is found in them, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from hft_commands import ending

HEAD = """\
import torch
from torch import nn

body = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
"""
MISTAKEN = (
    HEAD
    + """\
model = nn.Sequential(body, nn.Linear(8, 2))
model.requires_grad_(False)
model[1].requires_grad = True
criterion = nn.CrossEntropyLoss()
print("built")

def build():
    model[1].requires_grad_(True)
    return model, torch.optim.SGD(body.parameters(), lr=0.1)

if __name__ == "__main__":
    raise SystemExit("trained")
"""
)
CLEAN = (
    HEAD
    + """\
head = nn.Linear(8, 2)
optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.1)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
"""
)
TRAINER = """\
import sys
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

def main():
    sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    rows = [{"input_ids": [1, 2], "labels": i % 2} for i in range(4)]
    args = TrainingArguments("unused", use_cpu=True, report_to="none", gradient_accumulation_steps=2)
    trainer = Trainer(BertForSequenceClassification(BertConfig(**sizes)), args, train_dataset=rows)
    try:
        trainer.train()
    except Exception:
        print("held up")
    open("trained", "w").close()
"""


def write(folder: Path, text: str, name: str = "train.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_mistakes_are_listed_and_end_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ending(capsys, "check", write(tmp_path, MISTAKEN))
    assert code == 1 and out.startswith("model: 1 found\n- 1: requires_grad = True was set on the module")
    assert "\n    -> call 1.requires_grad_(True)" in out
    assert "built" in err and "1 mistake found in" in err  # what the script prints is no part of the list


def test_what_a_function_returns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model and its optimizer, which has what is frozen and not what learns."""
    code, out, _ = ending(capsys, "check", f"{write(tmp_path, MISTAKEN)}:build")
    assert code == 1 and out.startswith("model + build[1]: 1 found") and "1.weight, 1.bias" in out
    assert "are in no optimizer" in out


@pytest.mark.parametrize("name", ["", ":optimizer", ":head"])
def test_nothing_found_ends_with_0(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two models in one optimizer are one; either is checked with the other."""
    code, out, err = ending(capsys, "check", f"{write(tmp_path, CLEAN)}{name}")
    assert (code, out, err) == (0, "body + head + optimizer: nothing found\n", "")


@pytest.mark.parametrize("guarded", [True, False])
def test_a_trainer_is_checked_where_it_would_train(
    guarded: bool, empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the name of the function that trains, or, where nothing guards it, at import."""
    call = 'if __name__ == "__main__":\n    main()\n' if guarded else "main()\n"
    path = write(empty_folder, TRAINER + call)
    code, out, err = ending(capsys, "check", f"{path}:main" if guarded else path)
    assert code == 1 and "are 2 times too large (2 accumulation steps)" in out and "held up" not in err
    assert sorted(file.name for file in empty_folder.iterdir() if file.is_file()) == ["train.py"]


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (None, "", "no such file"),
        ("x = 1\n", "", "makes no Trainer, no model and no optimizer"),
        ("x = 1\n", ":modle", "has no 'modle'"),
        ("model = 1\n", ":modle", "has no 'modle' (did you mean model?)"),
        ("model = 1\n", ":model", "makes no Trainer, no model"),
        ("x = 1\nraise KeyError('lr')\n", "", "train.py, line 2, raises KeyError: 'lr'"),
        ("def build():\n    return 1 / 0\n", ":build", "train.py, line 2, raises ZeroDivisionError"),
        ("x = (\n", "", "line 1, raises SyntaxError"),
        ("import sys\nsys.exit(3)\n", "", "raises SystemExit: 3"),
        (
            "import argparse\np = argparse.ArgumentParser()\np.add_argument('x')\np.parse_args()\n",
            "",
            "SystemExit",
        ),
    ],
)
def test_wrong_arguments_end_with_2(
    text: str | None, name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.py" if text is None else write(tmp_path, text)
    code, out, err = ending(capsys, "check", f"{path}{name}")
    assert code == 2 and said in err and out == ""


def test_a_script_is_left_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It finds its neighbours, and nothing of it stays in this process."""
    from transformers import Trainer

    write(tmp_path, "WIDTH = 8\n", "neighbour_of_train.py")
    text = HEAD.replace("8", "WIDTH") + "import sys\nassert len(sys.argv) == 1\n"
    path = write(tmp_path, "from neighbour_of_train import WIDTH\n" + text)
    before = list(sys.path), list(sys.argv), Trainer.train
    assert ending(capsys, "check", path)[0] == 0
    assert before == (list(sys.path), list(sys.argv), Trainer.train) and "checked_script" not in sys.modules


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from hf_transfer.cli import main\n"
        "try: main(['check', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "SCRIPT.py[:NAME]" in done.stdout
