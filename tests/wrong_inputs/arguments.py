"""Flags that are none, values out of range, flags that contradict each other, config files."""

from __future__ import annotations

from collections.abc import Iterator

from .case import Case, Content
from .contents import table

REVIEWS: dict[str, Content] = {"a.csv": table()}


def on(code: int, *flags: str) -> Iterator[Case]:
    """A case for each, named by its flags, on sixty reviews."""
    for given in flags:
        name = given.replace("--", "") or "none"
        yield Case(name, f"--dataset_name a.csv {given}", REVIEWS, code)


def config(name: str, content: Content, more: str = "", file: str = "a.yaml", code: int = 2) -> Case:
    return Case(name, f"{file} {more}".rstrip(), {file: content}, code)


FLAGS = (
    Case("a flag cut short", "--learning_rat 1"),
    Case("a flag misspelt", "--lerning_rate=1"),
    Case("a flag with one dash", "-lr 1"),
    Case("a flag of older versions", "--warmup_ratio 0.1"),
    Case("a token", "--hub_token hf_x"),
    Case("a flag without a value", "--output_dir"),
    Case("an empty value", '--output_dir ""'),
    Case("a flag twice", "--seed 1 --seed 2"),
    Case("a word alone", "reviews.csv"),
    Case("two files for one flag", "--train_file a.csv b.csv", REVIEWS | {"b.csv": table()}),
    Case("a config file behind flags", "--seed 1 a.yaml", {"a.yaml": "seed: 1\n"}),
    Case("two config files", "a.yaml b.yaml", {"a.yaml": "seed: 1\n", "b.yaml": "seed: 2\n"}),
    Case("flag, strategy, value and file at once", "--lerning_rate 1 --strategy ful --seed x --dataset_name b.csv"),
    *on(2, "--learning_rate fast", "--per_device_train_batch_size 3.5", "--bf16 maybe", "--seed text"),
    *on(2, "--optim adamv", "--lr_scheduler_type linaer", "--metrics acuracy", "--metric_for_best_model f2"),
    *on(2, "--report_to wandbb", "--deepspeed ds.json", "--fp16 true"),
    *on(2, "--push_to_hub true", "--do_train false --do_eval false --do_predict false"),
)  # fmt: skip
NUMBERS = (
    *on(2, "--seed -1", "--seed 99999999999999999999"),
    *on(2, "--num_train_epochs 0", "--num_train_epochs -1", "--num_train_epochs inf"),
    *on(2, "--num_train_epochs 0 --text_column txet"),
    *on(2, "--max_steps 0"),
    *on(0, "--max_steps -5 --num_train_epochs 1"),
    *on(2, "--learning_rate -1", "--learning_rate nan", "--learning_rate inf"),
    *on(0, "--learning_rate 0"),
    *on(1, "--learning_rate 1e30 --max_steps 2"),
    *on(2, "--per_device_train_batch_size -4", "--per_device_train_batch_size 0"),
    *on(2, "--per_device_eval_batch_size 0", "--gradient_accumulation_steps 0"),
    *on(2, "--weight_decay -1", "--warmup_steps -1", "--logging_steps 0", "--save_total_limit 0"),
    *on(0, "--save_strategy steps --save_steps 0"),
    *on(2, "--max_train_samples 0"),
    *on(0, "--max_train_samples 1 --max_steps 2", "--max_eval_samples 1 --max_steps 2"),
    *on(2, "--validation_size 0", "--validation_size 0.5 --test_size 0.5", "--validation_size -1"),
    *on(2, "--validation_size 20", "--test_size 0.9"),
    *on(0, "--test_size 0.89", "--test_size 0"),
    *on(2, "--max_length 1", "--max_length 100000"),
    *on(0, "--max_length 2"),
    *on(2, "--layer_decay 5", "--cpu_threads 0", "--dataloader_num_workers -1", "--label_smoothing_factor 7"),
    *on(0, "--layer_decay 0"),
    *on(
        2, "--peft lora --lora_r 0", "--lora_r -2", "--peft lora --lora_r -2", "--peft lora --lora_dropout 2"
    ),
)
CONFLICTS = (
    *on(2, "--early_stopping_patience 2 --eval_strategy no"),
    *on(2, "--load_best_model_at_end true --save_strategy no"),
    *on(0, "--eval_strategy steps --eval_steps 3 --save_strategy steps --save_steps 2 --max_steps 6"),
    *on(
        2,
        "--lora_r 4",
        "--peft lora --strategy feature-extraction",
        "--peft lora --lora_target_modules nosuch",
    ),
    *on(2, "--do_train false --resume_from_checkpoint true"),
    *on(0, "--metrics f1 roc_auc"),
)
STRATEGIES = (
    *on(
        2,
        "--strategy feature_extracton",
        "--strategy partial",
        "--strategy partial:0",
        "--strategy partial:99",
    ),
    *on(2, "--strategy partial:x"),
)
CONFIGS = (
    config("config with an unknown key", "lerning_rate: 1\n"),
    config("config with tabs", "\tseed: 1\n"),
    config("config of a list", "- seed\n"),
    config("empty config, a wrong flag", "", "--seed x"),
    Case("no such config", "run.yaml"),
    config("config with a key twice", "seed: 1\nseed: 2\n"),
    config("config in latin-1", "text: caf\xe9\n".encode("latin-1")),
    config("config with a wrong value", "learning_rate: 1e-5\nseed: abc\n"),
    config("broken json config", "{seed: 1}", file="a.json"),
    Case("config that is a folder", "a.yaml", {"a.yaml/": ""}),
)
ARGUMENTS = (*FLAGS, *NUMBERS, *CONFLICTS, *STRATEGIES, *CONFIGS)
