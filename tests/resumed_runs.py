"""A short run of a tiny model, begun or gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny

from hf_transfer import finetune

ARGS: dict[str, Any] = {"max_steps": 2, "save_strategy": "no", "eval_strategy": "no", "report_to": "none"}


ARGS |= {"load_best_model_at_end": False, "disable_tqdm": True, "do_eval": False, "do_predict": False}


STEPS = {"save_strategy": "steps", "save_steps": 1}


def go_on(folder: Path, args: dict[str, Any], resume: bool = False, **changes: Any) -> Any:
    given = {"model": folder / "model", "rows": tiny.rows(40)} | changes
    model, rows = given.pop("model"), given.pop("rows")
    args = ARGS | {"output_dir": str(folder / "run"), "resume_from_checkpoint": resume} | args
    more = {"cpu_threads": 1, "skip_reload_check": True, "probe": False} | given
    return finetune("text-classification", model, rows, args=args, **more)
