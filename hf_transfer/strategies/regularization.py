"""What holds a small data set's fine-tuning back from overfitting, chosen by name; refused where it makes no sense.

Nothing heavy is imported: the functions behind the names are in `objectives`, `balance`, `mixing`, `dropout`, `reinit`,
`averaging` and `soups`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.balance import check_names

SINGLE, REGRESSION, LANGUAGE = "single_label_classification", "regression", "language_modeling"


@dataclass(frozen=True)
class Regularization:
    """What is on; the defaults are all off.

    Attributes:
        class_weights: `"auto"`, rows weigh in inverse proportion to how often their label is there; or weights by label.
        focal_gamma: gamma of the focal loss: rows that are right already weigh less.
        logit_adjustment: tau: training scores are shifted by tau log prior, so that rare labels need a larger margin.
        r_drop: alpha: two passes under different dropout shall agree.
        l2_sp: alpha: pretrained weights are pulled to where they started, in place of weight decay.
        l2_sp_new: beta: new weights are pulled to 0 (with `l2_sp`; default 0.01).
        mixup, cutmix: alpha: images mixed of two, blended or as a patch.
        mixout: probability with which an entry of a matrix is the pretrained one.
        reinit_layers: so many of the last blocks start anew.
        dropout: rate of all dropout in the model.
        weighted_sampling: rows are drawn so that all labels come equally often.
        ema: decay of the moving average of the weights, which is evaluated and saved.
        soup: average the best so many evaluations as long as validation gets better.
        wise_ft: alpha between where training started (0) and ended (1), or `"auto"`, chosen on validation.
    """

    class_weights: Literal["auto"] | Mapping[str, float] | None = None
    focal_gamma: float | None = None
    logit_adjustment: float | None = None
    r_drop: float | None = None
    l2_sp: float | None = None
    l2_sp_new: float | None = None
    mixup: float | None = None
    cutmix: float | None = None
    mixout: float | None = None
    reinit_layers: int | None = None
    dropout: float | None = None
    weighted_sampling: bool = False
    ema: float | None = None
    soup: int | None = None
    wise_ft: float | Literal["auto"] | None = None

    def on(self) -> dict[str, Any]:
        """What is not at its default, by name."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in found.items() if value is not None and value is not False}


def from_flags(flags: Any) -> Regularization:
    """From attributes of these names that hold what a command line can say: words for weights and for `wise_ft`.

    Raises:
        Problems: words that are no `label=weight`, or no number.
    """
    values = {item.name: getattr(flags, item.name) for item in fields(Regularization)}
    found: list[Problem] = []
    if isinstance(values["class_weights"], list):
        values["class_weights"] = _weights(values["class_weights"], found)
    if isinstance(values["wise_ft"], str) and values["wise_ft"] != "auto":
        try:
            values["wise_ft"] = float(values["wise_ft"])
        except ValueError:
            what = f"found {values['wise_ft']!r}, expected auto, or a number from 0 to 1"
            found.append(_problem("wise_ft", what, ""))
    if found:
        raise Problems(*found)
    return Regularization(**values)


