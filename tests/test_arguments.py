"""Flags: how they are read, checked, shown and turned into arguments for TrainingArguments."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hf_transfer.arguments import Arguments, parse
from hf_transfer.flags.help import HIDDEN, help_text
from hf_transfer.flags.print_config import config_text, written
from hf_transfer.problems import Problems
from hf_transfer.training_fields import fields_in, training_fields

ROOT = Path(__file__).resolve().parent.parent
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
    print(arguments.training(learning_rate=1e-3 if arguments.peft == "lora" else 2e-5, logging_steps=7))


if __name__ == "__main__":
    sys.exit(command(main))
'''
OTHER_VERSION = '''
from typing import Optional, Union
from .kinds import Speed


class TrainingArguments:
    """About.

    Parameters:
        rate (`float`, *optional*):
            How quick.
    """

    rate: Optional[float] = field(default=None)
    pace: Union[Speed, str] = field(default="slow")
    many: Optional[list[str]] = None
    rest: int = field(default=3, init=False)
'''
DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 3,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "load_best_model_at_end": True,
    "logging_steps": 10,
}


@dataclass
class RecipeArguments(Arguments):
    model_name_or_path: str | None = "some/encoder"
    early_stopping_patience: int | None = 3
    mixup: float = 0.0
    hide: ClassVar[tuple[str, ...]] = ("image_column",)
    recipe: ClassVar[str] = "sentiment"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(line: str) -> RecipeArguments:
    return parse(RecipeArguments, line.split())


def wrong(*words: str) -> str:
    with pytest.raises(Problems) as caught:
        parse(RecipeArguments, list(words))
    return str(caught.value)


def test_values_are_read_by_type() -> None:
    arguments = read(
        "--learning-rate=3e-5 --warmup_steps 100 --eval_steps 0.5 --bf16 --fp16 false --max_steps -1 "
        "--peft lora --lora_r 4 --metrics a b --report_to wandb trackio --save_total_limit none "
        '--lr_scheduler_kwargs {"num_cycles":2} '
        "--strategy two_phase --mixup 0.2 --resume_from_checkpoint --fsdp --label_names x"
    )
    given = {name: item.value for name, item in arguments.given.items()}
    assert given["learning_rate"] == 3e-5 and given["eval_steps"] == 0.5 and given["max_steps"] == -1
    assert type(given["warmup_steps"]) is int and given["warmup_steps"] == 100
    assert given["bf16"] is True and given["fp16"] is False and given["save_total_limit"] is None
    assert given["report_to"] == ["wandb", "trackio"] and given["label_names"] == ["x"]
    assert given["lr_scheduler_kwargs"] == {"num_cycles": 2}
    assert given["resume_from_checkpoint"] is True and given["fsdp"] is True
    assert (arguments.lora_r, arguments.metrics, arguments.strategy) == (4, ["a", "b"], "two-phase")
    assert arguments.mixup == 0.2 and arguments.model_name_or_path == "some/encoder"


def test_all_that_is_wrong_comes_at_once() -> None:
    line = "--learning_rte 1 --max_steps ten --peft lorra --num_train 3 --seed 1 --seed 2 --max_length"
    text = wrong(*line.split())
    assert "--learning_rte: is no flag (did you mean learning_rate?)" in text
    assert "--max_steps: found 'ten', expected a whole number" in text
    assert "did you mean lora?" in text
    assert "not abbreviated" in text and "--num_train_epochs" in text
    assert "--seed: is given twice" in text
    assert "--max_length: needs a value" in text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--evaluation_strategy epoch", "--eval_strategy"),
        ("--warmup_ratio 0.1", "--warmup_steps 0.06"),
        ("--no_cuda", "--use_cpu"),
        ("--group_by_length", "--train_sampling_strategy group_by_length"),
        ("--past_index 3", "leave it out"),
        ("--text_column_name x", "--text_column"),
        ("--hub_token hf_secret", "hf auth login"),
        ("--image_column x", "means nothing to this recipe"),
        ("-m x", "two dashes"),
        ("--train_file a.csv b.csv", "takes one value"),
        ("reviews.csv", "--train_file"),
        ("--learning_rate -1", "expected 0 or more"),
        ("--learning_rate nan", "expected a number"),
        ("--bf16 perhaps", "expected true or false"),
        ("--optim adamw_torchh", "did you mean adamw_torch?"),
        ("--lora_r 4", "add --peft lora"),
        ("--lr_scheduler_kwargs {1:2}", "character"),
        ("--parallelism_config x", "in Python"),
        ("--run_name=", "empty value"),
    ],
)
def test_what_a_wrong_flag_says(line: str, said: str) -> None:
    text = wrong(*line.split())
    assert said in text and "hf_secret" not in text


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


@pytest.mark.parametrize(
    ("line", "expected", "note"),
    [
        ("--max_steps 20", {"max_steps": 20, "num_train_epochs": None}, "num_train_epochs is not used"),
        ("--save_strategy steps", {"eval_strategy": "steps", "eval_steps": 500}, "eval_strategy is steps"),
        (
            "--save_steps 50",
            {"save_strategy": "steps", "eval_strategy": "steps", "eval_steps": 50},
            "--save_steps 50",
        ),
        ("--eval_strategy steps", {"save_strategy": "steps", "save_steps": 10}, "save_strategy is steps"),
        (
            "--eval_steps 30",
            {"eval_strategy": "steps", "save_strategy": "steps", "save_steps": 30},
            "--eval_steps 30",
        ),
        (
            "--eval_strategy no",
            {"load_best_model_at_end": False, "save_strategy": "epoch"},
            "early stopping is off",
        ),
        ("--do_eval false", {"load_best_model_at_end": False, "eval_strategy": "no"}, "eval_strategy is no"),
        (
            "--save_strategy no",
            {"load_best_model_at_end": False, "eval_strategy": "epoch"},
            "load_best_model_at_end",
        ),
        ("--eval_strategy epoch --save_strategy steps", {"load_best_model_at_end": False}, "saving by steps"),
        ("--save_strategy best", {"eval_strategy": "epoch", "load_best_model_at_end": True}, ""),
        ("--load_best_model_at_end false", {"eval_strategy": "epoch", "save_strategy": "epoch"}, ""),
        ("--hub_model_id me/x", {"hub_model_id": "me/x"}, "without --push_to_hub"),
    ],
)
def test_defaults_yield_to_flags(line: str, expected: dict[str, Any], note: str) -> None:
    arguments = read(line)
    values = arguments.training(**DEFAULTS)
    assert {name: values.get(name) for name in expected} == expected
    assert note in "\n".join(arguments.notes)


def test_early_stopping_yields_too() -> None:
    assert read("").early_stopping_patience == 3
    assert read("--save_strategy no").early_stopping_patience is None
    assert read("--early_stopping_patience 2").training(logging_steps=5)["eval_strategy"] == "steps"


@pytest.mark.parametrize(
    "line",
    [
        "--do_eval false --eval_strategy epoch",
        "--eval_strategy no --load_best_model_at_end",
        "--save_strategy no --early_stopping_patience 2",
        "--eval_strategy no --save_strategy best",
        "--load_best_model_at_end --eval_strategy epoch --save_strategy steps",
        "--load_best_model_at_end --eval_strategy steps --save_strategy steps --eval_steps 3 --save_steps 5",
        "--fp16 --bf16",
    ],
)
def test_contradictions_are_problems(line: str) -> None:
    assert "contradicts" in wrong(*line.split())


def test_output_dir_takes_the_next_free_number(tmp_path: Path) -> None:
    assert read("").training()["output_dir"] == "outputs/sentiment"
    for name in ("sentiment", "sentiment-2"):
        (tmp_path / "outputs" / name).mkdir(parents=True)
        (tmp_path / "outputs" / name / "run.json").touch()
    arguments = read("")
    assert arguments.training()["output_dir"] == "outputs/sentiment-3"
    assert "outputs/sentiment-3" in arguments.notes[-1]
    assert read("--resume_from_checkpoint true").training()["output_dir"] == "outputs/sentiment-2"
    assert read("--overwrite_output_dir").training()["output_dir"] == "outputs/sentiment"
    assert read("--output_dir here").training()["output_dir"] == "here"


def test_nothing_to_resume() -> None:
    with pytest.raises(Problems, match="there is no run"):
        read("--resume_from_checkpoint").training()
    with pytest.raises(Problems, match="did you mean learning_rate"):
        read("").training(learning_rat=1)


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


def test_every_field_is_a_flag_and_builds_training_arguments() -> None:
    from dataclasses import fields

    from transformers import TrainingArguments

    known = training_fields()
    assert list(known) == [item.name for item in fields(TrainingArguments) if item.init]
    # With all three stages at transformers' false nothing would be left to do, which is refused.
    left_out = ("hub_token", "debug", "output_dir", "use_cpu", "do_train")
    texts = {n: written(f.default).strip('"') for n, f in known.items() if n not in left_out}
    words = [f"--{name}={'none' if text == 'null' else text}" for name, text in texts.items()]
    values = parse(Arguments, words).training()
    for name, flag in known.items():
        if name not in left_out:
            assert values[name] == flag.default and type(values[name]) is type(flag.default), name
    stock = TrainingArguments(use_cpu=True).to_dict()
    built = TrainingArguments(**values | {"use_cpu": True}).to_dict()
    differ = {name for name in stock if stock[name] != built[name]}
    assert differ <= {"output_dir", "do_train"}


def test_fields_of_other_versions_are_read(tmp_path: Path) -> None:
    (tmp_path / "kinds.py").write_text(
        'class Speed(ExplicitEnum):\n    SLOW = "slow"\n    FAST = "fast"\n\nx = 1\n'
    )
    (tmp_path / "training_args.py").write_text(OTHER_VERSION)
    found = fields_in(tmp_path)
    assert set(found) == {"rate", "pace", "many"}
    assert found["rate"].help == "How quick."
    assert found["rate"].kind.types == {"none", "float"}
    assert found["pace"].kind.choices == ("slow", "fast")
    assert found["many"].kind.types == {"none", "list"}


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


def test_help_shows_defaults_of_the_recipe(tmp_path: Path) -> None:
    script = tmp_path / "sentiment.py"
    script.write_text(RECIPE)
    command = [sys.executable, "sentiment.py", "--help_all"]
    text = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}).stdout
    flat = " ".join(text.split())
    assert "Tell good from bad." in flat and "(default: some/encoder)" in flat
    assert "0.001 if arguments.peft == 'lora' else 2e-05" in flat
    assert "--adam_beta1 NUMBER" in flat and "--hub_token" not in flat


def test_help_names_every_flag_and_no_hidden_one() -> None:
    text = help_text(RecipeArguments, everything=True)
    missing = [name for name in training_fields() if f"--{name}" not in text and name not in HIDDEN]
    assert not missing and "--mixup NUMBER" in text and "--image_column" not in text
    _usage, *lines = help_text(
        RecipeArguments, everything=False, columns=80
    ).splitlines()  # it names the script's path
    assert max(map(len, lines)) <= 90


def test_data_arguments_are_those_of_load() -> None:
    from inspect import signature

    from hf_transfer.data import load

    takes = set(signature(load).parameters) - {"task", "dataset", "default"}
    assert set(read("--train_file a.csv").data()) == takes


def test_what_has_no_effect_on_a_push_is_said() -> None:
    from hf_transfer.flags.yields import of_the_push

    assert of_the_push({"hub_strategy": "end", "hub_model_id": "me/x"}, True) == []
    (said,) = of_the_push({"hub_strategy": "checkpoint", "hub_always_push": True}, True)
    assert said == "--hub_strategy and --hub_always_push have no effect: there is one upload, at the end"
    (said,) = of_the_push({"hub_private_repo": True}, False)
    assert said == "--hub_private_repo is given, but nothing is pushed without --push_to_hub"
    assert of_the_push({}, False) == []
