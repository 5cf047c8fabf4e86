"""Flags: how they are read and checked, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe_arguments import read, wrong

from hf_transfer.problems import Problems

pytestmark = pytest.mark.usefixtures("empty_folder")


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


def test_data_arguments_are_those_of_load() -> None:
    from inspect import signature

    from hf_transfer.data import load

    takes = set(signature(load).parameters) - {"task", "dataset", "default"}
    Path("a.csv").write_text("text,label\n")
    assert set(read("--train_file a.csv").data()) == takes
