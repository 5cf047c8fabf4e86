"""From a run folder, or any model, to predictions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.adapters import has_only_adapter, load_adapted
from hf_transfer.data.batching import by_length
from hf_transfer.evaluation.classification import predicted, probabilities
from hf_transfer.problems import Problem, Problems
from hf_transfer.run_folder import is_neighbours, is_pooled

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_transfer.run import Run


def load_model(folder: str | Path, task: str) -> Any:
    """The model of a run folder through its Auto class, in eval mode, in fp32; with its adapter, if it is not merged.

    Raises:
        Problems: its weights are gone, or the base model of an adapter that is not merged.
    """
    import transformers

    from hf_transfer.tasks import find

    if has_only_adapter(folder):
        return load_adapted(folder, find(task).auto_class)
    if not any(Path(folder).glob("*.safetensors")):
        what = "the run's record is here, but not its weights (model.safetensors)"
        raise Problems(Problem(str(folder), what, "copy the whole run folder, or train again"))
    if is_pooled(folder):
        from hf_transfer.pooled import load

        return load(folder)
    if is_neighbours(folder):
        from hf_transfer import knn

        return knn.load(folder, task)
    return getattr(transformers, find(task).auto_class).from_pretrained(str(folder), dtype="float32").eval()


def load_processor(folder: str | Path, task: str) -> Any:
    """Its tokenizer or image processor."""
    import transformers

    from hf_transfer.tasks import find

    return getattr(transformers, find(task).processor_class).from_pretrained(str(folder))


def scores(
    model: Any,
    batches: Dataset,
    collate: Callable[[list[Any]], Any],
    batch_size: int = 32,
    progress: bool = False,
    read: Callable[[Any, dict[str, Any]], Any] | None = None,
    title: str = "predicting",
) -> np.ndarray:
    """Logits (n, C) in the order of the rows, in eval mode; batches are of like length, so that little is padded.

    Args:
        batches: model inputs, one row each, without labels.
        progress: show a bar, if on a terminal.
        read: `(model, inputs) -> tensor` of what to read in place of the logits, as `strategies.features.read`.
        title: of the bar.
    """
    import torch
    from tqdm import tqdm

    model.eval()  # a Trainer that did not evaluate last leaves dropout on
    device = next(model.parameters()).device
    sizes = (
        [len(ids) for ids in batches["input_ids"]]
        if "input_ids" in batches.column_names
        else [1] * len(batches)
    )
    order = by_length(sizes)
    found: list[np.ndarray] = []
    with (
        torch.no_grad()
    ):  # not inference_mode: some models keep a tensor of it and cannot be trained any more
        # disable=None: a bar on terminals only
        for start in tqdm(range(0, len(order), batch_size), title, disable=None if progress else True):
            rows = batches[order[start : start + batch_size].tolist()]
            features = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
            inputs = {name: value.to(device) for name, value in collate(features).items()}
            values = read(model, inputs) if read else model(**inputs)["logits"]
            found.append(values.float().cpu().numpy())
    logits = np.concatenate(found)
    back = np.empty_like(logits)
    back[order] = logits
    return back


def shared_scores(
    model: Any, inputs: Any, collator: Any, batch_size: int, world: tuple[int, int], **options: Any
) -> np.ndarray:
    """`scores`, with the rows shared out over the processes; each gets the whole.

    Args:
        world: rank and number of processes.
        options: as for `scores`.
    """
    rank, processes = world
    if processes == 1:
        return scores(model, inputs, collator, batch_size, **options)
    import torch.distributed as dist

    mine = np.arange(rank, len(inputs), processes)
    part = scores(model, inputs.select(mine), collator, batch_size, **options) if len(mine) else None
    parts: list[Any] = [None] * processes
    dist.all_gather_object(parts, part)
    whole = np.empty((len(inputs), *next(p for p in parts if p is not None).shape[1:]), dtype=np.float32)
    for i, piece in enumerate(parts):
        if piece is not None:
            whole[i::processes] = piece
    return whole


def predict(run: Run, inputs: Any, batch_size: int = 32) -> list[dict[str, Any]]:
    """See `Run.predict`."""
    from hf_transfer.inputs import read_inputs

    if hasattr(inputs, "__len__") and not isinstance(inputs, str) and not len(inputs):
        return []
    return predict_rows(run, read_inputs(run.record, inputs).rows, batch_size)


def predict_rows(
    run: Run,
    rows: Dataset,
    batch_size: int = 32,
    progress: bool = False,
    say: Callable[[str], None] = warnings.warn,
) -> list[dict[str, Any]]:
    """Predictions for rows as `read_inputs` makes them, in their order; `say` is told of texts that are cut."""
    import torch

    from hf_transfer.tasks import find

    record = run.record
    task = find(record["task"])
    model = run.model.eval()
    if torch.cuda.is_available():
        model = model.to("cuda")
    encoded = task.encode(rows, run.processor)
    most = getattr(run.processor, "model_max_length", None)
    lengths = [len(ids) for ids in encoded["input_ids"]] if "input_ids" in encoded.column_names else []
    full = sum(length >= most for length in lengths) if most else 0
    if full:
        say(
            f"{full:,} of {len(rows):,} texts reach the {most} tokens that the model was trained with and are cut there"
        )
    try:
        logits = scores(model, encoded, task.collator(run.processor), batch_size, progress)
    except Exception as error:  # of many kinds where an image is broken: looked for only then
        from hf_transfer.data.keys import input_keys

        keys, problems = input_keys(rows, "input")
        missing = [str(i) for i in np.flatnonzero(keys == b"")]
        if "image" in rows.column_names and missing and not problems:
            problems = [
                Problem("input", f"there is no image in rows {', '.join(missing[:10])}", "leave them out")
            ]
        if not problems:
            raise
        raise Problems(*problems) from error
    return readable(logits, record["problem_type"], record["labels"], record.get("thresholds"))


def readable(
    logits: np.ndarray, problem_type: str, labels: list[str], thresholds: list[float] | None
) -> list[dict[str, Any]]:
    """Logits as one plain dict a row; see `Run.predict`."""
    if problem_type == "regression":
        return [{"value": float(value)} for value in np.asarray(logits).reshape(-1)]
    shares = probabilities(problem_type, logits)
    guesses = predicted(problem_type, logits, thresholds)
    found = []
    for share, guess in zip(shares, guesses, strict=True):
        by_label = {label: float(p) for label, p in zip(labels, share, strict=True)}
        if problem_type == "multi_label_classification":
            on = [labels[i] for i in np.flatnonzero(guess)]
            found.append({"labels": on, "scores": [by_label[name] for name in on], "probabilities": by_label})
        else:
            name = labels[int(guess)]
            found.append({"label": name, "score": by_label[name], "probabilities": by_label})
    return found
