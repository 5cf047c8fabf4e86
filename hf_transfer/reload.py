"""The proof that what was saved is what was trained: a fresh process, plain transformers and peft, the same scores."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from hf_transfer.run_folder import is_neighbours, is_pooled

# Runs alone, without hf_transfer: what any user of the saved model would write.
SCRIPT = """
import json, sys
import numpy as np, torch, transformers
job = json.load(open(sys.argv[1]))
torch.set_num_threads(job["threads"])
auto = getattr(transformers, job["auto_class"])
processor = getattr(transformers, job["processor_class"]).from_pretrained(job["folder"])
def root():
    return auto.from_pretrained(job["folder"], dtype=torch.float32)
def adapter():
    config = transformers.AutoConfig.from_pretrained(job["folder"])
    base = auto.from_pretrained(job["base"], config=config, dtype=torch.float32, ignore_mismatched_sizes=True)
    from peft import PeftModel
    model = PeftModel.from_pretrained(base, job["adapter"])
    for layer in model.modules():  # transformers' MobileNets ask these of PEFT's layers
        if isinstance(getattr(layer, "base_layer", None), torch.nn.Conv2d):
            for name in ("stride", "kernel_size", "dilation"):
                setattr(layer, name, getattr(layer.base_layer, name))
    return model
def scores_of(model):
    model.eval()
    scores = []
    for row in job["rows"]:
        if job["kind"] == "image":
            from PIL import Image
            inputs = processor(Image.open(row).convert("RGB"), return_tensors="pt")
        else:
            texts = [row["text"], row["text_pair"]] if isinstance(row, dict) else [row]
            inputs = processor(*texts, truncation=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits.float().numpy()[0]
            scores.append(logits[-1] if job["language"] else logits)
    return np.stack(scores)
# The root comes first, so that nothing of the adapter is there yet.
found = {way: scores_of({"root": root, "adapter": adapter}[way]()) for way in job["ways"]}
np.savez(job["out"], **found)
"""
# Bottleneck adapters are known to this package alone.
OWN_SCRIPT = SCRIPT.replace("from peft import PeftModel", "from hf_transfer import load_adapter").replace(
    "PeftModel.from_pretrained(base", "load_adapter(base"
)
# So are models that answer by their nearest neighbours. All rows vote: among the nearest, rounding chooses between equals.
NEIGHBOURS_SCRIPT = "import hf_transfer.knn\n" + SCRIPT.replace(
    "model.eval()", "model.eval(); model.config.k = model.config.reference_rows"
)

# A model that reads the mean over its tokens: by sentence-transformers, or where it is missing by this package.
POOLED_SCRIPT = """
import json, sys
import numpy as np, torch
job = json.load(open(sys.argv[1]))
torch.set_num_threads(job["threads"])
rows = [(row["text"], row["text_pair"]) if isinstance(row, dict) else row for row in job["rows"]]
if job["library"]:
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(job["folder"], device="cpu")
    scores = model.encode(rows, batch_size=1, show_progress_bar=False)
else:
    from hf_transfer.pooled import load
    from transformers import AutoTokenizer
    model, processor, scores = load(job["folder"]), AutoTokenizer.from_pretrained(job["folder"]), []
    for row in rows:
        inputs = processor(*(row if isinstance(row, tuple) else (row,)), truncation=True, return_tensors="pt")
        with torch.no_grad():
            scores.append(model(**inputs)["logits"].numpy()[0])
np.savez(job["out"], root=np.stack(scores))
"""


def reloaded_scores(
    folder: str | Path,
    task: Any,
    rows: list[Any],
    adapter: str | Path | None = None,
    base: str | None = None,
    root: bool = True,
) -> dict[str, np.ndarray]:
    """Logits (n, C) of raw `rows` in one fresh process: of the saved folder, and of base model plus adapter.

    Args:
        adapter: its folder, if it is read too.
        base: the model that the adapter is for.
        root: whether the folder itself holds a whole model.

    Returns:
        `{"root": logits, "adapter": logits}`, of them what was asked for.

    Raises:
        RuntimeError: the saved model could not be loaded or run, with what the process said.
    """
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        job = {
            "folder": str(folder),
            "auto_class": task.auto_class,
            "processor_class": task.processor_class,
            "adapter": str(adapter) if adapter else None,
            "ways": ["root"] * root + ["adapter"] * (adapter is not None),
            "library": find_spec("sentence_transformers") is not None,
            "base": base,
            "threads": 1,
            "kind": "image" if "image" in task.inputs else "text",
            "language": not task.target,  # scores of every word at every place: those behind the last are compared
            "rows": _portable(rows, here),
            "out": str(here / "scores.npz"),
        }
        (here / "job.json").write_text(json.dumps(job))
        script = OWN_SCRIPT if _is_ours(adapter) else POOLED_SCRIPT if is_pooled(folder) else SCRIPT
        script = NEIGHBOURS_SCRIPT if is_neighbours(folder) else script
        (here / "check.py").write_text(script)
        done = in_fresh_process(here / "check.py", here / "job.json")
        if done.returncode:
            raise RuntimeError(f"the saved model does not load in a fresh process:\n{done.stderr[-2000:]}")
        with np.load(here / "scores.npz") as found:
            return dict(found)


def in_fresh_process(script: Path, job: Path) -> subprocess.CompletedProcess[str]:
    """`python SCRIPT JOB`, which inherits nothing of this process."""
    return subprocess.run(
        [sys.executable, str(script), str(job)], capture_output=True, text=True, env=clean_environment()
    )


def _is_ours(adapter: str | Path | None) -> bool:
    told = json.loads((Path(adapter) / "adapter_config.json").read_text()) if adapter else {}
    return told.get("library") == "hf_transfer"


def _portable(rows: list[Any], folder: Path) -> list[Any]:
    """Texts as they are; images as lossless files."""
    found = []
    for i, row in enumerate(rows):
        if hasattr(row, "save"):
            row.convert("RGB").save(folder / f"{i}.png")
            row = str(folder / f"{i}.png")
        found.append(row)
    return found


def clean_environment() -> dict[str, str]:
    """The environment without a launcher's traces: the fresh process is alone, and needs no network or GPU."""
    import os

    traces = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_", "OMP_", "MASTER_")
    single = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(traces) and k not in single}
    return kept | {"CUDA_VISIBLE_DEVICES": "", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
