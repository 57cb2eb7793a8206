"""What a trainer is made of and is given: errors in words for what could not work, or would silently do nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tinygrad_norm.checks import Range, check_number
from tinygrad_norm.data.datasets import ArrayDataset
from tinygrad_norm.nn import Module
from tinygrad_norm.optim import LRScheduler, Optimizer, ReduceLROnPlateau
from tinygrad_norm.training.callbacks import Callback

_CLIP_NORM = Range("a number above 0, or None for no clipping", lambda value: value > 0)


def check_model_and_optimizer(model: Any, optimizer: Any) -> None:
    """Raise a TypeError for what is neither, and a ValueError if the optimizer has none of the model's parameters."""
    if not isinstance(model, Module):
        raise TypeError(f"Trainer: model is a Module, got {_named(model)}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"Trainer: optimizer is an Optimizer, got {_named(optimizer)}")
    own = {id(parameter) for parameter in model.parameters()}
    if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
        raise ValueError(
            "Trainer: the optimizer has none of the model's parameters, so nothing would be learned; was the model "
            "rebuilt or copied after the optimizer was made?"
        )


def check_loss(loss: Any) -> None:
    """Raise a TypeError for a loss that cannot be called, or a class of losses."""
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"Trainer: loss is a function of (output, targets), got {_named(loss)}")


def check_schedule(schedule: Any, optimizer: Optimizer) -> None:
    """Raise a TypeError for what is no schedule, and a ValueError for one of another optimizer.

    Optimizers that share their groups, as Lookahead does with the one that it wraps, are the same here.
    """
    if schedule is None:
        return
    if not isinstance(schedule, (LRScheduler, ReduceLROnPlateau)):
        raise TypeError(f"Trainer: schedule is one of optim's, such as optim.StepLR, got {_named(schedule)}")
    if schedule.optimizer.param_groups is not optimizer.param_groups:
        raise ValueError(
            f"Trainer: the schedule {type(schedule).__name__} writes the learning rates of another optimizer; make it "
            "with the one that is trained with"
        )


def check_callbacks(callbacks: Any) -> list[Callback]:
    """Return the callbacks as a list; raise a TypeError for what is none."""
    if not isinstance(callbacks, Iterable) or isinstance(callbacks, str):
        raise TypeError(f"Trainer: callbacks are a list of Callbacks, got {_named(callbacks)}")
    listed = list(callbacks)
    for callback in listed:
        if not isinstance(callback, Callback):
            raise TypeError(f"Trainer: each of callbacks is a Callback, got {_named(callback)}")
    return listed


def check_clip_norm(clip_norm: Any) -> None:
    """Raise a TypeError for what is no number, and a ValueError for one that is not above 0."""
    if clip_norm is not None:
        check_number("Trainer: clip_norm", clip_norm, _CLIP_NORM)


def check_loader(name: str, loader: Any) -> None:
    """Raise a TypeError for a loader that cannot be iterated, or a data set in its place."""
    if isinstance(loader, ArrayDataset):
        given = "a data set alone; did you mean DataLoader(dataset, batch_size)?"
    elif isinstance(loader, Iterable) or hasattr(type(loader), "__getitem__") or hasattr(type(loader), "resume"):
        return
    else:
        given = _named(loader)
    raise TypeError(f"{name} is a loader or a list of batches (inputs, targets), got {given}")


def used_up(loader: Any) -> str:
    """Return the end of the error about a loader without batches: what is wrong with one that is iterated but once."""
    if not isinstance(loader, Iterator):
        return ""
    return f"; a {type(loader).__name__} gives one epoch; give a loader or a list"


def _named(given: Any) -> str:
    """What was given in words: a text as it is, a class with the call that was probably meant, else the type."""
    if isinstance(given, type):
        return f"the class {given.__name__}; did you mean {given.__name__}(...)?"
    return repr(given) if given is None or isinstance(given, str) else type(given).__name__
