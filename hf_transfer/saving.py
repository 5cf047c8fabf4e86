"""The final model on disk, and the proof that it is the one that was trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.adapters import can_merge, has_only_adapter, merged
from hf_transfer.loading import quiet
from hf_transfer.reload import reloaded_scores
from hf_transfer.run_folder import ADAPTER
from hf_transfer.saved import placed
from hf_transfer.training.train import save_weights
from hf_transfer.unused_weights import add_weights, unused_weights
from hf_transfer.voting import all_vote, votes

if TYPE_CHECKING:
    from hf_transfer.assess import Assessment
    from hf_transfer.finishing import Job
    from hf_transfer.training.setup import Setup

ROWS = 8
SPLITS = ("test", "validation", "train")
EXACT, MERGED = 1e-4, 1e-3  # largest difference of logits in fp32; of logits over 1 the share of the largest


def save(setup: Setup, thresholds: list[float] | None, unused_of: str = "") -> Any:
    """Write the final model and processor into the run folder's root; with PEFT the merged model, and `adapter/`.

    An adapter that cannot be merged stays beside a root without weights: configuration and processor. The base model's
    weights there, with a head that was trained behind the adapter, would load and answer wrongly.

    Args:
        unused_of: the checkpoint whose further weights, which the model has no place for, are kept in its file.

    Returns:
        The plain transformers model (merged, with PEFT); with such an adapter, the model it is on.
    """
    model, folder = setup.model, setup.folder
    alone = setup.is_peft and not can_merge(model)
    if setup.is_peft:
        save_weights(model, folder / ADAPTER)
        model = model if alone else merged(model)
    model.eval()
    model.config.use_cache = getattr(model.config, "use_cache", None)
    if thresholds is not None:
        model.config.thresholds = thresholds
    unused = unused_weights(model, unused_of)  # of the merged model: PEFT gives its layers other names
    model.config._name_or_path = ""  # a folder of this machine, otherwise
    with placed(folder) as beside, quiet():
        (model.config if alone else model).save_pretrained(str(beside))
        add_weights(beside, unused)
        setup.processor.save_pretrained(str(beside))
    return model


def reference(job: Job, found: Assessment) -> Assessment:
    """The trained model's scores of the first rows, from before it is merged, as the fresh process computes them.

    That process is on the CPU. A GPU's convolutions are rounded to TF32 and its sums run in another order, so scores
    from there are computed again.
    """
    from hf_transfer.predict import scores

    setup = job.setup
    split = next(s for s in SPLITS if s in job.data.splits)
    if not job.task.target:
        from hf_transfer.language import last_scores

        texts = job.task.raw(job.data.splits[split].select(range(min(ROWS, len(job.data.splits[split])))))
        return replace(
            found, logits={split: last_scores(setup.model.to("cpu").eval(), setup.processor, texts)}
        )
    if split in found.logits and setup.args.device.type == "cpu" and not votes(setup):
        return found
    inputs = setup.prepared.splits[split]
    inputs = inputs.select(range(min(ROWS, len(inputs)))).remove_columns("labels")
    if not votes(setup):
        return replace(found, logits={split: scores(setup.model.to("cpu"), inputs, setup.collator)})
    with all_vote(setup.model):
        return replace(found, logits={split: scores(setup.model.to("cpu"), inputs, setup.collator)})


def check_saved(job: Job, found: Assessment) -> dict[str, Any]:
    """Compare the saved model's scores, from a fresh process with plain transformers and peft, with the trained one's.

    Args:
        found: holds the trained one's, from `reference`.

    Returns:
        `{"rows", "max_difference", "merged", "adapter_difference"?}` for the record.

    Raises:
        RuntimeError: the scores differ, or the model does not load; nothing is deleted.
    """
    data, folder = job.data, job.setup.folder
    split = next(s for s in SPLITS if s in data.splits)
    rows = data.splits[split].select(range(min(ROWS, len(data.splits[split]))))
    trained = found.logits[split][: len(rows)]
    raw = job.task.raw(rows)
    limit = MERGED if job.setup.is_peft else EXACT
    whole = job.setup.is_peft and not has_only_adapter(folder)
    proof: dict[str, Any] = {"rows": len(rows), "merged": whole}
    adapter = folder / ADAPTER if job.setup.is_peft and job.base["name"] else None
    root = whole or not job.setup.is_peft
    if not root and adapter is None:
        return proof
    again = reloaded_scores(str(folder), job.task, raw, adapter, job.base["name"], root)
    if root:
        proof["max_difference"] = _difference(again["root"], trained, limit, str(folder))
    if adapter is not None:
        proof["adapter_difference"] = _difference(again["adapter"], trained, EXACT, str(adapter))
        proof.setdefault("max_difference", proof["adapter_difference"])
    return proof


def _difference(again: np.ndarray, trained: np.ndarray, limit: float, what: str) -> float:
    difference, limit = float(np.abs(again - trained).max()), limit * max(1.0, float(np.abs(trained).max()))
    if not difference <= limit:
        raise RuntimeError(
            f"the model saved in {what} does not give the scores of the trained one: they differ by {difference:.2g} "
            f"(at most {limit:g}); checkpoints and predictions are untouched"
        )
    return difference
