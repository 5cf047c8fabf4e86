"""What a run was begun with: a resumed one must learn the same from the same, or it is another run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.adapters import adapter_of
from hf_transfer.problems import Problem, Problems
from hf_transfer.run_folder import MARKER, RUN, read_json
from hf_transfer.strategies.peft_methods import name_of

if TYPE_CHECKING:
    from hf_transfer.training.setup import Setup

# Training arguments that do not change what is learned; whatever is not named here does, newer arguments too.
HARMLESS = frozenset(
    {
        *("output_dir", "do_train", "do_eval", "do_predict", "resume_from_checkpoint", "run_name", "project"),
        *("report_to", "logging_dir", "logging_strategy", "logging_steps", "logging_first_step"),
        *("logging_nan_inf_filter", "log_level", "log_level_replica", "log_on_each_node", "disable_tqdm"),
        *("include_num_input_tokens_seen", "include_for_metrics", "skip_memory_metrics", "eval_on_start"),
        *("per_device_eval_batch_size", "eval_accumulation_steps", "eval_delay", "torch_empty_cache_steps"),
        *("save_total_limit", "save_on_each_node", "enable_jit_checkpoint", "save_only_model"),
        *("restore_callback_states_from_checkpoint", "ignore_data_skip", "remove_unused_columns"),
        *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"),
        *("dataloader_prefetch_factor", "dataloader_multiprocessing_context", "dataloader_in_order"),
        *("push_to_hub", "local_rank", "ddp_backend", "ddp_timeout", "ddp_find_unused_parameters"),
        *("ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_static_graph", "use_cpu", "deepspeed", "fsdp"),
        *("fsdp_config", "parallelism_config", "accelerator_config", "debug", "length_column_name"),
        # their product is compared
        *("per_device_train_batch_size", "gradient_accumulation_steps", "auto_find_batch_size"),
    }
)
HARMLESS_STARTS = ("hub_", "push_", "trackio_", "_", "torch_compile_", "activation_checkpointing")
SAVING = ("save_strategy", "save_steps")  # matter only where the best model is chosen among what was saved
LORA = {"r": "lora_r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}
LORA |= {"target_modules": "lora_target_modules", "use_rslora": "use_rslora", "use_dora": "use_dora"}
LORA |= {"num_virtual_tokens": "num_virtual_tokens", "reduction_factor": "adapter_reduction_factor"}
PLACES = ("base_model_name_or_path", "revision", "inference_mode", "task_type", "auto_mapping")
SAME = "give what it was begun with, or choose another --output_dir, or --overwrite_output_dir to start again"
LONGER = (
    "the schedule would have been another from its first step on; to train longer begin a new run from this one's "
    "model (--model_name_or_path)"
)
ROWS, WEIGHTS, BATCH, PROCESSES = "data", "weights", "rows a step", "processes"


def settings(setup: Setup, fingerprint: str, base: dict[str, Any]) -> dict[str, Any]:
    """All that decides what is learned, by flags where there are any; JSON without paths of this machine."""
    args, phases = setup.args, setup.phases
    found: dict[str, Any] = {
        ROWS: fingerprint,
        "--model_name_or_path": Path(str(base["name"])).name,
        WEIGHTS: base.get("weights"),
        "--max_length": setup.prepared.facts.get("max_length"),
        "--strategy": " + ".join(phase.name for phase in phases),
        "--layer_decay": _one([phase.layer_decay for phase in phases]),
        "--head_learning_rate": _one([phase.head_learning_rate for phase in phases]),
        "--loraplus_lr_ratio": _one([phase.loraplus_lr_ratio for phase in phases]),
        "phases": [[p.learns, p.share, p.epochs, p.learning_rate, p.only, p.solve, p.pairs] for p in phases],
        "--early_stopping_patience": setup.early_stopping_patience,
        "objective": getattr(setup.objective, "__qualname__", type(setup.objective).__name__),
        **{f"--{name}": value for name, value in setup.regularization.on().items()},
        BATCH: global_batch(args),
        PROCESSES: args.world_size,
    }
    found |= {} if setup.pooling == "own" else {"--pooling": setup.pooling}
    found |= {f"--{name}": value for name, value in setup.shift.on().items()}
    found |= {"--target_file": setup.target.fingerprint} if setup.target else {}
    facts = setup.prepared.facts
    found |= {"--mlm_probability": facts["mlm_probability"]} if "mlm_probability" in facts else {}
    return json.loads(json.dumps(found | _peft(setup.model) | _arguments(args), default=_plain))


def global_batch(args: Any) -> int:
    """Rows of one optimizer step over all processes."""
    return int(args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size)


def _arguments(args: Any) -> dict[str, Any]:
    kept = () if args.load_best_model_at_end or args.save_strategy == "best" else SAVING
    return {
        f"--{name}": value
        for name, value in args.to_dict().items()
        if name not in HARMLESS and name not in kept and not name.startswith(HARMLESS_STARTS)
    }


def _peft(model: Any) -> dict[str, Any]:
    config = adapter_of(model)
    if config is None:
        return {"--peft": "none"}
    told = {name: value for name, value in config.to_dict().items() if name not in PLACES}
    told.pop("peft_type", "")
    named = {f"--{LORA[k]}" if k in LORA else f"peft {k}": v for k, v in told.items()}
    return {"--peft": name_of(config)} | named


def _one(values: list[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else values


def _plain(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)


def begun_with(folder: Path) -> dict[str, Any]:
    """The `settings` that the run in `folder` was begun with; empty where it does not say."""
    for name in (MARKER, RUN):
        if (folder / name).is_file():
            return dict(read_json(folder / name).get("begun") or {})
    return {}


def check_resumed(folder: Path, now: dict[str, Any]) -> list[str]:
    """Stop where the run in `folder` was begun with anything else that changes what is learned.

    Returns:
        Sentences for the plan about what differs and may.

    Raises:
        Problems: one for each difference: what it was, what it is.
    """
    then = begun_with(folder)
    names = [n for n in {**then, **now} if then and n != PROCESSES and then.get(n) != now.get(n)]
    if "--strategy" in names and "phases" in names:
        names.remove("phases")
    if "--peft" in names:
        names = [
            n for n in names if not n.startswith(("peft ", "--lora_", "--use_", "--adapter_", "--num_v"))
        ]
    if "--model_name_or_path" in names and WEIGHTS in names:
        names.remove(WEIGHTS)
    elif "--model_name_or_path" in names and then.get(WEIGHTS):
        names.remove("--model_name_or_path")  # the same weights in another place
    if names:
        raise Problems(*(_difference(folder, name, then.get(name), now.get(name)) for name in names))
    if then and then.get(PROCESSES) != now[PROCESSES]:
        return [
            f"The run was begun on {then.get(PROCESSES)} process(es) and goes on on {now[PROCESSES]}: the same rows in "
            "the same steps, but not the same to the last bit (dropout and the order of sums differ)."
        ]
    return []


def _difference(folder: Path, name: str, then: Any, now: Any) -> Problem:
    if name == ROWS:
        return Problem("data", f"{folder} was begun with other rows", SAME)
    if name == WEIGHTS:
        return Problem("model", f"{folder} was begun with other pretrained weights of this name", SAME)
    if name == BATCH:
        what = f"{folder} was begun with {then} rows a step, and this would be {now}"
        return Problem("--per_device_train_batch_size, --gradient_accumulation_steps", what, SAME)
    longer = name in ("--num_train_epochs", "--max_steps")
    what = f"{folder} was begun with {_shown(then)}, and this is {_shown(now)}"
    return Problem(name, what, f"{LONGER}; or {SAME}" if longer else SAME)


def _shown(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) < 80 else text[:77] + "..."


def keep_global_batch(args: Any, folder: Path) -> list[str]:
    """On another number of processes, share the rows of a step out anew: `args` is changed.

    Returns:
        A sentence for the plan, if anything was changed.

    Raises:
        Problems: the rows of a step cannot be shared out evenly.
    """
    then = begun_with(folder)
    batch, world = then.get(BATCH), args.world_size
    if not batch or then.get(PROCESSES) == world or batch == global_batch(args):
        return []
    if batch % world:
        what = f"{folder} was begun with {batch} rows a step, which {world} processes cannot share evenly"
        mend = f"go on with a number of processes that divides {batch}, such as {then.get(PROCESSES)}"
        raise Problems(Problem("launch", what, mend))
    share, most = batch // world, args.per_device_train_batch_size
    rows = max(n for n in range(1, min(share, most) + 1) if share % n == 0)
    args.per_device_train_batch_size, args.gradient_accumulation_steps = rows, share // rows
    return [f"{batch} rows a step as before: {rows} x {share // rows} accumulated x {world} processes."]
