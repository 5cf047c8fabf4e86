"""Training arguments that cannot be honoured: refused before anything is written, never silently passed over."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_transfer.evaluation.classification import LOWER_IS_BETTER
from hf_transfer.flags.yields import no_training
from hf_transfer.problems import Problem, Problems, nearest

MEASURED = {
    "single_label_classification": (
        *("accuracy", "f1_macro", "f1_weighted", "matthews_correlation", "roc_auc", "top5_accuracy"),
    ),
    "multi_label_classification": ("accuracy", "f1_micro", "f1_macro", "map"),
    "regression": ("pearsonr", "spearmanr", "mse"),
    "language_modeling": ("perplexity",),
}


def check_arguments(args: Any, problem_type: str) -> None:
    """Stop where an argument would do nothing, or would stop the run after hours.

    Raises:
        Problems: all of them.
    """
    wrong = no_training(vars(args))
    if args.device.type == "cpu":
        leave = "leave it out, or run where there is a GPU"
        for name, mend in (("fp16", "--bf16 and --use_cpu work on a CPU"), ("fsdp", leave)):
            if getattr(args, name):
                wrong.append(Problem(f"--{name}", "has no effect on a CPU", mend))
    without = {
        "regression": "this is regression",
        "language_modeling": "texts for a language model have none",
    }
    if args.label_smoothing_factor and problem_type in without:
        what = f"is for labels, and {without[problem_type]}"
        wrong.append(Problem("--label_smoothing_factor", what, "leave it out"))
    if not 0 <= args.label_smoothing_factor < 1:
        what = f"found {args.label_smoothing_factor:g}, expected 0 or more, below 1"
        wrong.append(Problem("--label_smoothing_factor", what, "0.1 is usual"))
    for name, value in (
        ("batch_eval_metrics", True),
        ("eval_do_concat_batches", False),
        ("prediction_loss_only", True),
    ):
        if getattr(args, name) is value:
            what = f"{str(value).lower()} would leave evaluation without metrics: they are computed over all rows"
            wrong.append(Problem(f"--{name}", what, "leave it out"))
    if wrong:
        raise Problems(*wrong)


def choose_best(
    args: Any, problem_type: str, headline: str, patience: int | None, extra: Sequence[Any] | None
) -> None:
    """Set the metric by which the best model is chosen, where none was named, and check one that was.

    Raises:
        Problems: evaluation gives no such metric.
    """
    named = args.metric_for_best_model
    if named in (None, "loss"):  # transformers' own default
        if args.load_best_model_at_end or args.save_strategy == "best" or patience:
            args.metric_for_best_model = f"eval_{headline}"
            args.greater_is_better = headline not in LOWER_IS_BETTER
        return
    known = (*MEASURED[problem_type], "loss")
    if not extra and named.removeprefix("eval_") not in known:
        what = f"evaluation gives no {named!r}{nearest(named.removeprefix('eval_'), known)}"
        raise Problems(Problem("--metric_for_best_model", what, f"choose {', '.join(known)}"))


def check_metrics(extra: Sequence[Any] | None, problem_type: str, labels: int) -> None:
    """Load further metrics now (they are kept in memory), and not at the first evaluation.

    Raises:
        Problems: one that cannot be loaded.
    """
    from hf_transfer.evaluation.metrics import load_metric

    if extra and problem_type == "language_modeling":
        what = "are of labels and predictions, and a language model has none"
        raise Problems(Problem("--metrics", what, "leave them out: perplexity is measured"))
    several = "multilabel" if problem_type == "multi_label_classification" else None
    for metric in extra or ():
        if isinstance(metric, str):
            load_metric(metric, several or ("multiclass" if labels > 2 else None))


def check_optimizer(args: Any, model: Any) -> None:
    """Stop now where the optimizer's package is missing, or its options or the schedule's cannot be read.

    Raises:
        Problems: what transformers says about it.
    """
    from transformers import Trainer

    try:
        Trainer.get_optimizer_cls_and_kwargs(args, model)
    except (ImportError, ValueError, RuntimeError) as error:
        name = str(getattr(args.optim, "value", args.optim))
        said = " ".join(str(error).split())[:300]
        mend = "adamw_torch, sgd and adafactor need nothing more"
        raise Problems(Problem("--optim", f"{name} cannot be used: {said}", mend)) from error
    _check_schedule(args)


def _check_schedule(args: Any) -> None:
    import torch
    from transformers import get_scheduler

    name = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    given = args.lr_scheduler_kwargs
    some = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    try:
        get_scheduler(
            args.lr_scheduler_type,
            some,
            num_warmup_steps=args.get_warmup_steps(10),
            num_training_steps=10,
            scheduler_specific_kwargs=given,
        )
    except (TypeError, ValueError, AttributeError, KeyError, AssertionError) as error:
        what = f"{name} cannot be made with {given or 'no further arguments'}: {' '.join(str(error).split())}"
        mend = "see transformers.get_scheduler for what each takes; linear and cosine need nothing"
        raise Problems(
            Problem("--lr_scheduler_kwargs" if given else "--lr_scheduler_type", what, mend)
        ) from error


def check_disk(folder: Path, model: Any, args: Any, ema: bool = False, soup: int = 0) -> None:
    """Stop before training when the checkpoints to come would not fit.

    A checkpoint holds the weights and two moments of what learns; the newest, the best and one being written may
    stand side by side, beside the final model.

    Args:
        ema: each holds the averaged weights too; soup: so many weights more are kept until the end.

    Raises:
        Problems: with the bytes needed and free.
    """
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    moments = sum(2 * p.numel() * 4 for p in model.parameters() if p.requires_grad)
    kept = 0 if args.save_strategy == "no" else 2 + (args.save_total_limit or 3)
    each = weights * (2 if ema else 1) + moments
    needed, free = (2 + soup) * weights + kept * each, shutil.disk_usage(parent).free
    if needed > free:
        raise Problems(
            Problem(
                "--output_dir",
                f"{folder} has {free / 1e9:.2f} GB free, but model and checkpoints will need {needed / 1e9:.2f} GB",
                "free some space, choose another disk, or keep fewer checkpoints (--save_total_limit 1)",
            )
        )
