"""What should learn and stays frozen, and what is frozen and moves all the same."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from hf_transfer.anatomy import is_copy
from hf_transfer.checking.subject import Subject, head_names, shown
from hf_transfer.problems import Problem
from hf_transfer.strategies.freezing import still_modules


def attributes_on_modules(subject: Subject) -> list[Problem]:
    """`module.requires_grad = True`: an attribute that torch never reads."""
    found = []
    for value, state in ((True, "frozen"), (False, "learning")):
        names = [
            name or type(module).__name__
            for name, module in subject.model.named_modules()
            if vars(module).get("requires_grad") is value
            and any(parameter.requires_grad is not value for parameter in module.parameters())
        ]
        if names:
            what = f"requires_grad = {value} was set on the module, which torch never reads: parameters in it are {state}"
            found.append(Problem(shown(names), what, f"call {names[0]}.requires_grad_({value})"))
    return found


def nothing_learns(subject: Subject) -> list[Problem]:
    """No parameter requires a gradient, although there is something to train it."""
    if subject.learning() or not (subject.trainer or subject.optimizers):
        return []
    what = "all parameters are frozen: nothing would learn"
    return [Problem(type(subject.model).__name__, what, "call requires_grad_(True) on what shall learn")]


def stale_gradients(subject: Subject) -> list[Problem]:
    """Gradients from before the freezing. A Trainer drops them when it starts."""
    if subject.trainer is not None:
        return []
    stale = {name: p for name, p in subject.frozen().items() if p.grad is not None}
    if not stale:
        return []
    moves = any(id(parameter) in subject.held for parameter in stale.values())
    effect = "the optimizer goes on moving them" if moves else "clip_grad_norm_ over the model counts them"
    what = f"frozen, but still with the gradient of an earlier step: {effect}"
    return [Problem(shown(stale), what, "set parameter.grad = None when you freeze")]


def drifting_statistics(subject: Subject) -> list[Problem]:
    """BatchNorm in train mode under frozen weights (transformers#24479). To be called as in training."""
    if not subject.learning():
        return []
    still = {id(part) for module in still_modules(subject.model) for part in module.modules()}
    names = [
        name
        for name, module in subject.model.named_modules()
        if isinstance(module, _NormBase)
        and id(module) in still
        and module.training
        and module.running_mean is not None
    ]
    if not names:
        return []
    what = (
        "BatchNorm with frozen weights in train mode: its running statistics drift with every batch, so the frozen "
        "part is another one after training" + (", and the adapter does not hold them" * subject.is_peft)
    )
    mend = (
        "put these modules in eval mode after every model.train() (a Trainer calls it before every step): override "
        "train() of the model, or use hf_transfer.finetune, which does it"
    )
    return [Problem(shown(names), what, mend)]


def noisy_features(subject: Subject) -> list[Problem]:
    """Dropout in a backbone of which nothing learns. To be called as in training."""
    if subject.is_peft or not subject.learning() or not _learns_head_alone(subject):
        return []
    names = {id(module): name for name, module in subject.model.named_modules()}
    active = [
        names[id(part)]
        for module in still_modules(subject.model)
        for part in module.modules()
        if isinstance(part, _DropoutNd) and part.p > 0 and part.training
    ]
    if not active:
        return []
    what = (
        "dropout is active in a frozen backbone: the head learns on noisy features that it never meets later"
    )
    mend = (
        "put the backbone in eval mode after every model.train(), or use hf_transfer.finetune, which does it"
    )
    return [Problem(shown(active), what, mend)]


def _learns_head_alone(subject: Subject) -> bool:
    """Whether all that learns is head; of a model that is not understood, whether 9 of 10 weights are frozen."""
    head = head_names(subject)
    if head:
        return set(subject.learning()) <= head
    frozen = sum(parameter.numel() for parameter in subject.frozen().values())
    return frozen >= 9 * sum(parameter.numel() for parameter in subject.learning().values())


def frozen_heads(subject: Subject) -> list[Problem]:
    """A head that peft left frozen, or one that was drawn anew and is frozen. (Ours may learn in a later phase.)"""
    head = (head_names(subject) if subject.learning() and not subject.is_ours else None) or frozenset()
    frozen = [name for name in subject.frozen() if name in head]
    fresh = _drawn_anew(subject.model)
    all_frozen = bool(head) and len(frozen) == len(head) and not _is_language_model(subject.model)
    if subject.is_peft and all_frozen and (fresh is None or not fresh.isdisjoint(frozen)):
        what = "the head is frozen under the adapter, and not saved with it: a new head stays random"
        mend = f"name it in the adapter's config: modules_to_save={_leaves(frozen)}"
        return [Problem(shown(frozen), what, mend)]
    new = [name for name in frozen if name in (fresh or ())]
    if not new:
        return []
    what = "not in the checkpoint, so drawn at random, and frozen: it stays random"
    mend = (
        f"name it in the adapter's config: modules_to_save={_leaves(new)}"
        if subject.is_peft
        else "let it learn: requires_grad_(True)"
    )
    return [Problem(shown(new), what, mend)]


def _is_language_model(model: nn.Module) -> bool:
    """Whether the head gives words, which the checkpoint has."""
    try:
        return getattr(model, "get_output_embeddings", lambda: None)() is not None
    except (AttributeError, NotImplementedError):
        return False


def _drawn_anew(model: nn.Module) -> set[str] | None:
    """Parameters that `from_pretrained` did not find; None where the model was not loaded by it.

    transformers marks each tensor that it has loaded. What peft keeps beside its trained copy is left out.
    """
    marks = {
        name: getattr(parameter, "_is_hf_initialized", False) for name, parameter in model.named_parameters()
    }
    if not any(marks.values()):
        return None
    return {name for name, marked in marks.items() if not marked and not is_copy(name)}


def _leaves(names: list[str]) -> list[str]:
    """The modules of these parameters, as peft's config names them."""
    modules = dict.fromkeys(name.removeprefix("base_model.model.").rpartition(".")[0] for name in names)
    return list(modules)
