"""The weights that a phase ends with: averages of those it went through, or a part of the way, chosen on validation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_transfer.data import Data
    from hf_transfer.strategies.phases import Phase
    from hf_transfer.strategies.regularization import Regularization
    from hf_transfer.strategies.soups import State
    from hf_transfer.training.setup import Setup


def learned(setup: Setup, phases: Sequence[Phase] | None = None) -> frozenset[str]:
    """Names of the parameters that learn in any of the phases (default: all of the run's); the model is left as it is."""
    from hf_transfer.strategies.freezing import freeze

    now = {name: p.requires_grad for name, p in setup.model.named_parameters()}
    found: set[str] = set()
    for phase in setup.phases if phases is None else phases:
        freeze(setup.model, setup.groups, phase.learns, setup.trainable, phase.only)
        found |= {name for name, p in setup.model.named_parameters() if p.requires_grad}
    for name, parameter in setup.model.named_parameters():
        parameter.requires_grad_(now[name])
    return frozenset(found)


def way_back(setup: Setup) -> frozenset[str]:
    """The parameters that WiSE-FT interpolates: those that had a meaning when the last phase began, and learn in it.

    Pretrained ones, and new ones that an earlier phase has trained (a head after linear probing). A head that is new in the
    only phase stays as it ends. Under LoRA the second matrices alone, which begin at 0: to scale them is to scale the
    adapter.
    """
    last = learned(setup, setup.phases[-1:])
    if setup.is_peft:
        return frozenset(name for name in last if ".lora_B." in name or ".lora_embedding_B." in name)
    return last & ((last - setup.fresh) | learned(setup, setup.phases[:-1]))


def no_way_back(setup: Setup) -> str:
    """Why WiSE-FT cannot go part of the way, if it cannot."""
    config: Any = next(iter(getattr(setup.model, "peft_config", {}).values()), None)
    if not way_back(setup):
        return "no weight that had a meaning before learns in the last phase"
    if getattr(config, "use_dora", False):
        return "DoRA's update is not scaled by scaling its matrices"
    if getattr(config, "init_lora_weights", True) not in (True, "gaussian"):
        return f"an adapter begun with {config.init_lora_weights} does not start at nothing"
    return ""


def choose_on_validation(setup: Setup, data: Data, chosen: Regularization) -> None:
    """Name the metric that soups and `wise_ft auto` choose by, and say that validation was used for it."""
    from hf_transfer.evaluation.classification import LOWER_IS_BETTER, headline

    if chosen.soup is None and chosen.wise_ft != "auto":
        return
    if setup.args.metric_for_best_model is None:
        name = headline(data.problem_type)
        setup.args.metric_for_best_model = f"eval_{name}"
        setup.args.greater_is_better = name not in LOWER_IS_BETTER
    flag = "--soup" if chosen.soup is not None else "--wise_ft auto"
    what = f"the final weights are chosen on validation ({flag}): its score is better than on new rows"
    warning = {
        "where": "validation",
        "what": what,
        "mend": "look at the test score" if "test" in data.splits else "",
    }
    setup.prepared.warnings.append(warning)


def rank(args: Any, metrics: dict[str, float]) -> tuple[float, float]:
    """An evaluation by the metric that models are chosen by, higher is better, and minus its loss, for equal ones."""
    name = f"eval_{str(args.metric_for_best_model or 'loss').removeprefix('eval_')}"
    higher = not name.endswith("loss") if args.greater_is_better is None else args.greater_is_better
    return float(metrics[name]) * (1 if higher else -1), -float(metrics["eval_loss"])


def watchers(setup: Setup, number: int, folder: Path) -> tuple[Any, list[Any]]:
    """For a phase's Trainer: the moving average of its weights, if any, and further callbacks."""
    from hf_transfer.strategies.averaging import AveragedWeights
    from hf_transfer.strategies.soups import CANDIDATES, Candidates

    chosen = setup.regularization
    averaged = AveragedWeights(setup.model, chosen.ema) if chosen.ema is not None else None
    if chosen.soup is None or number < len(setup.phases):
        return averaged, []
    return averaged, [Candidates(folder / CANDIDATES, chosen.soup, partial(rank, setup.args))]


def state_before(setup: Setup, number: int) -> State | None:
    """Where the last phase begins, for WiSE-FT: on the CPU, what is interpolated and the buffers."""
    import torch

    from hf_transfer.strategies.soups import state_of

    if setup.regularization.wise_ft is None or number < len(setup.phases):
        return None
    names = way_back(setup)
    start = state_of(setup.model, names)
    if setup.is_peft:  # an adapter scaled to nothing
        start = {name: torch.zeros_like(start[name]) for name in names}
    return start


def averaged_end(
    setup: Setup, number: int, trainer: Any, folder: Path, start: State | None
) -> dict[str, Any]:
    """At a phase's end, with its trained (or best) weights in the model: averages in their place.

    Returns:
        For the ledger: what was averaged, and what was tried on validation.
    """
    from hf_transfer.strategies import soups

    chosen, entry = setup.regularization, dict[str, Any]()
    if trainer.averaged is not None:
        trainer.averaged.put()
        entry["ema"] = {"decay": chosen.ema, "updates": trainer.averaged.updates}
        trainer.averaged = None  # what follows is measured as it is
    if number < len(setup.phases):
        return entry

    def ranked(state: State) -> tuple[float, float]:
        soups.put(setup.model, state)
        return rank(setup.args, validation_metrics(trainer))

    if chosen.soup is not None and (kept := soups.candidates(folder / soups.CANDIDATES)):
        soup, tried = soups.greedy_soup(kept, ranked)
        soups.put(setup.model, soup)
        entry["soup"] = {"metric": setup.args.metric_for_best_model, "tried": tried}
    if start is not None:
        entry["wise_ft"] = _part_of_the_way(setup, start, ranked)
    return entry


def _part_of_the_way(setup: Setup, start: State, ranked: Any) -> dict[str, Any]:
    from hf_transfer.strategies import soups

    asked = setup.regularization.wise_ft
    end = soups.state_of(setup.model, set(start))
    found: dict[str, Any] = {"alpha": asked, "tensors": len(way_back(setup))}
    if asked == "auto":
        found["alpha"], found["ranks"] = soups.best_alpha(start, end, ranked)
        found["metric"] = setup.args.metric_for_best_model
    soups.put(setup.model, soups.interpolated(start, end, float(found["alpha"])))
    return found


def validation_metrics(trainer: Any) -> dict[str, float]:
    """Those of the model as it is now, without a line in the log or a word to the callbacks."""
    loop = trainer.evaluation_loop(trainer.get_eval_dataloader(), "Evaluation", metric_key_prefix="eval")
    trainer.callback_handler.on_predict(
        trainer.args, trainer.state, trainer.control, loop.metrics
    )  # ends the bar
    return dict(loop.metrics)
