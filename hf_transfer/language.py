"""How well a language model tells texts: what is asked for and cannot be, what is measured, before training and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.assess import PREFIX, Assessment
from hf_transfer.evaluation.perplexity import interval, perplexity
from hf_transfer.predict import shared_scores
from hf_transfer.problems import Problem, Problems
from hf_transfer.training.divergence import check_scores

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from hf_transfer.comparisons import Comparisons
    from hf_transfer.data import Data
    from hf_transfer.strategies.phases import Phase
    from hf_transfer.tasks.task import Prepared, Task
    from hf_transfer.training.setup import Setup

SHOWN = 500  # characters of a text in predictions.parquet


def shifts(task: Task) -> bool:
    """Whether a place has to find the next token, and not its own."""
    return task.name == "text-generation"


def check_asked(strategy: Any, pooling: str | None, peft_config: Any, compared: Comparisons) -> None:
    """Refuse what needs labels or a head for them, before anything is loaded.

    Args:
        compared: what is to be measured beside the result; all but the probe are refused where they were asked for.

    Raises:
        Problems: all of them.
    """
    from hf_transfer.strategies.peft_methods import kind_of, merges, name_of

    found = []
    if strategy == "auto":
        what = "auto looks at labels, and there are none"
        found.append(Problem("--strategy", what, "choose full or partial:N"))
    what = "compares answers by label, and a language model gives none"
    for name in ("watch_forgetting", "forgetting_file", "compare_scratch"):
        if not getattr(compared, name):
            continue
        found.append(Problem(f"--{name}", what, "use it in the task that comes after"))
    if pooling is not None:
        found.append(Problem("--pooling", "is for heads of labels, and there are none", "leave it out"))
    if peft_config is not None and not merges(kind_of(peft_config)):
        what = f"{name_of(peft_config)} leaves no merged model for the task that comes after"
        found.append(Problem("--peft", what, "choose lora, dora, rslora or ia3"))
    if found:
        raise Problems(*found)


def check_phases(phases: Sequence[Phase]) -> None:
    """Refuse strategies that solve a head or learn from pairs: both are made of labels.

    Raises:
        Problems: the first such phase.
    """
    for phase in phases:
        if phase.solve or phase.pairs:
            what = f"phase {phase.name} needs labels, and texts for a language model have none"
            raise Problems(
                Problem("--strategy", what, "choose full, partial:N, two-phase, gradual, bitfit or norms")
            )


def head_words(model: Any, new: Sequence[str]) -> list[dict[str, str]]:
    """A warning where the checkpoint brings no language-modelling head, as sentence encoders do not."""
    if not new:
        return []
    output, table = model.get_output_embeddings(), model.get_input_embeddings()
    tied = output is not None and output.weight is table.weight
    rest = (
        "its output layer is the table of word embeddings, which is pretrained, so little has to be learned"
        if tied
        else "its output layer has to be learned from nothing, which takes many texts"
    )
    what = f"the checkpoint has no head for this: a new one is drawn; {rest}. Perplexity before training says nothing"
    mend = "" if tied else "choose a checkpoint with such a head"
    return [{"where": "model", "what": what, "mend": mend}]


def token_losses(logits: Any, labels: torch.Tensor, shifted: bool) -> torch.Tensor:
    """Per row the sum of its token losses in nats, and how many tokens: (B, 2).

    Args:
        logits: (B, T, V), or a tuple that begins with them.
        labels: (B, T), -100 where nothing is to be found.
        shifted: place t has to find the token at t + 1.
    """
    import torch
    from torch.nn import functional

    scores = logits[0] if isinstance(logits, (tuple, list)) else logits
    if shifted:
        scores, labels = scores[:, :-1], labels[:, 1:]
    flat = functional.cross_entropy(
        scores.float().reshape(-1, scores.shape[-1]), labels.reshape(-1), ignore_index=-100, reduction="none"
    )
    counts = labels.ne(-100).sum(dim=1)
    return torch.stack([flat.reshape(labels.shape).sum(dim=1), counts.to(flat.dtype)], dim=1)


@dataclass(frozen=True)
class Logged:
    """What Trainer keeps of an evaluation's batch in place of its scores, which for all words would fill the memory."""

    shifted: bool

    def __call__(self, logits: Any, labels: torch.Tensor) -> torch.Tensor:
        """See `token_losses`."""
        return token_losses(logits, labels, self.shifted)


