"""An adapter and its base model as one plain model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_transfer.adapters import merged
from hf_transfer.problems import Problem, Problems
from hf_transfer.run import Run
from hf_transfer.run_folder import ADAPTER, RUN
from hf_transfer.strategies.peft_methods import merges

CONFIG = "adapter_config.json"
# PEFT's task types, for adapters that do not say the class of their base model.
AUTO_CLASSES = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "FEATURE_EXTRACTION": "AutoModel",
}


@dataclass(frozen=True)
class Adapter:
    """An adapter folder, what its config says, and the run folder around it, which knows the labels."""

    folder: Path
    config: dict[str, Any]
    run: Path | None


@dataclass(frozen=True)
class Merged:
    """The base model that was taken, the labels of the result, and what the user should know about it."""

    base: str
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def merge(source: str | Path, out: str | Path, base: str | None = None) -> Merged:
    """Merge an adapter into its base model and save plain weights, label map and processor in `out`.

    Args:
        source: a run folder that holds `adapter/`, or an adapter folder.
        out: a new or empty folder.
        base: folder or Hub id of the base model; by default the one that the adapter names.

    Raises:
        Problems: no adapter there, `out` is not empty, the base model is not found or does not fit.
    """
    adapter, out = find_adapter(Path(source)), Path(out)
    check_merges(adapter)
    check_free(out)
    name = base or adapter.config.get("base_model_name_or_path")
    if not name:
        raise Problems(Problem(str(adapter.folder), "does not say its base model", "give it with --base"))
    model = _merged(adapter, str(name))
    processor = _processor(adapter, str(name))
    with _whole(out) as folder:
        model.save_pretrained(str(folder))
        if processor is not None:
            processor.save_pretrained(str(folder))
    labels = tuple(str(label) for label in getattr(model.config, "id2label", {}).values())
    notes = []
    if adapter.run is None and hasattr(model.config, "id2label"):
        notes.append(
            f"the adapter keeps no label names: they are {', '.join(labels[:5])} ...; edit {out}/config.json"
        )
    if processor is None:
        notes.append("neither the adapter nor its base model has a tokenizer or image processor: add it")
    return Merged(str(name), labels, tuple(notes))


def find_adapter(source: Path) -> Adapter:
    """The adapter in a run folder or an adapter folder.

    Raises:
        Problems: there is none; said apart for a run without PEFT.
    """
    if not source.is_dir():
        raise Problems(
            Problem(str(source), "there is no such folder", "give a run folder or an adapter folder")
        )
    folder = source if (source / CONFIG).is_file() else source / ADAPTER
    if not (folder / CONFIG).is_file():
        if (source / RUN).is_file():
            what = "this run has no adapter/: it was trained without PEFT, and is a plain model already"
            raise Problems(Problem(str(source), what))
        mend = "give the output_dir of a run with --peft lora, or a folder that PEFT's save_pretrained wrote"
        raise Problems(Problem(str(source), f"no adapter here (there is no {CONFIG})", mend))
    if folder != source:
        Run.open(source)  # says so when the run has not finished
    around = next((path for path in (source, folder.resolve().parent) if (path / RUN).is_file()), None)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise Problems(Problem(str(folder / CONFIG), f"is not JSON ({error})", "copy it again")) from error
    return Adapter(folder, config, around)


def check_merges(adapter: Adapter) -> None:
    """Refuse an adapter that is no change of weights.

    Raises:
        Problems: see above.
    """
    kind = str(adapter.config.get("peft_type", ""))
    if not merges(kind):
        what = f"{kind.lower().replace('_', ' ')} adds layers or tokens, which plain weights cannot hold"
        mend = f"hft predict and hf_transfer.load_adapter(model, {str(adapter.folder)!r}) use it as it is"
        raise Problems(Problem(str(adapter.folder), what, mend))


def check_free(out: Path) -> None:
    """Refuse a folder that holds something, or that cannot be made.

    Raises:
        Problems: see above.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "is not empty" if out.is_dir() else "is a file"
        raise Problems(Problem(str(out), what, "name a new folder"))
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise Problems(Problem(str(out), f"{nearest} cannot be written", "name another folder"))


