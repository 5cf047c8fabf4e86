"""Words and numbers as readers of a report or a card see them."""

from __future__ import annotations

import math
import re
from typing import Any

METRICS = {
    "accuracy": "Accuracy",
    "f1_macro": "F1, mean over classes (macro)",
    "f1_weighted": "F1, weighted by class size",
    "f1_micro": "F1 over all labels (micro)",
    "f1": "F1",
    "map": "Mean average precision",
    "matthews_correlation": "Matthews correlation",
    "roc_auc": "Area under the ROC curve",
    "top5_accuracy": "Right label among the first five",
    "pearsonr": "Pearson correlation",
    "spearmanr": "Spearman correlation",
    "mse": "Mean squared error",
    "precision": "Precision",
    "recall": "Recall",
    "perplexity": "Perplexity",
    "loss": "Loss",
}
LOWER_IS_BETTER = ("loss", "mse", "perplexity")


def metric_name(key: str, problem_type: str = "") -> str:
    """A metric's key in words: `f1_macro` -> `F1, mean over classes (macro)`; of perplexity the task tells the kind."""
    if key == "perplexity" and problem_type == "fill-mask":
        return "Perplexity of masked tokens"
    if key == "accuracy" and problem_type == "multi_label_classification":
        return "Accuracy (all labels of a row right)"
    return METRICS.get(key, key.replace("_", " "))


def number(value: Any, digits: int = 3) -> str:
    """A figure to three decimals (or three significant digits when large or tiny); a dash when there is none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    if value == 0 or 10**-digits <= abs(value) < 1000:
        return f"{value:.{digits}f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2e}"


def count(value: Any) -> str:
    """A whole number with separators: `22,713,216`; a dash when there is none."""
    return f"{int(value):,}" if isinstance(value, int | float) and math.isfinite(value) else "–"


def rate(value: Any) -> str:
    """A learning rate as people write it: `5e-5`, `0.001`."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    text = f"{value:.3g}"
    return re.sub(r"e([+-])0*(\d)", lambda found: f"e{found[1].replace('+', '')}{found[2]}", text)


def share(value: Any) -> str:
    """A share of 1 in per cent; a small one is not rounded to nothing."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    if 0 < value < 0.001:
        return "under 0.1 %"
    return f"{value:.0%}".replace("%", " %") if value in (0, 1) else f"{value:.1%}".replace("%", " %")


def duration(seconds: Any) -> str:
    """Seconds in words: `2 min 5 s`."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


# A folder before a name: "/a/b c/d.csv", "~/x/y", "../x/y", "C:\\x\\y". What stays is the last name. A folder's name
# may hold a few blanks; words without a dot between two paths are lost, which is better than a published folder.
_NAME = r"""[^\s'"`,;:()<>|/\\]"""
_PATH = re.compile(
    r"(?<![\w/.:\\])(?:[A-Za-z]:|~|\.{1,2})?[/\\](?=\S)"
    rf"(?:(?:(?:(?!\.){_NAME})+[ ]){{0,3}}{_NAME}+[/\\])*({_NAME}*)"
)
_QUOTED = re.compile(r"""(?<!\w)(['"`])(.*?)\1(?!\w)|[«“](.*?)[»”]""", re.DOTALL)


def without_paths(text: str) -> str:
    """The text with local paths cut to their last name, so that no folder of the user's machine leaves it."""
    return _PATH.sub(lambda found: found[1] or "…", text)


def without_texts(text: str, known: list[str]) -> str:
    """The text with quoted passages replaced by `…` unless they are `known` names or single words.

    A warning may quote the row it is about; what is published must not carry rows of the data.
    """

    def keep(found: re.Match[str]) -> str:
        inner = found[2] if found[2] is not None else found[3]
        return found[0] if inner in known or (len(inner) <= 30 and " " not in inner) else "“…”"

    return _QUOTED.sub(keep, text)


def given(run: dict[str, Any]) -> dict[str, str]:
    """The training arguments that were given, and not set by a recipe; of older records those unlike transformers' defaults."""
    return settings(run.get("asked", run.get("arguments")) or {})


def settings(arguments: dict[str, Any]) -> dict[str, str]:
    """Training arguments worth showing: no folders, addresses, names of accounts or tokens; sorted."""
    hidden = re.compile(
        r"(_dir|_path|_token|_key|_url|_from_checkpoint|run_name|project|report_to)$|^hub_|^push_to"
    )
    shown = {}
    for name in sorted(arguments):
        value = arguments[name]
        if hidden.search(name) or value is None or (isinstance(value, str) and re.search(r"[/\\]", value)):
            continue
        text = str(value)
        if re.search(r"[/\\]", text):  # a folder within a list or dict
            continue
        shown[name] = text
    return shown


# By what name the templates of page and card call them.
FILTERS = {"number": number, "count": count, "share": share, "rate": rate, "duration": duration}
