"""Finding the flag that a name means, and what to say about a name that means none."""

from __future__ import annotations

from hf_transfer.flags.values import Flag
from hf_transfer.problems import Problem, nearest

TOKEN = "use HF_TOKEN or `hf auth login`: a token among the arguments is written into saved files"
# Names from older versions of transformers, from its example scripts and from habit -> what to give instead.
ELSEWHERE = {
    "hub_token": TOKEN,
    "push_to_hub_token": TOKEN,
    "evaluation_strategy": "--eval_strategy",
    "warmup_ratio": "--warmup_steps 0.06 (below 1 it is a share of all steps)",
    "no_cuda": "--use_cpu",
    "use_mps_device": "leave it out: an Apple GPU is found by itself",
    "group_by_length": "--train_sampling_strategy group_by_length",
    "adafactor": "--optim adafactor",
    "logging_dir": "the environment variable TENSORBOARD_LOGGING_DIR",
    "save_safetensors": "leave it out: weights are always safetensors",
    "fp16_backend": "--fp16 or --bf16",
    "half_precision_backend": "--fp16 or --bf16",
    "fp16_opt_level": "--fp16 or --bf16",
    "per_gpu_train_batch_size": "--per_device_train_batch_size",
    "per_gpu_eval_batch_size": "--per_device_eval_batch_size",
    "push_to_hub_model_id": "--hub_model_id",
    "push_to_hub_organization": "--hub_model_id organization/name",
    "include_inputs_for_metrics": "--include_for_metrics inputs",
    "include_tokens_per_second": "--include_num_input_tokens_seen",
    "torchdynamo": "--torch_compile_backend",
    "sharded_ddp": "--fsdp",
    "xpu_backend": "--ddp_backend",
    "split_batches": """--accelerator_config '{"split_batches": true}'""",
    "dispatch_batches": """--accelerator_config '{"dispatch_batches": true}'""",
    "max_seq_length": "--max_length",
    "text_column_name": "--text_column",
    "text_column_names": "--text_column",
    "label_column_name": "--label_column",
    "image_column_name": "--image_column",
    "max_predict_samples": "--max_eval_samples",
    "metric_name": "--metrics",
    "model": "--model_name_or_path",
    "dataset": "--dataset_name",
    "lr": "--learning_rate",
    "epochs": "--num_train_epochs",
    "batch_size": "--per_device_train_batch_size",
}
GONE = ("ray_scope", "tpu_num_cores", "past_index", "jit_mode_eval", "mp_parameters", "use_ipex")


def find(typed: str, where: str, flags: dict[str, Flag], hidden: tuple[str, ...] = ()) -> Flag | Problem:
    """The flag called `typed` (`-` as `_`), or the problem with that name; `where` as the user wrote it."""
    name = typed.replace("-", "_")
    if name in ("hub_token", "push_to_hub_token"):
        return Problem(where, "is refused", TOKEN)
    if name in hidden:
        return Problem(
            where, "means nothing to this recipe", "leave it out, or take the recipe for that task"
        )
    if name in flags:
        return flags[name]
    if name in ELSEWHERE:
        return Problem(where, "is no flag (any more)", f"use {ELSEWHERE[name]}".replace("use leave", "leave"))
    if name in GONE:
        return Problem(where, "is no flag any more", "leave it out: transformers has removed it")
    shown = [flag for flag in flags if flag not in hidden and flag != "hub_token"]
    longer = [flag for flag in shown if name and flag.startswith(name)]
    if longer:
        names = ", ".join(f"--{flag}" for flag in longer[:4])
        return Problem(where, "is no flag: names are not abbreviated", f"write it whole: {names}")
    return Problem(
        where, f"is no flag{nearest(name, shown)}", "--help shows the flags, --help_all all of them"
    )
