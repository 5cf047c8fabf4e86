"""A model for rows of another domain, without labels: what is done about the shift, refused where it makes no sense."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from hf_transfer.problems import Problem, Problems
from hf_transfer.strategies.phases import Phase, called

SINGLE = "single_label_classification"
PROBLEM_TYPES = (SINGLE, "multi_label_classification", "regression")  # of heads of labels
DANN, CORAL = METHODS = ("dann", "coral")
WEIGHTS = {DANN: 0.3, CORAL: 10.0}
CONFIDENT = 0.95  # of pseudo-labels, as FixMatch (Sohn et al. 2020)
PSEUDO = "pseudo-labels"  # name of the further phase


@dataclass(frozen=True)
class Shift:
    """What is on; the defaults are all off.

    Attributes:
        align: features of both domains are made alike: `dann` (Ganin et al. 2016) or `coral` (Sun and Saenko 2016).
        align_weight: of `dann` the greatest strength of the reversed gradient (1: as steep as the head), of `coral` the weight of its term.
        pseudo_labels: a further phase learns from target rows too, with the label that was predicted with at least this
            probability; True is 0.95.
    """

    align: str | None = None
    align_weight: float | None = None
    pseudo_labels: float | bool | None = None

    def on(self) -> dict[str, Any]:
        """What is not at its default, by name."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in found.items() if value is not None and value is not False}

    @property
    def weight(self) -> float:
        """`align_weight`, or the method's default."""
        return WEIGHTS[str(self.align)] if self.align_weight is None else float(self.align_weight)

    @property
    def threshold(self) -> float | None:
        """The least probability of a pseudo-label; None without them."""
        chosen = self.on().get("pseudo_labels")
        return CONFIDENT if chosen is True else None if chosen is None else float(chosen)


def check(chosen: Shift, *, target: bool, problem_type: str, args: Any, taken: dict[str, Any]) -> None:
    """Stop where something chosen would do nothing, or something other than its name says.

    Args:
        target: target rows were given; args: TrainingArguments.
        taken: what else changes the loss or the batches: regularisers that are on by name, and `objective`.

    Raises:
        Problems: all of them.
    """
    on = chosen.on()
    found = [*_values(chosen, on), *_target(on, target)]
    if on and not args.do_train:
        found += [_problem(name, "has no effect with --do_train false") for name in on]
    if chosen.align is not None:
        found += _align(chosen.align, args, taken)
    if chosen.align is not None and problem_type not in PROBLEM_TYPES:
        what = "makes features alike that a head of labels reads, and there is none"
        found.append(_problem("align", what, "give the target's texts as training rows"))
    if "pseudo_labels" in on and problem_type != SINGLE:
        what = (
            "is for labels, and this is regression"
            if problem_type == "regression"
            else "is for one label a row, and these rows have several or none"
        )
        found.append(_problem("pseudo_labels", what))
    if found:
        raise Problems(*found)


def _values(chosen: Shift, on: dict[str, Any]) -> list[Problem]:
    found = []
    if chosen.align is not None and chosen.align not in METHODS:
        what, mend = f"found {chosen.align!r}, expected {' or '.join(METHODS)}", "choose one of them"
        found.append(_problem("align", what, mend))
    if "align_weight" in on and not 0 < on["align_weight"] < float("inf"):
        what = f"found {on['align_weight']:g}, expected more than 0"
        found.append(_problem("align_weight", what, "leave --align out to align nothing"))
    if "align_weight" in on and chosen.align is None:
        found.append(_problem("align_weight", "has no effect without --align", "add --align dann, or coral"))
    threshold = on.get("pseudo_labels", True)
    if threshold is not True and not 0 < threshold < 1:
        what = f"found {threshold:g}, expected a probability above 0 and below 1"
        found.append(_problem("pseudo_labels", what, "give 0.95, or true"))
    return found