def _weights(words: list[str], wrong: list[Problem]) -> Literal["auto"] | dict[str, float]:
    """`["auto"]`, or `["positive=2", "negative=1"]` as a dict; what is neither goes to `wrong`."""
    if words == ["auto"]:
        return "auto"
    given = {}
    for word in words:
        name, _, number = word.rpartition("=")
        try:
            given[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            mend = "give auto, or words like positive=2"
            wrong.append(_problem("class_weights", f"{word!r} is no label=weight", mend))
    return given


NEW_DEFAULT = 0.01  # beta of L2-SP
# (least, most) of each, both open where a number ends in .0: a rate of 1 would leave nothing
RANGES: dict[str, tuple[float, float]] = {
    "focal_gamma": (0, 10),
    "logit_adjustment": (0, 10),
    "r_drop": (0, 100),
    "l2_sp": (0, 1e6),
    "mixup": (0, 100),
    "cutmix": (0, 100),
    "mixout": (0, 1),
    "ema": (0, 1),
}
IMBALANCE = ("class_weights", "logit_adjustment", "weighted_sampling")
OF_LABELS = (*IMBALANCE, "focal_gamma", "r_drop", "mixup", "cutmix")  # need labels, and probabilities of them
OF_LOSS = (
    *("class_weights", "logit_adjustment", "focal_gamma", "r_drop", "l2_sp", "mixout", "mixup", "cutmix"),
    "label_smoothing_factor",
)
COPIES = ("l2_sp", "mixout", "ema", "soup", "wise_ft")  # hold whole weights beside the model's
FROZEN_BASE = ("l2_sp", "mixout", "reinit_layers")  # change what PEFT keeps as it is


def check(
    chosen: Regularization,
    *,
    problem_type: str,
    labels: Sequence[str],
    images: bool,
    args: Any,
    is_peft: bool,
    own_objective: bool,
    validation: bool,
) -> None:
    """Stop where something chosen would do nothing, or something other than its name says.

    Args:
        images: inputs are images; args: TrainingArguments; own_objective: the caller gave a loss of their own;
        validation: there are validation rows.

    Raises:
        Problems: all of them.
    """
    on = chosen.on()
    found = [*_out_of_range(on), *_against_task(on, problem_type, labels, images)]
    found += _against_each_other(on, own_objective, args)
    found += _against_run(on, args, is_peft, validation)
    if found:
        raise Problems(*found)


def _out_of_range(on: dict[str, Any]) -> list[Problem]:
    found = []
    for name, (least, most) in RANGES.items():
        if name in on and not least < on[name] < most:
            found.append(
                _problem(name, f"found {on[name]:g}, expected above {least:g} and below {most:g}", "")
            )
    if not 0 <= on.get("dropout", 0) < 1:
        found.append(_problem("dropout", f"found {on['dropout']:g}, expected 0 or more, below 1", ""))
    if not 0 <= on.get("l2_sp_new", 0) < 1e6:
        found.append(_problem("l2_sp_new", f"found {on['l2_sp_new']:g}, expected 0 or more", ""))
    alpha = on.get("wise_ft", "auto")
    if alpha != "auto" and not (isinstance(alpha, (int, float)) and 0 <= alpha <= 1):
        found.append(_problem("wise_ft", f"found {alpha!r}, expected auto, or a number from 0 to 1", ""))
    if on.get("soup", 2) < 2:
        found.append(_problem("soup", f"found {on['soup']}, expected 2 or more", "give 3"))
    return found


def _against_task(
    on: dict[str, Any], problem_type: str, labels: Sequence[str], images: bool
) -> list[Problem]:
    found = []
    without = {REGRESSION: "this is regression", LANGUAGE: "texts for a language model have none"}
    if problem_type in without:
        what = f"is for labels, and {without[problem_type]}"
        return [_problem(n, what) for n in OF_LABELS if n in on]
    if problem_type != SINGLE:
        what = "is for one label a row, and these rows have several"
        found += [
            _problem(n, what, "give --class_weights auto" if n != "class_weights" else "leave it out")
            for n in ("logit_adjustment", "weighted_sampling")
            if n in on
        ]
    if not images:
        found += [_problem(n, "mixes images, and these are texts") for n in ("mixup", "cutmix") if n in on]
    weights = on.get("class_weights")
    if isinstance(weights, Mapping):
        found += check_names(weights, labels)
    elif weights not in (None, "auto"):
        found.append(
            _problem("class_weights", f"found {weights!r}", "give auto, or label=weight for each label")
        )
    return found


def _against_each_other(on: dict[str, Any], own_objective: bool, args: Any) -> list[Problem]:
    found = []
    against = [name for name in IMBALANCE if name in on]
    if len(against) > 1:
        what = f"{' and '.join(against)} correct the same imbalance twice"
        found.append(Problem(", ".join(f"--{n}" for n in against), what, "choose one of them"))
    if "l2_sp_new" in on and "l2_sp" not in on:
        found.append(_problem("l2_sp_new", "has no effect without --l2_sp", "add --l2_sp 0.01"))
    losses = [n for n in ("class_weights", "focal_gamma", "logit_adjustment", "mixup", "cutmix") if n in on]
    if own_objective and losses:
        what = "changes the loss, and so does the objective that was given"
        found += [_problem(name, what) for name in losses]
    if own_objective and args.label_smoothing_factor:
        what = "changes the loss, and so does the objective that was given"
        found.append(_problem("label_smoothing_factor", what))
    if "soup" in on and on.get("wise_ft") == "auto":
        what = "both choose the final weights on the same validation rows"
        found.append(Problem("--soup, --wise_ft auto", what, "choose one of them, or give alpha a number"))
    return found


def _against_run(on: dict[str, Any], args: Any, is_peft: bool, validation: bool) -> list[Problem]:
    found = []
    if on and not args.do_train:
        return [_problem(name, "has no effect with --do_train false") for name in on]
    if is_peft:
        what = "changes the pretrained weights, which stand still under LoRA"
        found += [_problem(name, what, "leave it out, or --peft") for name in FROZEN_BASE if name in on]
    if getattr(args, "fsdp", None) or getattr(args, "deepspeed", None):
        what = "needs the weights whole in every process, and FSDP or DeepSpeed spreads them"
        mend = "leave it out, or run without --fsdp and --deepspeed"
        found += [_problem(name, what, mend) for name in COPIES if name in on]
    if "mixout" in on and (args.gradient_checkpointing or args.torch_compile):
        name = "gradient_checkpointing" if args.gradient_checkpointing else "torch_compile"
        what = f"does not work with --{name}, which would compute with the weights themselves again"
        found.append(_problem("mixout", what, f"leave out one of them: --{name} false"))
    if "soup" in on and (not validation or args.eval_strategy == "no"):
        what = "chooses among evaluations on validation rows, and there are none"
        found.append(_problem("soup", what, "give --eval_strategy epoch and validation rows"))
    if on.get("wise_ft") == "auto" and not validation:
        what = "auto chooses on validation rows, and there are none"
        found.append(_problem("wise_ft", what, "give a number, as 0.5"))
    if "weighted_sampling" in on and args.train_sampling_strategy not in ("random", "group_by_length"):
        what = f"does not go with --train_sampling_strategy {args.train_sampling_strategy}"
        found.append(_problem("weighted_sampling", what, "choose random or group_by_length"))
    return found


def _problem(name: str, what: str, mend: str = "leave it out") -> Problem:
    return Problem(f"--{name}", what, mend)


def sentences(chosen: Regularization) -> list[str]:
    """One sentence for the plan about each that is on; those that need the model or the rows are said elsewhere."""
    on, told = chosen.on(), []
    if "focal_gamma" in on:
        told.append(f"Focal loss, gamma {on['focal_gamma']:g}.")
    if "r_drop" in on:
        told.append(
            f"R-Drop, alpha {on['r_drop']:g}: every row goes through the model twice in a step, which takes about twice the "
            "time that is expected here."
        )
    if "mixup" in on or "cutmix" in on:
        names = [f"{name} {on[name]:g}" for name in ("mixup", "cutmix") if name in on]
        told.append(f"Training images are mixed within a micro-batch: {' or '.join(names)}.")
    if "ema" in on:
        told.append(f"A moving average of the weights, decay {on['ema']:g}, is evaluated, chosen and saved.")
    if "soup" in on:
        told.append(
            f"Greedy soup of the best {on['soup']} evaluations, chosen on validation: the validation score is then that of "
            "the choice, and better than on new rows."
        )
    return told