def measured(found: Any) -> dict[str, float]:
    """What Trainer logs at an evaluation, and chooses the best model by."""
    return {"perplexity": perplexity(np.asarray(found.predictions, dtype=np.float64))["perplexity"]}


def read_losses(setup: Setup, splits: Sequence[str], shifted: bool) -> dict[str, np.ndarray]:
    """`token_losses` of every row of the splits, (rows, 2) each, in eval mode; on all processes the same."""

    def read(model: Any, inputs: dict[str, Any]) -> Any:
        labels = inputs.pop("labels")
        return token_losses(model(**inputs)["logits"], labels, shifted)

    args, found = setup.args, {}
    model = setup.model.to(args.device)
    for split in splits:
        losses = shared_scores(
            model, setup.prepared.splits[split], setup.collator, args.per_device_eval_batch_size,
            (args.process_index, args.world_size), read=read, title="measuring perplexity",
        )  # fmt: skip
        check_scores(losses, split)
        found[split] = losses.astype(np.float64)
    return found


def assess_language(
    setup: Setup, data: Data, splits: list[str], shifted: bool, before: dict[str, np.ndarray]
) -> Assessment:
    """Perplexity on the named splits, with its interval over texts, beside what it was before training.

    Args:
        before: `read_losses` of the untouched checkpoint; its perplexity is the baseline.
    """
    found = Assessment(logits=read_losses(setup, splits, shifted))
    for split, losses in found.logits.items():
        prefix, origins = PREFIX[split], np.asarray(setup.prepared.origins[split])
        now = perplexity(losses)
        found.results[f"{prefix}_perplexity"] = now["perplexity"]
        if span := interval(losses, origins):
            (
                found.results[f"{prefix}_perplexity_ci95_low"],
                found.results[f"{prefix}_perplexity_ci95_high"],
            ) = span
        if split in before:
            was = perplexity(before[split])
            found.results |= {f"{prefix}_baseline_{key}": value for key, value in was.items()}
        found.results[f"{prefix}_loss"] = now["loss"]
        found.results[f"{prefix}_samples"] = len(data.splits[split])
    if splits:
        shown = "test" if "test" in splits else splits[-1]
        found.predictions = losses_table(data, shown, setup.prepared, found.logits[shown])
    return found


def losses_table(data: Data, split: str, prepared: Prepared, losses: np.ndarray) -> pd.DataFrame:
    """`row, split, tokens, loss, text`: per text (or block of texts, named by its first) what its tokens cost."""
    import pandas as pd

    places = prepared.origins[split]
    rows = data.splits[split]
    texts, numbers = rows["text"][:], rows["row"][:]
    return pd.DataFrame(
        {
            "row": [numbers[place] for place in places],
            "split": split,
            "tokens": losses[:, 1].astype(int),
            "loss": losses[:, 0] / np.maximum(1.0, losses[:, 1]),
            "text": [texts[place][:SHOWN] for place in places],
        }
    )


def last_scores(model: Any, tokenizer: Any, texts: Sequence[str]) -> np.ndarray:
    """Scores (n, V) behind the last token of each text, one at a time, as the fresh process of `reload` computes them."""
    import torch

    found = []
    for text in texts:
        inputs = tokenizer(text, truncation=True, return_tensors="pt")
        with torch.no_grad():
            found.append(model(**inputs)["logits"][0, -1].float().numpy())
    return np.stack(found)
