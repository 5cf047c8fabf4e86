"""What a run begins from: the checkpoint with the data's labels, its processor, and the rows as it takes them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_transfer.adaptation.base import adapted_base
from hf_transfer.embedded import hub_id_of
from hf_transfer.licenses import base_license
from hf_transfer.models import adapted, as_scored, fingerprint, in_fp32, loaded, new_parameters
from hf_transfer.problems import Problem, Problems
from hf_transfer.run_folder import is_pooled

if TYPE_CHECKING:
    from hf_transfer.data import Data
    from hf_transfer.strategies.regularization import Regularization
    from hf_transfer.tasks.task import Task


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint, ready to be trained on some data.

    Attributes:
        model: in fp32, with blocks drawn anew and an adapter where they were asked for.
        processor: tokenizer or image processor.
        data: as given, or with its labels in the order of the checkpoint's head.
        prepared: its rows as model inputs.
        facts: name, class, names of the parameters that the checkpoint lacked, a mark of its weights, licence.
        config: of the checkpoint with the data's labels, before anything was changed.
        redrawn: names of the parameters that were drawn anew.
        notes: sentences for the plan.
    """

    model: Any
    processor: Any
    data: Data
    prepared: Any
    facts: dict[str, Any]
    config: Any
    redrawn: list[str]
    notes: list[str]


def pretrained(
    task: Task,
    model: Any,
    processor: Any,
    data: Data,
    args: Any,
    *,
    regularization: Regularization,
    peft_config: Any,
    loraplus_lr_ratio: float | None,
    max_length: int | None,
    base_model_id: str | None,
) -> Pretrained:
    """Load the model, fit it to the data and to what was chosen, and make the rows its inputs.

    Args:
        model: a Hub id, a folder or the model itself; processor likewise, or None for the one beside the model.

    Raises:
        Problems: model, processor, data and what was chosen do not go together.
    """
    from hf_transfer.language import head_words
    from hf_transfer.regularizing import rebuilt
    from hf_transfer.strategies.lora import adapter_notes
    from hf_transfer.strategies.prompts import leave_room

    model, processor = loaded(task, model, processor, data, args.seed)
    name, new = model.config._name_or_path, new_parameters(model)
    if not args.do_train and is_pooled(name):
        raise Problems(_only_a_head(name))
    notes = [*in_fp32(model), *task.fit(processor, model)]
    if not args.do_train and not new and task.target:
        data, told = as_scored(model, data)
        notes += told
    notes += leave_room(model, processor, peft_config)
    config = copy.deepcopy(model.config)
    prepared = task.prepare(data, processor, model, max_length)
    if not task.target:
        prepared.warnings.extend(head_words(model, new))
    facts = {"name": name, "class": type(model).__name__, "new": new, "weights": fingerprint(model, new)}
    if args.process_index == 0:
        facts |= base_license(name, base_model_id or hub_id_of(name)) | adapted_base(name)
    redrawn, told = rebuilt(model, regularization, args.seed)
    model = adapted(model, peft_config, args.seed)
    notes += [*told, *(adapter_notes(model, loraplus_lr_ratio) if peft_config is not None else [])]
    return Pretrained(model, processor, data, prepared, facts, config, redrawn, notes)


def _only_a_head(name: str) -> Problem:
    what = f"{name} reads the mean over its tokens: the class of the task does not, and has drawn a head of its own"
    return Problem("--do_train false", what, f"use it with hft predict {name}, or train")
