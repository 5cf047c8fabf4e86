"""Domain adaptation: a language model goes on learning on texts of the domain, then the task begins from it.

Gururangan et al. 2020, https://arxiv.org/abs/2004.10964: on other texts of the domain (DAPT), or on the task's own
without their labels (TAPT).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_transfer.adaptation.arguments import SHARED
from hf_transfer.adaptation.results import Adaptation, gain
from hf_transfer.problems import Problem, Problems
from hf_transfer.run_folder import check_folder, holds_run

if TYPE_CHECKING:
    from hf_transfer.data import Data
    from hf_transfer.tasks.task import Task

LANGUAGE_MODEL, UNADAPTED = "language_model", "unadapted"  # folders of the other runs inside the task's


def adapt(
    model: str | Path,
    dataset: Any = None,
    *,
    domain: Any = None,
    task: Task | str = "text-classification",
    args: Mapping[str, Any] | None = None,
    adapt_args: Mapping[str, Any] | None = None,
    adapt_strategy: str | None = None,
    mlm_probability: float = 0.15,
    new_vocabulary: int = 0,
    compare: bool = False,
    **options: Any,
) -> Adaptation:
    """Adapt a checkpoint to a domain's texts, then fine-tune it for a task: two calls of `finetune`.

    Args:
        model: a folder or Hub id.
        dataset: the task's labelled data, as for `finetune`.
        domain: texts without labels, as for `load`; by default the task's own training texts. None of its validation or
            test texts is learned from.
        task: of the labelled data; its inputs are texts.
        args: training arguments of the task that differ from the defaults; `output_dir` is the folder of all runs.
        adapt_args: those of the language model.
        adapt_strategy: what learns of it; `full`, or `two-phase` where its head is new.
        mlm_probability: share of the tokens that are masked.
        new_vocabulary: give the tokenizer so many of the texts' words that it breaks into pieces.
        compare: train the task from the original checkpoint too.
        **options: further keyword arguments of `finetune` for the task, and of `load` for its data.

    Raises:
        Problems: as `finetune`; a model that is no encoder or decoder with a language-modelling form.
    """
    import inspect

    from hf_transfer.data import load
    from hf_transfer.finetuning import finetune
    from hf_transfer.tasks import find
    from hf_transfer.tasks.language_modeling import language_modeling
    from hf_transfer.training_arguments import free_folder

    task = find(task) if isinstance(task, str) else task
    known = inspect.signature(finetune).parameters
    named = {name: value for name, value in options.items() if name in known}
    read = {name: value for name, value in options.items() if name not in known}
    name, given = str(model), dict(args or {})
    seed = named.get("seed", given.get("seed"))
    language = language_modeling(name, mlm_probability)
    data = load(task, dataset, **({} if seed is None else {"seed": seed}), **read)
    texts = domain_texts(language, data, domain)
    given.setdefault("output_dir", free_folder("adaptation"))
    folders = stages(given, overwrite=bool(named.get("overwrite_output_dir")), compare=compare)
    shared = {key: named[key] for key in ("seed", *SHARED) if key in named}
    begun, tokenizer, notes = language_model(
        language, name, texts, new_vocabulary, 42 if seed is None else seed
    )
    first = finetune(
        language,
        begun,
        texts,
        processor=tokenizer,
        args=dict(adapt_args or {}) | folders[LANGUAGE_MODEL],
        strategy=adapt_strategy or adapting_strategy(begun),
        notes=notes,
        **shared,
    )
    run = finetune(task, first.output_dir, data, args=given | folders[""], **named)
    if not compare:
        return Adaptation(run, first)
    other = finetune(task, name, data, args=given | folders[UNADAPTED], **named)
    return Adaptation(run, first, other, gain(other, run))


def domain_texts(language: Task, data: Data, domain: Any = None, text_column: str | None = None) -> Data:
    """The texts to adapt to: of `domain`, or the task's own; none that equals a validation or test text of the task.

    A tenth of the domain's texts is set aside to measure on; of the task's own, validation texts are for that.
    """
    from hf_transfer.data import load
    from hf_transfer.data.texts import held_out_keys, own_texts, without

    if "text" not in data.columns:
        raise Problems(Problem("data", "a language model learns from texts, and these are images"))
    if domain is None:
        return own_texts(data)
    texts = load(language, domain, text_column=text_column, test_size=0.0)
    return without(texts, held_out_keys(data))


def language_model(
    language: Task, name: str, texts: Data, new_vocabulary: int = 0, seed: int = 42
) -> tuple[Any, Any, list[str]]:
    """The checkpoint with its language-modelling head, its tokenizer, and sentences for the plan.

    Args:
        texts: those to adapt to.
        new_vocabulary: so many of their words, at most, become tokens of their own.
        seed: a head that the checkpoint lacks is drawn from it.
    """
    from transformers import set_seed

    from hf_transfer.adaptation.vocabulary import add_vocabulary
    from hf_transfer.loading import quiet
    from hf_transfer.training.checkpoints import load_pretrained

    set_seed(seed)
    with quiet():
        model = load_pretrained(language.auto_class, name)
    tokenizer = load_pretrained(language.processor_class, name)
    notes = ["Nothing is learned from the task's validation and test texts."]
    if new_vocabulary:
        notes.append(add_vocabulary(model, tokenizer, texts.splits["train"]["text"][:], new_vocabulary)[1])
    return model, tokenizer, notes


def adapting_strategy(model: Any) -> str:
    """`full`; `two-phase` where the checkpoint brought no language-modelling head.

    What a head that was drawn at random sends back in its first steps would do harm below it: it learns first, alone.
    """
    from hf_transfer.models import new_parameters

    return "two-phase" if new_parameters(model) else "full"


def stages(
    training: Mapping[str, Any], *, overwrite: bool = False, compare: bool = False
) -> dict[str, dict[str, Any]]:
    """The training arguments in which the runs differ, by their folder inside the task's ("" for the task itself).

    Each goes on by itself where it was begun; the task alone is pushed; the language model is chosen by its perplexity.

    Args:
        training: the task's arguments, with `output_dir`.

    Raises:
        Problems: a folder holds a run that is neither resumed nor overwritten: said before the first run trains.
    """
    root, resume = Path(str(training["output_dir"])), training.get("resume_from_checkpoint")
    if resume not in (None, False, True, "true", "false", "True", "False", ""):
        what = f"{resume} is one run's checkpoint, and there are several runs"
        raise Problems(Problem("--resume_from_checkpoint", what, "give true: each goes on where it was"))
    if str(training.get("do_train", True)).lower() == "false":
        raise Problems(Problem("--do_train", "false leaves nothing to adapt", "leave it out"))
    going_on = str(resume).lower() == "true"
    names = [LANGUAGE_MODEL, "", *([UNADAPTED] if compare else [])]
    if going_on and not any(holds_run(root / name) for name in names):
        what = f"{root} holds no run to go on with"
        raise Problems(Problem("--resume_from_checkpoint", what, "name its folder with --output_dir"))
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        begun = going_on and holds_run(root / name)
        check_folder(root / name, resume=begun, overwrite=overwrite)
        found[name] = {"output_dir": str(root / name), "resume_from_checkpoint": True if begun else None}
        found[name] |= {"push_to_hub": False} if name else {}
    found[LANGUAGE_MODEL] |= {
        "metric_for_best_model": None,
        "greater_is_better": None,
        "label_smoothing_factor": 0.0,
    }
    return found
