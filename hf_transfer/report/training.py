"""What learned in each phase, and the curves of the whole run."""

from __future__ import annotations

from typing import Any

from .figures import finite
from .read import Record
from .wording import count, number


def learned(phase: dict[str, Any]) -> list[dict[str, Any]]:
    """The layer groups of a phase from input to head; neighbours treated alike are one row (`block.1 to block.6`)."""
    rows: list[dict[str, Any]] = []
    for group in phase.get("groups") or []:
        alike = ("learns", "learning_rate", "head")
        if (
            rows
            and all(rows[-1].get(key) == group.get(key) for key in alike)
            and _family(rows[-1]) == _family(group)
        ):
            rows[-1] |= {"last": group["name"], "parameters": rows[-1]["parameters"] + group["parameters"],
                         "decayed": (rows[-1].get("decayed") or 0) + (group.get("decayed") or 0)}  # fmt: skip
        else:
            rows.append({**group, "last": None})
    return rows


def _family(group: dict[str, Any]) -> str:
    return str(group["name"]).split(".")[0]


def solved_words(solved: dict[str, Any]) -> str:
    """How a head was solved, or who votes in its place."""
    rows = count(solved.get("rows"))
    if solved.get("solver") == "knn":
        return (
            f"of {rows} reference rows the {solved.get('k')} most similar vote (cosine, T = {solved.get('temperature')}, "
            f"scores times {number(solved.get('scale'))})"
        )
    told = ", ".join(str(solved.get(name)) for name in ("solver", "view"))
    told += f", strength {solved.get('strength')}, scores times {number(solved.get('scale'))}"
    return f"the head was solved ({told}) on the features of {rows} rows, read once"


def chosen_words(solved: dict[str, Any]) -> str:
    """What its strength, or the number that votes, was chosen by."""
    votes, unchosen = solved.get("solver") == "knn", str(solved.get("chosen_on")).startswith("nothing")
    if unchosen:
        what = (
            f"{solved.get('k')} neighbours vote"
            if votes
            else f"the head was solved, at strength {solved.get('strength')}"
        )
        return f"{what}: there were too few rows to choose on"
    if votes:
        least = f"the largest number whose loss on {solved.get('chosen_on')} is the least, but for a standard error"
        return f"{solved.get('k')} neighbours vote, {least}"
    return f"the head was solved, with the penalty of least loss on {solved.get('chosen_on')}"


def kept(record: Record) -> dict[str, Any]:
    """Whose weights the model has: `step` of the last phase's `steps`, its `epoch` (None: not logged), and `best`.

    `best` is the ledger's entry of the metric they were chosen by; None where the last step's were kept.
    """
    phase = record.phases[-1] if record.phases else {}
    chosen = (record.run.get("arguments") or {}).get("load_best_model_at_end")
    best = phase.get("best") if chosen else None
    step, number = (best or {}).get("step") or phase.get("steps"), len(record.phases)
    epochs = [
        line.get("epoch")
        for line in record.history
        if (line.get("phase") or 1) == number and line.get("step") == step
    ]
    epoch = next((epoch for epoch in epochs if epoch is not None), None if best else phase.get("epochs"))
    return {"best": best, "step": step, "steps": phase.get("steps"), "epoch": epoch}


def curve(record: Record, key: str) -> tuple[list[float], list[float]]:
    """Steps and values of a logged quantity over the whole run, phases put end to end."""
    steps, values = [], []
    for line in record.history:
        value = finite(line.get(key))
        if value is not None and finite(line.get("step")) is not None:
            steps.append(line["step"] + phase_offset(record, line.get("phase") or 1))
            values.append(value)
    order = sorted(range(len(steps)), key=lambda position: steps[position])
    return [steps[i] for i in order], [values[i] for i in order]


def phase_offset(record: Record, number: int) -> int:
    """Steps done before phase `number` (from 1), when history counts each phase from zero; else 0."""
    own = [line.get("step") or 0 for line in record.history if line.get("phase") == number]
    steps = [int(phase.get("steps") or 0) for phase in record.phases]
    if number < 2 or number > len(steps) or not own or max(own) > steps[number - 1]:
        return 0
    return sum(steps[: number - 1])
