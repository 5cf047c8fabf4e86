"""A config file under the flags, and the one that is printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_arguments import DEFAULTS, read, wrong

from hf_transfer.flags.print_config import config_text

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_flags_go_over_the_file(tmp_path: Path) -> None:
    Path("run.yaml").write_text(
        "learning-rate: 3e-5\nseed: 7\neval_strategy: no\nmetrics: [x, y]\nmax_length: 64\n"
    )
    arguments = read("run.yaml --seed 8")
    values = arguments.training(**DEFAULTS, seed=1, weight_decay=0.1)
    assert (values["learning_rate"], values["seed"], values["weight_decay"]) == (3e-5, 8, 0.1)
    assert values["eval_strategy"] == "no"  # YAML reads it as false
    assert (arguments.metrics, arguments.max_length, arguments.data()["seed"]) == (["x", "y"], 64, 8)
    assert arguments.given["learning_rate"].origin == "run.yaml" and arguments.given["seed"].origin == "flag"
    Path("run.json").write_text('{"seed": 7, "lr_scheduler_kwargs": {"a": 1}}')
    assert read("run.json").given["lr_scheduler_kwargs"].value == {"a": 1}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.yaml", "seed: 1\nlearning_rat: 2\n", "a.yaml, line 2: learning_rat"),
        ("a.yaml", "seed: 1\nseed: 2\n", "line 2: seed: is given twice"),
        ("a.yaml", "seed: [1\nb: 2\n", "line 2: is no YAML"),
        ("a.yaml", "- seed\n", "holds list"),
        ("a.yaml", "text_column: yes\n", "put the word in quotes"),
        ("a.yaml", "max_steps: 2.5\n", "found 2.5, expected a whole number"),
        ("a.json", '{"seed": 1,\n"b" 2}', "a.json, line 2: is no JSON"),
        ("a.json", '{"seed": 1, "seed": 2}', "is given twice"),
    ],
)
def test_a_wrong_config_file(name: str, content: str, said: str) -> None:
    Path(name).write_text(content)
    assert said in wrong(name)


def test_no_such_config_file() -> None:
    Path("right.yaml").write_text("seed: 1\n")
    assert "did you mean right.yaml?" in wrong("rigth.yaml")
    assert "one config file may come first" in wrong("right.yaml", "--seed", "1", "other.yaml")
    Path("latin.yaml").write_bytes(b"run_name: caf\xe9\n")
    assert "is not UTF-8" in wrong("latin.yaml")


def test_print_config_says_where_values_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.yaml").write_text("seed: 7\n")
    with pytest.raises(SystemExit) as stopped:
        read("run.yaml --learning_rate 1e-4 --eval_strategy no --print_config").training(**DEFAULTS)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    origins = {
        row[0]: " ".join(row[row.index("#") + 1 :]) for row in rows if "#" in row[1:] and row[0] != "#"
    }
    assert stopped.value.code == 0
    assert origins["seed:"] == "run.yaml" and origins["learning_rate:"] == "flag"
    assert origins["model_name_or_path:"] == "recipe" and origins["dataset_name:"] == "default"
    assert (
        origins["logging_steps:"] == "recipe"
        and origins["load_best_model_at_end:"] == "follows from a flag or the machine"
    )
    assert "# adam_beta1: " in " ".join(" ".join(row) for row in rows)


def test_printed_config_can_be_given_back() -> None:
    first = read(
        "--learning_rate 1e-4 --save_steps 40 --text_column no --peft lora --lora_target_modules query"
    )
    values = first.training(**DEFAULTS)
    Path("again.yaml").write_text(config_text(first, values, DEFAULTS))
    again = read("again.yaml")
    assert again.training() == values
    assert (again.text_column, again.peft, again.lora_target_modules) == ("no", "lora", ["query"])