def _target(on: dict[str, Any], target: bool) -> list[Problem]:
    if target and not {"align", "pseudo_labels"} & on.keys():
        what = "has no effect without --align or --pseudo_labels"
        mend = "add one of them; rows to measure on go to --test_file"
        return [_problem("target_file", what, mend)]
    what, mend = "needs rows of the target domain", "give them with --target_file; labels are not needed"
    return [_problem(name, what, mend) for name in ("align", "pseudo_labels") if name in on and not target]


def _align(method: str, args: Any, taken: dict[str, Any]) -> list[Problem]:
    found = []
    if "objective" in taken:
        found.append(_problem("align", "needs the model's own loss, and an objective was given"))
    for name in ("mixup", "cutmix"):
        if name in taken:
            what = f"does not go with --{name}: images of both domains would be told apart by being mixed"
            found.append(_problem("align", what, "leave out one of them"))
    if getattr(args, "fsdp", None) or getattr(args, "deepspeed", None):
        what = "trains a domain classifier beside the model, which FSDP and DeepSpeed know nothing of"
        found.append(_problem("align", what, "run without --fsdp and --deepspeed"))
    if args.torch_compile:
        what = "reads features within the model, which --torch_compile does not let through"
        found.append(_problem("align", what, "leave out one of them"))
    if args.train_sampling_strategy == "batch_rebalance":
        what = "does not go with --train_sampling_strategy batch_rebalance"
        found.append(_problem("align", what, "choose random or group_by_length"))
    if method == CORAL and args.per_device_train_batch_size < 2:
        what = "compares covariances within a micro-batch, and one row has none"
        found.append(_problem("align", what, "give --per_device_train_batch_size 16 or more"))
    return found


def check_phases(chosen: Shift, phases: list[Phase], moves: list[bool]) -> None:
    """Stop where the strategy leaves nothing to align, or ends in a head that is solved.

    Args:
        moves: for each phase, whether anything below the head is trained in it.

    Raises:
        Problems: all of them.
    """
    found, trained = [], [phase for phase in phases if not phase.solve]
    mend = "choose a strategy in which pretrained layers learn, such as full"
    if chosen.align is not None and any(phase.pairs for phase in trained):
        what = f"acts on the loss of single rows, and phase {trained[0].name} learns from pairs of them"
        found.append(_problem("align", what))
    elif chosen.align is not None and not any(moves):
        what = "makes features of both domains alike, and nothing below the head learns: they cannot move"
        found.append(_problem("align", what, mend))
    if chosen.threshold is not None and phases[-1].solve:
        name = next((called(phase) for phase in phases if phase.pairs), phases[-1].name)
        what = f"adds rows to train on, and under --strategy {name} the head is solved, not trained"
        found.append(
            _problem("pseudo_labels", what, "choose a strategy that trains to its end, such as full")
        )
    if found:
        raise Problems(*found)


def _problem(name: str, what: str, mend: str = "leave it out") -> Problem:
    return Problem(f"--{name}", what, mend)


def sentences(chosen: Shift, rows: int, phases: list[Phase]) -> list[str]:
    """What is on, for the plan; `rows` of the target."""
    told = []
    if chosen.align == DANN:
        told.append(
            f"DANN, weight {chosen.weight:g}: a domain classifier learns to tell {rows:,} target rows from the training rows, and "
            "the features learn against it, more and more."
        )
    if chosen.align == CORAL:
        told.append(
            f"CORAL, weight {chosen.weight:g}: covariances of features are made alike on the training rows and {rows:,} target "
            "rows. A domain classifier watches."
        )
    if chosen.align is not None:
        told.append(
            "As many target rows as training rows go through the model in a step, which takes about twice the time that is "
            "expected here. Domain accuracy near 0.5: the domains cannot be told apart."
        )
    if chosen.threshold is not None:
        told.append(
            f"Pseudo-labels: after phase {phases[-2].name} the target rows whose label is predicted with a probability of "
            f"{chosen.threshold:g} or more join the training rows; how many is not known yet, and the steps of the last phase "
            "are counted without them."
        )
    return told
