"""Which defaults give way to what was asked for, and what was asked for that cannot be together.

`asked` is name -> value of what the user gave. Transformers refuses most of these combinations with an
error about values that the user never typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_transfer.flags.values import Flag
from hf_transfer.problems import Problem


def contradictions(asked: dict[str, Any]) -> list[Problem]:
    """Pairs of given flags of which one would undo the other."""
    pairs: list[tuple[str, str, str]] = []
    stages = ("do_train", "do_eval", "do_predict")
    if all(asked.get(name) is False for name in stages):
        pairs.append(("--do_train false", "--do_eval false --do_predict false", "nothing is left to do"))
    no_eval = _first(asked, *NO_EVALUATION)
    off = rules_out_best(asked)
    evaluates = _first(asked, ("eval_strategy", "epoch"), ("eval_strategy", "steps"))
    if asked.get("do_eval") is False and evaluates:
        pairs.append(("--do_eval false", evaluates, "leave one of them out"))
    if no_eval and asked.get("save_strategy") == "best":
        pairs.append((no_eval, "--save_strategy best", "the best one is found by evaluation: leave one out"))
    if off and asked.get("load_best_model_at_end") is True:
        pairs.append(
            (off, "--load_best_model_at_end", "the best one is found by evaluating and saving: leave one out")
        )
    if off and asked.get("early_stopping_patience") is not None:
        pairs.append(
            (off, "--early_stopping_patience", "stopping early needs evaluation and saving: leave one out")
        )
    if asked.get("load_best_model_at_end") is True and not off and not _together(asked):
        both = [f"--{name} {asked[name]}" for name in _STEPPED if name in asked]
        mend = "the best one can only be kept if saving happens where evaluation does: make them equal"
        pairs.append(("--load_best_model_at_end", " ".join(both), mend))
    if asked.get("do_train") is False and asked.get("resume_from_checkpoint") not in (None, False):
        mend = (
            "there is nothing to go on with; to measure a run again, give its folder as --model_name_or_path and "
            "another --output_dir"
        )
        pairs.append(("--do_train false", "--resume_from_checkpoint", mend))
    if asked.get("fp16") is True and asked.get("bf16") is True:
        pairs.append(("--fp16", "--bf16", "choose one"))
    return [Problem(one, f"contradicts {other}", mend) for one, other, mend in pairs]


def no_training(asked: Mapping[str, Any]) -> list[Problem]:
    """A length of zero, where training was not left out; `asked` may hold all arguments too."""
    lengths = {name: asked.get(name) for name in ("max_steps", "num_train_epochs")}
    if asked.get("do_train") is False or (lengths["max_steps"] or -1) > 0:
        return []
    mend = "give more, or --do_train false to measure the model as it is"
    zero = [name for name, length in lengths.items() if length is not None and length == 0]
    return [Problem(f"--{name}", "0 would train nothing", mend) for name in zero[:1]]


def rules_out_best(asked: dict[str, Any]) -> str:
    """The given flag that leaves nothing to choose a best model or an early stop by; or nothing."""
    return _first(asked, *NO_EVALUATION, ("save_strategy", "no"))


IN_BETWEEN = ("hub_strategy", "hub_always_push")  # of Trainer's own uploads during training
NO_EVALUATION = (("do_eval", False), ("eval_strategy", "no"))
_STEPPED = ("eval_strategy", "save_strategy", "eval_steps", "save_steps")


def _first(asked: dict[str, Any], *pairs: tuple[str, Any]) -> str:
    """The first of the (name, value) pairs that was asked for, as typed; or nothing."""
    return next((f"--{name} {value}".lower() for name, value in pairs if asked.get(name, "") == value), "")


def _together(asked: dict[str, Any]) -> bool:
    """Whether saving happens where evaluation does, as far as the user said."""
    evaluation, saving = asked.get("eval_strategy"), asked.get("save_strategy")
    if evaluation is None or saving is None or saving == "best":
        return True
    if evaluation != saving:
        return False
    steps = asked.get("eval_steps"), asked.get("save_steps")
    return evaluation != "steps" or None in steps or _multiple(steps[1], steps[0])


def _multiple(whole: Any, part: Any) -> bool:
    """Whether `whole` steps are a multiple of `part`; ratios (below 1) compare with ratios only."""
    if not part or (whole < 1) != (part < 1):
        return False
    return bool(abs(whole / part - round(whole / part)) < 1e-6)


def settle(values: dict[str, Any], asked: dict[str, Any], known: dict[str, Flag]) -> list[str]:
    """Change `values` (arguments of `TrainingArguments`) where a default gives way; one sentence for each."""
    notes: list[str] = []

    def value(name: str) -> Any:
        return values.get(name, known[name].default)

    def give_way(name: str, new: Any, because: str) -> None:
        if value(name) != new:
            values[name] = new
            notes.append(f"{because}: {name} is {str(new).lower() if isinstance(new, bool) else new}")

    if asked.get("max_steps", -1) > 0 and values.pop("num_train_epochs", None) is not None:
        notes.append(
            f"--max_steps {asked['max_steps']} is the length of the run: num_train_epochs is not used"
        )
    notes += of_the_push(asked, bool(value("push_to_hub")))
    best = str(asked.get("metric_for_best_model", "")).removeprefix("eval_")
    if best == "loss":
        values["metric_for_best_model"] = "eval_loss"  # plain "loss" is transformers' word for none chosen
    if best == "mse" and asked.get("greater_is_better") is None:
        values["greater_is_better"] = False
    for kind in ("logging", "save", "eval"):
        silent = asked.get("do_eval") is False and kind == "eval"
        if asked.get(f"{kind}_steps") and f"{kind}_strategy" not in asked and not silent:
            give_way(f"{kind}_strategy", "steps", f"--{kind}_steps {asked[f'{kind}_steps']}")
    if asked.get("do_eval") is False:
        give_way("eval_strategy", "no", "--do_eval false")
    elif asked.get("do_train") is False:
        give_way("eval_strategy", "no", "--do_train false")
    elif "eval_strategy" not in asked and value("eval_strategy") == "no":
        for name in ("load_best_model_at_end", "early_stopping_patience"):
            if asked.get(name):
                follows = value("save_strategy")
                give_way("eval_strategy", follows if follows in ("steps", "epoch") else "epoch", f"--{name}")
    _keep_together(value, give_way, asked)
    return notes


def of_the_push(asked: dict[str, Any], pushes: bool) -> list[str]:
    """What was asked about the Hub that has no effect."""
    if not pushes:
        names = ("hub_model_id", "hub_private_repo", "hub_adapter_only", "hub_include_report", *IN_BETWEEN)
        given = [f"--{name}" for name in names if asked.get(name)]
        are = "is given, but" if len(given) == 1 else "are given, but"
        return [f"{', '.join(given)} {are} nothing is pushed without --push_to_hub"] if given else []
    given = [f"--{name}" for name in IN_BETWEEN if asked.get(name) not in (None, False, "end")]
    have = "has" if len(given) == 1 else "have"
    return [f"{' and '.join(given)} {have} no effect: there is one upload, at the end"] if given else []


def _keep_together(value: Any, give_way: Any, asked: dict[str, Any]) -> None:
    """Saving and evaluation at the same moments, or no best model: what `load_best_model_at_end` needs."""
    evaluation, saving, best = value("eval_strategy"), value("save_strategy"), value("load_best_model_at_end")
    chose_eval = "eval_strategy" in asked or bool(asked.get("eval_steps"))
    chose_save = "save_strategy" in asked or bool(asked.get("save_steps"))
    if evaluation == "no":
        give_way("load_best_model_at_end", False, "no evaluation during training")
        if saving == "best":
            give_way("save_strategy", "epoch", "no evaluation during training")
    elif saving == "no":
        give_way("load_best_model_at_end", False, "--save_strategy no")
    elif chose_save and not chose_eval and saving != "best":
        give_way("eval_strategy", saving, f"--save_strategy {saving}")
        if saving == "steps":
            give_way("eval_steps", value("save_steps"), "evaluation goes with saving")
    elif best and saving not in ("best", evaluation):
        if chose_save and chose_eval:
            because = f"evaluation by {evaluation} and saving by {saving}"
            give_way("load_best_model_at_end", False, because)
        else:
            give_way("save_strategy", evaluation, f"--eval_strategy {evaluation}")
            if evaluation == "steps" and "save_steps" not in asked:  # the best one must have been saved
                give_way(
                    "save_steps", value("eval_steps") or value("logging_steps"), "saving goes with evaluation"
                )
    if value("load_best_model_at_end") and value("eval_strategy") == value("save_strategy") == "steps":
        _same_steps(value, give_way, asked)


def _same_steps(value: Any, give_way: Any, asked: dict[str, Any]) -> None:
    every = value("eval_steps") or value("logging_steps")  # as TrainingArguments does
    if _multiple(value("save_steps"), every):
        return
    if "save_steps" not in asked:
        give_way("save_steps", every, "saving goes with evaluation")
    elif "eval_steps" not in asked:
        give_way("eval_steps", value("save_steps"), "evaluation goes with saving")
    else:
        because = f"--save_steps {value('save_steps')} is no multiple of --eval_steps {every}"
        give_way("load_best_model_at_end", False, because)
