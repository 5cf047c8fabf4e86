"""What is told of a base model that is a language model's run: where it came from, and what it was adapted to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_transfer.data.texts import LANGUAGE
from hf_transfer.run_folder import RESULTS, RUN, read_json


def adapted_base(name: str) -> dict[str, Any]:
    """`origin`, the checkpoint that it was adapted from, and `adapted_on`, a sentence; nothing for any other model.

    Args:
        name: the folder or Hub id that a model was loaded from.
    """
    folder = Path(name)
    if not (folder / RUN).is_file():
        return {}
    record = read_json(folder / RUN)
    if record.get("problem_type") != LANGUAGE:
        return {}
    results = read_json(folder / RESULTS) if (folder / RESULTS).is_file() else {}
    texts = f"{record['data']['splits']['train']:,} texts of {record['data']['name']}, without labels"
    before, after = (results.get(key) for key in ("eval_baseline_perplexity", "eval_perplexity"))
    if record["base_model"]["new"]:  # a head that was just drawn: its perplexity says nothing
        before = None
    first = "" if before is None else f"{before:.4g} before, "
    figures = "" if after is None else f" (perplexity {first}{after:.4g} after)"
    return {"origin": record["base_model"], "adapted_on": texts + figures}
