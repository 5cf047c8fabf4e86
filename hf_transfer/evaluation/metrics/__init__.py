"""The shipped metrics, each an `evaluate.Metric` in a folder of its own as `evaluate.load` wants it."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from hf_transfer.problems import Problem, Problems, nearest

SHIPPED = (
    "accuracy",
    "f1",
    "map",
    "matthews_correlation",
    "mse",
    "pearsonr",
    "roc_auc",
    "spearmanr",
    "top5_accuracy",
)


@lru_cache
def load_metric(name: str, config_name: str | None = None) -> Any:
    """An `evaluate.Metric` by shipped name, by path (`my_metric/` or `my_metric/my_metric.py`) or by Hub id.

    Args:
        name: a name of `SHIPPED`, which comes first and needs no network; else what `evaluate.load` takes.
        config_name: `multilabel` for 0/1 matrices, `multiclass` for `roc_auc` of more than two classes, the
            names that the Hub's own metrics use.

    Raises:
        Problems: there is no such metric, it cannot be reached, or it needs a package that is missing.

    The first call imports `evaluate`, which takes seconds. Results are kept in memory, not in files.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        os.environ.setdefault("HF_EVALUATE_OFFLINE", "1")  # evaluate reads a switch of its own, when imported
    import evaluate

    if name in SHIPPED:  # imported where it lies: evaluate.load would first copy it into the user's cache
        shipped = evaluate.loading.import_main_class(f"{__name__}.{name}.{name}")
        return shipped(config_name=config_name, keep_in_memory=True)
    try:
        return evaluate.load(name, config_name=config_name, keep_in_memory=True)
    except Exception as error:  # no such file, any failure of the network, or of the metric's own code
        what = f"cannot be loaded{nearest(name, SHIPPED)}: {error}"
        mend = f"name one that is shipped ({', '.join(SHIPPED)}), a file of yours, or a Hub id when online"
        raise Problems(Problem(f"metric {name}", what, mend)) from error
