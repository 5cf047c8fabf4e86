"""What a run has chosen on its validation rows, on which its figures are then a little flattering."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_transfer.assess import Assessment
    from hf_transfer.training.setup import Setup


def chosen_on_validation(setup: Setup, found: Assessment, ledger: list[dict[str, Any]]) -> list[str]:
    """In words, such as `weights` or `thresholds`; empty where validation only measured.

    Args:
        ledger: the phases, from `training.train`; empty if nothing was trained.
    """
    if "validation" not in setup.prepared.splits:
        return []
    args, drawn = setup.args, setup.regularization
    averaged = drawn.soup is not None or drawn.wise_ft == "auto"
    trained = [entry for entry in ledger if not entry.get("solved")]
    best = args.load_best_model_at_end and any(entry.get("best") for entry in trained)
    solved = [entry["solved"]["chosen_on"] for entry in ledger if entry.get("solved")]
    chosen = {
        "weights": bool(trained) and (best or averaged),
        "length": any(entry.get("stopped_early") for entry in trained)
        and bool(setup.early_stopping_patience),
        "head": "validation" in solved,
        "thresholds": found.thresholds is not None,
    }
    return [*dict.fromkeys(setup.chosen), *(name for name, was in chosen.items() if was)]
