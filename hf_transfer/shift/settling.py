"""What is done about a shift between domains put where it acts: on the loss, on the batches, on the phases."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hf_transfer.anatomy import HEAD
from hf_transfer.final_weights import learned
from hf_transfer.problems import Problem, Problems
from hf_transfer.solving import readout_of
from hf_transfer.strategies.allocation import check_allocation
from hf_transfer.strategies.shift import PSEUDO, SINGLE, Shift, check_phases, sentences

if TYPE_CHECKING:
    from hf_transfer.shift.target import Target
    from hf_transfer.strategies.alignment import Alignment
    from hf_transfer.strategies.phases import Phase
    from hf_transfer.training.setup import Setup
    from hf_transfer.training.trainer import PhaseTrainer

STILL_APART = 0.8  # domain accuracy at the end from which on features have not been made alike
PUSHED_TOO_FAR = 0.3  # the same, below which they ran away from the domain classifier
NO_PART = 0.02  # of the loss: a term below it is hardly felt


def settle_shift(setup: Setup, chosen: Shift, target: Target | None) -> list[str]:
    """Give a run the target rows, the alignment of features and the phase of pseudo-labels that were chosen.

    Args:
        setup: changed in place; its phases are settled.

    Returns:
        Sentences for the plan.

    Raises:
        Problems: the strategy, or the model, leaves nothing to act on.
    """
    setup.shift, setup.target = chosen, target
    if target is None or not setup.args.do_train:
        return []
    check_phases(chosen, setup.phases, [below_head(setup, phase) for phase in setup.phases])
    if chosen.align is not None:
        setup.alignment = _alignment(setup, chosen)
    if chosen.threshold is not None:
        setup.phases = [*setup.phases, replace(setup.phases[-1], name=PSEUDO)]
        check_allocation(setup.model, len(setup.phases))
    return sentences(chosen, len(target.rows), setup.phases)


def below_head(setup: Setup, phase: Phase) -> bool:
    """Whether anything below the head is trained in a phase."""
    head = {name for group in setup.groups if group.name == HEAD for name in group.parameters}
    return not phase.solve and bool(learned(setup, [phase]) - head)


def _alignment(setup: Setup, chosen: Shift) -> Alignment:
    from hf_transfer.strategies.alignment import Alignment

    readout = readout_of(setup)
    if readout is None:
        what = f"the scores of {type(setup.model).__name__} are not a linear function of features that could be found"
        raise Problems(Problem("--align", what, "use --pseudo_labels, or another checkpoint"))
    layer = setup.model.get_submodule(readout.scores)
    return Alignment(str(chosen.align), chosen.weight, layer, own_criterion(setup.model.config.problem_type))


def own_criterion(problem_type: str) -> Any:
    """The loss that transformers' classifiers have for a problem type, on scores (rows, labels) and labels."""
    from torch.nn import functional as F

    from hf_transfer.strategies.objectives import binary_cross_entropy, cross_entropy

    if problem_type == "regression":
        return lambda logits, labels: F.mse_loss(logits.float().squeeze(-1), labels.float().view(-1))
    return cross_entropy if problem_type == SINGLE else binary_cross_entropy


def aligned(setup: Setup, number: int, args: Any) -> Alignment | None:
    """The alignment of a phase, begun anew; None where nothing below the head is trained.

    Args:
        args: the phase's own, for seed and device.
    """
    if setup.alignment is None or not below_head(setup, setup.phases[number - 1]):
        return None
    setup.alignment.begin(args.data_seed, args.device)
    return setup.alignment


def entry_of(setup: Setup, trainer: PhaseTrainer) -> dict[str, Any]:
    """What the ledger keeps of a phase's alignment: method, weight, rows, domain accuracy at first and at the end."""
    alignment = trainer.alignment
    if alignment is None or setup.target is None:
        return {}
    told = [row for row in trainer.state.log_history if "domain_accuracy" in row]
    if not told and trainer.state.global_step:  # shorter than the interval between two logs
        told = [alignment.told(trainer.summed)]
    facts: dict[str, Any] = {"method": alignment.method, "weight": alignment.weight}
    facts |= {"target_rows": len(setup.target.rows), "domain_accuracy": None}
    if told:
        first, last = (round(told[i]["domain_accuracy"], 4) for i in (0, -1))
        facts["domain_accuracy"] = {"first": first, "last": last}
        facts |= {name: told[-1][name] for name in ("coral_loss", "loss") if name in told[-1]}
    return {"align": facts}


def warnings_after(ledger: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What the end of a run says of its adaptation: domains still apart, pseudo-labels that were none or all alike."""
    found = []
    ends = [entry["align"] for entry in ledger if "align" in entry]
    if ends and ends[-1]["domain_accuracy"]:
        found += _of_alignment(ends[-1])
    for entry in ledger:
        facts = entry.get("pseudo_labels")
        if facts and not facts["rows"]:
            what = f"no target row was predicted with a probability of {facts['threshold']:g}: nothing joined"
            found.append({"where": "--pseudo_labels", "what": what, "mend": "give a lower threshold"})
        elif facts and sum(count > 0 for count in facts["labels"].values()) == 1:
            name = next(name for name, count in facts["labels"].items() if count)
            what = f"all {facts['rows']:,} pseudo-labels are {name}: the last phase has learned to give that"
            mend = "look at the target rows, or leave --pseudo_labels out"
            found.append({"where": "--pseudo_labels", "what": what, "mend": mend})
    return found


def _of_alignment(facts: dict[str, Any]) -> list[dict[str, str]]:
    last, term = facts["domain_accuracy"]["last"], facts.get("coral_loss")
    if term is not None and term < NO_PART * facts.get("loss", 0.0):
        what = f"the term of CORAL was {term:.2g} at the end and the loss {facts['loss']:.2g}: it had hardly an effect"
        mend = f"give a larger --align_weight than {facts['weight']:g}, until both are of a size"
    elif last >= STILL_APART:
        what = f"domain accuracy was {last:.2f} at the end: features still tell the domains apart"
        mend = "train longer, or give a larger --align_weight"
    elif last <= PUSHED_TOO_FAR:
        what = f"domain accuracy was {last:.2f} at the end, far below one half: features were pushed past being alike, and may be spoiled"
        mend = f"give a smaller --align_weight than {facts['weight']:g}"
    else:
        return []
    return [{"where": "--align", "what": what, "mend": mend}]
