"""Is language forgotten? The checkpoint's masked-language-model loss on a text of the user's, before and after (Devlin et al. 2019)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_transfer.problems import Problem, Problems

if TYPE_CHECKING:
    from hf_transfer.tasks.task import Task

MOST = 256  # lines that are read, evenly spaced
SHARE, BATCH = 0.15, 16  # of the tokens is masked, as in BERT; lines at a time
FLAG = "--forgetting_file"


def general_lines(file: str | Path | None, watched: bool, task: Task) -> list[str]:
    """The lines of a text file that are looked at; none without a file.

    Raises:
        Problems: there is no such file, no text in it, or nothing that it would be used for.
    """
    if file is None:
        return []
    if not watched:
        raise Problems(Problem(FLAG, "is read where forgetting is watched", "add --watch_forgetting true"))
    if "text" not in task.inputs:
        raise Problems(Problem(FLAG, "holds text, and this model reads images", "leave it out"))
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = f"{file} cannot be read as text ({type(error).__name__})"
        raise Problems(Problem(FLAG, what, "give a text file in UTF-8, a passage a line")) from error
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise Problems(Problem(FLAG, f"{file} holds no text", "give one with a passage a line"))
    picked = np.unique(np.linspace(0, len(lines) - 1, MOST, dtype=int))
    return [lines[i] for i in picked]


def no_language_head(name: str, tokenizer: Any) -> str:
    """Why a checkpoint cannot be asked for masked words, as a sentence for the plan; empty if it can."""
    from transformers import AutoConfig, AutoModelForMaskedLM

    told = f"{FLAG} is not used: "
    if not name:
        return f"{told}the model has no name to load it again by."
    config = AutoConfig.from_pretrained(name)
    has = any(kind.endswith(("ForMaskedLM", "ForPreTraining")) for kind in config.architectures or ())
    if not has or type(config) not in AutoModelForMaskedLM._model_mapping:
        return f"{told}the checkpoint has no head for masked words ({', '.join(config.architectures or ['unknown'])})."
    return "" if tokenizer.mask_token_id is not None else f"{told}the tokenizer has no mask token."


def language_loss(name: str, trained: Any, tokenizer: Any, lines: list[str]) -> dict[str, Any] | None:
    """Mean log loss of masked words by the checkpoint, and by its head on the trained backbone.

    15 % of each line's tokens are masked, always the same.

    Args:
        name: of the checkpoint.
        trained: the trained model as it is saved, adapters merged.

    Returns:
        `rows`, `tokens` that were masked, `before` and `after`; None where the trained backbone does not fit.
    """
    import torch
    from transformers import AutoModelForMaskedLM

    from hf_transfer.anatomy.head import backbone
    from hf_transfer.loading import quiet

    with quiet():
        model, info = AutoModelForMaskedLM.from_pretrained(
            name, dtype=torch.float32, output_loading_info=True
        )
    if info["missing_keys"]:
        return None
    batches = _masked(tokenizer, lines)
    inner, new = backbone(model), backbone(trained).state_dict()
    if any(key not in new or new[key].shape != value.shape for key, value in inner.state_dict().items()):
        return None
    before = _loss(model, batches)
    inner.load_state_dict({key: new[key] for key in inner.state_dict()})
    tokens = int(sum((batch["labels"] >= 0).sum() for batch in batches))
    return {"rows": len(lines), "tokens": tokens, "before": before, "after": _loss(model, batches)}


def _masked(tokenizer: Any, lines: list[str]) -> list[dict[str, Any]]:
    """Batches with some tokens masked, and those as `labels` (-100 elsewhere)."""
    import torch

    rng, found = np.random.default_rng(0), []
    for start in range(0, len(lines), BATCH):
        batch = tokenizer(
            lines[start : start + BATCH],
            truncation=True,
            padding=True,
            return_special_tokens_mask=True,
            return_tensors="pt",
        )
        words = ~batch.pop("special_tokens_mask").bool() & batch["attention_mask"].bool()
        drawn = torch.from_numpy(rng.random(words.shape)).masked_fill(~words, 2.0)
        first = drawn == drawn.min(dim=1, keepdim=True).values  # at least one a line
        chosen = words & ((drawn < SHARE) | first)
        labels = batch["input_ids"].masked_fill(~chosen, -100)
        inputs = batch["input_ids"].masked_fill(chosen, tokenizer.mask_token_id)
        found.append({**batch, "input_ids": inputs, "labels": labels})
    return found


def _loss(model: Any, batches: list[dict[str, Any]]) -> float:
    import torch

    model.eval()
    total, tokens = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            inputs = {name: value for name, value in batch.items() if name != "labels"}
            logits, labels = model(**inputs).logits.float(), batch["labels"]
            total += float(
                torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
            )
            tokens += int((labels >= 0).sum())
    return total / max(1, tokens)
