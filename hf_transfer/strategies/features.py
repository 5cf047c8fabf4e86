"""Where a model reads its scores off, found by looking at one run; and the features that stand before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_transfer.anatomy import HEAD, LayerGroup, unwrapped

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Readout:
    """The last linear layer of a head, and the linear layer before it if there is one.

    Attributes:
        scores: full name of the layer whose output the logits are.
        dense: full name of the layer whose output, through `activation`, is the input of `scores`; None if the
            features come straight from the backbone.
        activation: its name among transformers' activations.
        tokens: full name of the backbone, where it gives a vector for each token of the attention mask.
        width: length of these vectors.
    """

    scores: str
    dense: str | None = None
    activation: str | None = None
    tokens: str | None = None
    width: int | None = None


def find_readout(model: nn.Module, groups: list[LayerGroup], inputs: dict[str, Any]) -> Readout | None:
    """The readout of `model`, or None where its scores are not a linear function of features.

    The model runs on `inputs` (a batch without labels) in eval mode. The readout is the last linear layer of the head
    with which taken out the model gives features that this layer maps to its logits; so it does not matter whether
    the model pools before the layer or after it (decoders score every position and pick one).
    """
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            calls, logits = _calls(model, _linears(model, groups), inputs)
            for name in dict.fromkeys(reversed([name for name, _, _ in calls])):
                layer: Any = model.get_submodule(name)
                if layer.weight.shape[0] != logits.shape[-1]:
                    continue
                features = _without(model, name, inputs)
                if _same(features, logits, layer):
                    return _with_dense(model, name, features, calls)
    except (RuntimeError, TypeError, ValueError, LookupError):
        return None  # a head that cannot do without one of its layers: it is trained like any other
    finally:
        model.train(was_training)
    return None


def read(model: nn.Module, readout: Readout, inputs: dict[str, Any]) -> torch.Tensor:
    """Features (B, D) of a batch: the input of the first of the readout's layers. Gradients go through."""
    if readout.dense is None:
        return _without(model, readout.scores, inputs)
    with _watched(model, [readout.dense]) as calls:
        model(**inputs)
    return calls[-1][1]


def find_tokens(model: nn.Module, inputs: dict[str, Any]) -> tuple[str, int] | None:
    """Full name of the backbone of a text model and H, if it gives one vector (H) for each place of the attention mask (B, T).

    An encoder with a decoder has none: which of the two would be read is not settled. Nor has a class that gives its backbone more
    than the batch (Longformer's global attention): run alone, as the mean over the tokens is read, it would give other vectors.
    """
    import torch

    from hf_transfer.anatomy.head import backbone

    inner, _ = unwrapped(model)
    base, mask = backbone(inner), inputs.get("attention_mask")
    if base is inner or mask is None or getattr(inner.config, "is_encoder_decoder", False):
        return None
    name = next(name for name, module in model.named_modules() if module is base)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            with _watched(model, [name]) as calls:
                model(**inputs)
            hidden = hidden_states(calls[-1][2]) if calls else None
            if hidden is None or hidden.dim() != 3 or hidden.shape[:2] != mask.shape:
                return None
            alone = hidden_states(base(**inputs))
    except (RuntimeError, TypeError, ValueError):  # it needs what only its class gives it
        return None
    finally:
        model.train(was_training)
    alike = torch.allclose(alone * mask.unsqueeze(-1), hidden * mask.unsqueeze(-1), rtol=1e-3, atol=1e-5)
    return (name, hidden.shape[-1]) if alike else None


def read_both(model: nn.Module, readout: Readout, inputs: dict[str, Any]) -> torch.Tensor:
    """`read` (B, D) and, where there are tokens, their mean (B, H) beside it, from one forward pass: (B, D + H)."""
    import torch

    if readout.tokens is None:
        return read(model, readout, inputs)
    with _watched(model, [readout.tokens]) as calls:
        own = read(model, readout, inputs)
    means = mean_of(hidden_states(calls[-1][2]), inputs["attention_mask"])
    return torch.cat([own.float(), means.float()], dim=1)


def hidden_states(output: Any) -> Any:
    """The last hidden states (B, T, H) of a backbone's output; None if it holds none."""
    found = getattr(output, "last_hidden_state", None)
    return output[0] if found is None and isinstance(output, tuple) else found


def mean_of(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean (B, H) of hidden states (B, T, H) over the tokens of a mask (B, T), scaled to length one.

    As sentence-transformers' Pooling and Normalize do. Encoders of sentences were trained to be compared by cosine, and heads on
    vectors of one length do better where rows are few (docs/strategies.md).
    """
    from torch.nn.functional import normalize

    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return normalize((hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9), dim=1)


def _layer(model: nn.Module, name: str) -> Any:
    """A layer by its full name, also of a model that several processes share (DDP wraps it as `module`)."""
    from torch.nn.parallel import DistributedDataParallel

    return (model.module if isinstance(model, DistributedDataParallel) else model).get_submodule(name)


def _linears(model: nn.Module, groups: list[LayerGroup]) -> list[str]:
    from torch import nn

    head = {name for group in groups if group.name == HEAD for name in group.parameters}
    return [
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear and f"{name}.weight" in head
    ]


Call = tuple[str, Any, Any]  # name of a layer, its input, its output


@contextmanager
def _watched(model: nn.Module, names: list[str]) -> Iterator[list[Call]]:
    calls: list[Call] = []

    def note(name: str) -> Callable[..., None]:
        return lambda module, args, output: calls.append((name, args[0] if args else None, output))

    handles = [_layer(model, name).register_forward_hook(note(name)) for name in names]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _calls(model: nn.Module, names: list[str], inputs: dict[str, Any]) -> tuple[list[Call], torch.Tensor]:
    with _watched(model, names) as calls:
        logits = model(**inputs)["logits"]
    return calls, logits


def _without(model: nn.Module, name: str, inputs: dict[str, Any]) -> torch.Tensor:
    """What the model gives as logits when this layer hands on its input."""
    handle = _layer(model, name).register_forward_hook(lambda module, args, output: args[0])
    try:
        found: torch.Tensor = model(**inputs)["logits"]
        return found
    finally:
        handle.remove()


def _same(features: Any, logits: torch.Tensor, layer: Any) -> bool:
    import torch

    fits = features.dim() == 2 and features.shape == (len(logits), layer.weight.shape[1])
    scores = torch.nn.functional.linear(features, layer.weight, layer.bias) if fits else None
    return scores is not None and torch.allclose(scores, logits, rtol=1e-3, atol=1e-5)


def _with_dense(model: nn.Module, scores: str, features: torch.Tensor, calls: list[Call]) -> Readout:
    """Whether the layer called before it is a dense layer whose activation the features are."""
    import torch
    from transformers.activations import ACT2FN

    for name, given, output in reversed(calls):
        if name == scores or given.dim() != 2 or output.shape != features.shape:
            continue
        for activation in ACT2FN:
            try:
                mapped = ACT2FN[activation](output)
            except (RuntimeError, TypeError, ValueError):  # gated or with weights of its own
                continue
            if mapped.shape == features.shape and torch.allclose(mapped, features, rtol=1e-4, atol=1e-6):
                return Readout(scores, name, activation)
    return Readout(scores)
