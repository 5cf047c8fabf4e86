"""How a checked model is put in the modes it trains in, and left as it was."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from hf_transfer.checking.subject import Subject
from hf_transfer.strategies.freezing import still_modules


@contextmanager
def unchanged(subject: Subject) -> Iterator[None]:
    """Modes, `requires_grad`, buffers, the Trainer's own fields and all random states are afterwards as before."""
    model, trainer = subject.model, subject.trainer
    modes = [(module, module.training) for module in model.modules()]
    learning = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    fields = dict(vars(trainer)) if trainer is not None else {}
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if devices:
            torch.cuda.set_rng_state_all(devices)
        _set_modes(modes)
        for parameter, learns in learning:
            if parameter.requires_grad != learns:  # by a train() that freezes
                parameter.requires_grad_(learns)
        for buffer, kept in buffers:
            if not buffer.is_meta and not torch.equal(buffer, kept):
                buffer.data.copy_(kept)
        if trainer is not None:
            vars(trainer).clear()
            vars(trainer).update(fields)


def _set_modes(modes: Iterable[tuple[nn.Module, bool]]) -> None:
    """Set one by one: train() and eval() may be overridden."""
    for module, training in modes:
        module.training = training


@contextmanager
def as_in_training(subject: Subject) -> Iterator[None]:
    """The modes in which the model will train: a Trainer calls train() before every step, and so do most loops.

    A model in train mode without a Trainer is taken as it is: its modes were set by hand.
    """
    modes = [(module, module.training) for module in subject.model.modules()]
    try:
        if subject.trainer is not None or not subject.model.training:
            subject.model.train()
        if subject.is_ours:
            for module in still_modules(subject.model):
                module.eval()
        yield
    finally:
        _set_modes(modes)