def _merged(adapter: Adapter, base: str) -> Any:
    """The plain model in fp32, with the labels and thresholds of the run."""
    import torch
    import transformers
    from peft import PeftModel

    from hf_transfer.training.checkpoints import load_pretrained

    auto = _model_class(adapter)
    if adapter.run:
        config = transformers.AutoConfig.from_pretrained(str(adapter.run))
    else:
        config = _renamed(load_pretrained, "AutoConfig", base)
        count = _outputs(adapter, getattr(transformers, auto), config)
        if count is not None:
            config.num_labels = count
    options = {"dtype": torch.float32, "ignore_mismatched_sizes": True, "output_loading_info": True}
    model, loading = _renamed(load_pretrained, auto, base, config=config, **options)
    saved = {name for name, _ in _weights(adapter)}
    new = {*loading["missing_keys"], *(key[0] for key in loading["mismatched_keys"])} - saved
    try:
        if new:  # drawn at random, and not part of the adapter
            raise ValueError(
                f"{len(new)} weights are missing there or of another size: {', '.join(sorted(new)[:3])}"
            )
        model = merged(PeftModel.from_pretrained(model, str(adapter.folder)), safe=True)
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        what = f"does not fit {base}: " + " ".join(str(error).split())[:300]
        mend = "give the model it was trained on with --base"
        raise Problems(Problem(str(adapter.folder), what, mend)) from error
    model.config._name_or_path = ""  # a folder of this machine, otherwise
    return model.eval()


def _model_class(adapter: Adapter) -> str:
    """Name of the transformers class; PEFT writes it down where the adapter has no task type."""
    import transformers

    from hf_transfer.tasks import find

    if adapter.run:
        return find(Run.open(adapter.run).record["task"]).auto_class
    named = (adapter.config.get("auto_mapping") or {}).get("base_model_class")
    if named and hasattr(transformers, named):
        return str(named)
    task = adapter.config.get("task_type")
    if task not in AUTO_CLASSES:
        what = f"says neither the class of its base model nor a task type that is known ({task!r})"
        raise Problems(Problem(str(adapter.folder / CONFIG), what, "give the run folder instead"))
    return AUTO_CLASSES[task]


def _outputs(adapter: Adapter, auto: Any, config: Any) -> int | None:
    """How many labels the adapter's own head has, from the shape that a head of two labels has not."""
    import torch

    config.num_labels = 2
    with torch.device("meta"):
        plain = auto.from_config(config) if hasattr(auto, "from_config") else auto(config)
    shapes = {name: tuple(parameter.shape) for name, parameter in plain.named_parameters()}
    for name, shape in _weights(adapter):
        if name in shapes and shapes[name] != shape and shapes[name][1:] == shape[1:]:
            return shape[0]
    return None


def _weights(adapter: Adapter) -> list[tuple[str, tuple[int, ...]]]:
    """Names, as the plain model has them, and shapes of what the adapter's file holds."""
    from safetensors import safe_open

    path = adapter.folder / "adapter_model.safetensors"
    if not path.is_file():
        what = "there is no adapter_model.safetensors beside its configuration"
        raise Problems(
            Problem(str(adapter.folder), what, "copy the whole folder, or save it with safetensors")
        )
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        return [(n.removeprefix("base_model.model."), tuple(file.get_slice(n).get_shape())) for n in names]


def _processor(adapter: Adapter, base: str) -> Any:
    """The processor as trained with, else the base model's; None if neither has one."""
    import transformers

    from hf_transfer.tasks import find

    classes = ["AutoTokenizer", "AutoImageProcessor"]
    if adapter.run:
        classes = [find(Run.open(adapter.run).record["task"]).processor_class]
    for place in (adapter.run, adapter.folder, base):
        for name in classes if place else ():
            try:
                return getattr(transformers, name).from_pretrained(str(place))
            except (OSError, ValueError, KeyError, ImportError):
                continue
    return None


def _renamed(load: Any, *args: Any, **options: Any) -> Any:
    """`load_pretrained` with problems that speak of our flag."""
    try:
        return load(*args, **options)
    except Problems as error:
        raise Problems(*(replace(problem, where="--base") for problem in error.problems)) from error


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder to write into, whose files move to `out` when all are written; gone if something fails."""
    beside = out.absolute().parent / f".{out.absolute().name}.{os.getpid()}.partial"
    beside.mkdir(parents=True)
    try:
        yield beside
        out.mkdir(exist_ok=True)
        for path in beside.iterdir():
            path.rename(out / path.name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
