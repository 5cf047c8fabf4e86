"""What a run is about to do and what came of it, as tables for people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

BESIDE = {  # what else stands in the table of results
    "probe": "a head solved on the features of the untouched checkpoint",
    "scratch": "the same model trained from random weights",
}
NO_BASELINE = "none: the checkpoint brought no head for this, and what one drawn at random gives says nothing"


def console() -> Console:
    """Where plans and results are printed; plain where the output is no terminal."""
    wide = Console(highlight=False)
    return wide if wide.is_terminal else Console(highlight=False, width=120)


def trial_step(model: Any, batch: dict[str, Any], objective: Any = None) -> tuple[float, set[str]]:
    """Seconds of one forward and backward pass, the second of two; on a CPU the first where it takes over a second.

    And the names of the parameters that should learn but got no gradient. The model is left as it was: in eval mode, so
    that neither random numbers nor running statistics move.
    """
    import torch

    device = next(model.parameters()).device
    inputs = {name: value.to(device) if hasattr(value, "to") else value for name, value in batch.items()}
    was_training, seconds, unread = model.training, 0.0, set[str]()
    model.eval()
    for _ in range(2):
        started = time.perf_counter()
        loss = objective(model, dict(inputs))[0] if objective else model(**inputs)["loss"]
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - started
        unread = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
        for parameter in model.parameters():
            parameter.grad = None
        if device.type == "cpu" and seconds > 1:
            break  # what is done once there is little beside it
    model.train(was_training)
    return seconds, unread


def print_plan(plan: dict[str, Any]) -> None:
    """Model, data, splits, what learns at which rate, steps, threads, expected time."""
    out = console()
    out.print(f"\n[bold]Plan[/bold]  {plan['title']}")
    facts = Table.grid(padding=(0, 2))
    for name, value in plan["facts"].items():
        facts.add_row(f"  {name}", _escape(str(value)))
    out.print(facts)
    for phase in plan["phases"]:
        out.print(_escape(_phase_title(phase)))
        out.print(_phase_table(phase))
    for note in plan["notes"]:
        out.print(f"  note: {_escape(note)}")
    _print_warnings(out, plan["warnings"])
    out.print()


def _phase_title(phase: dict[str, Any]) -> str:
    if (solver := phase.get("solve")) == "knn":
        return f"{phase['name']}: the most similar training rows vote, by features that are read once"
    if solver:
        return f"{phase['name']}: the head is solved ({solver}) on features that are read once"
    return (
        f"{phase['name']}: {_steps(phase['steps'])}, {phase['optimizer']}, {phase['schedule']} schedule, "
        f"{_steps(phase['warmup_steps'], 'warmup ')}"
    )


def _steps(number: int, kind: str = "") -> str:
    return f"{number:,} {kind}step" + "s" * (number != 1)


def _phase_table(phase: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("  layer group")
    for column in ("parameters", "learning", "learning rate", "weight decay", ""):
        table.add_column(column, justify="right" if column else "left")
    for rows in _bundled(phase["groups"]):
        first, last, many = rows[0], rows[-1], len(rows)
        name = first["name"] if many == 1 else f"{first['name']} .. {last['name'].partition('.')[2]}"
        rate = f"{first['learning_rate']:.3g}" if first["learning_rate"] is not None else "-"
        if (
            many > 1
            and first["learning_rate"] is not None
            and last["learning_rate"] != first["learning_rate"]
        ):
            rate = f"{first['learning_rate']:.3g} .. {last['learning_rate']:.3g}"
        table.add_row(
            f"  {name}",
            f"{sum(row['parameters'] for row in rows):,}",
            f"{sum(row['learning'] for row in rows):,}",
            rate,
            f"{phase['weight_decay']:g}" if first["learning_rate"] is not None else "-",
            ("solved" if phase.get("solve") else "learns") if first["learns"] else "frozen",
        )
    return table


def _bundled(groups: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Neighbouring blocks that all learn, or all do not, as one line."""
    bundles: list[list[dict[str, Any]]] = []
    for group in groups:
        like = bundles and "." in group["name"] and "." in bundles[-1][-1]["name"]
        if like and bundles[-1][-1]["learns"] == group["learns"]:
            bundles[-1].append(group)
        else:
            bundles.append([group])
    return bundles


def _print_warnings(out: Console, warnings: Sequence[dict[str, str]]) -> None:
    for warning in warnings:
        out.print(f"  [yellow]warning[/yellow] {_escape(warning['where'])}: {_escape(warning['what'])}")
        if warning.get("mend"):
            out.print(f"          -> {_escape(warning['mend'])}")


def print_results(
    results: dict[str, float],
    headline: str,
    folder: str,
    next_commands: dict[str, str],
    warnings: Sequence[dict[str, str]] = (),
    masked: bool = False,
    drawn: bool = False,
    chosen: Sequence[str] = (),
) -> None:
    """Metrics by split with interval and baseline, what is wrong with them, where things lie, what to do next.

    Args:
        masked: the model finds masked words; drawn: the head of a language model was new, so that it had no baseline;
            chosen: what was chosen on validation.
    """
    out = console()
    if drawn:
        results = {key: value for key, value in results.items() if "_baseline_" not in key}
    splits = [split for split in ("test", "eval") if f"{split}_{headline}" in results]
    for split in splits:
        shown = "test" if split == "test" else "validation"
        here = f" ({', '.join(chosen)} chosen here)" if split == "eval" and chosen else ""
        table = Table(title=f"{shown}{here}", title_justify="left", box=None, padding=(0, 2, 0, 0))
        others = [kind for kind in BESIDE if any(key.startswith(f"{split}_{kind}_") for key in results)]
        for column in ("  metric", "value", "95 % interval", "baseline", *others):
            table.add_column(column, justify="left" if column.strip() == "metric" else "right")
        for key, value in results.items():
            name = key.removeprefix(f"{split}_")
            if (
                key == name
                or name.startswith(("baseline_", *(f"{kind}_" for kind in BESIDE)))
                or "_ci95_" in name
                or not _is_metric(name)
            ):
                continue
            low, high = (results.get(f"{key}_ci95_{end}") for end in ("low", "high"))
            beside = [results.get(f"{split}_{kind}_{name}") for kind in ("baseline", *others)]
            table.add_row(
                f"  [bold]{name}[/bold]" if name == headline else f"  {name}",
                f"{value:.4f}",
                f"{low:.4f} .. {high:.4f}" if low is not None and high is not None else "",
                *(f"{other:.4f}" if other is not None else "" for other in beside),
            )
        out.print(table)
    _print_warnings(out, warnings)
    if masked and splits:
        out.print(
            "  perplexity: of the masked tokens alone, the same ones as before training (pseudo-perplexity)"
        )
    if drawn and splits:
        out.print(f"  baseline: {NO_BASELINE}")
    for kind, what in BESIDE.items():
        if any(f"_{kind}_" in key for key in results):
            out.print(f"  {kind}: {what}")
    out.print(
        f"\nThe model and all about it lie in [bold]{_escape(folder)}[/bold]; look at {_escape(folder)}/report.html"
    )
    if next_commands:
        out.print("Next:")
        width = max(len(name) for name in next_commands)
        for name, command in next_commands.items():
            out.print(f"  {name:<{width}}  {_escape(command)}")


def _is_metric(name: str) -> bool:
    return not name.endswith(("runtime", "per_second")) and name != "samples"


def duration(seconds: float) -> str:
    """`75` as `1 min 15 s`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
