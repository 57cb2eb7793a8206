"""What a trainer is made of and is given: errors in words for what could not work, or would silently do nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tinygrad_norm.checks import Range, check_number, check_type, described
from tinygrad_norm.data.datasets import ArrayDataset
from tinygrad_norm.nn import Module
from tinygrad_norm.optim import LRScheduler, Optimizer, ReduceLROnPlateau
from tinygrad_norm.training.callbacks import Callback

_CLIPPING = Range("a number above 0, or None for no clipping", lambda value: value > 0)


def check_parts(model: Any, optimizer: Any, schedule: Any, **clipping: Any) -> None:
    """Check that the parts of a trainer are of the right types, and that each is of the others.

    Optimizers that share their groups, as Lookahead does with the one that it wraps, are the same here.

    Raises:
        TypeError: one is of another type.
        ValueError: the optimizer has none of the model's parameters, the schedule is of another optimizer, or a limit
            of the gradients, given by its name, is not above 0.
    """
    check_type("Trainer: model", model, Module, "a Module")
    check_type("Trainer: optimizer", optimizer, Optimizer, "an Optimizer")
    own = {id(parameter) for parameter in model.parameters()}
    if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
        raise ValueError(
            "Trainer: the optimizer has none of the model's parameters, so nothing would be learned; was the model "
            "rebuilt or copied after the optimizer was made?"
        )
    if schedule is not None:
        kinds = LRScheduler, ReduceLROnPlateau
        check_type("Trainer: schedule", schedule, kinds, "one of optim's, such as optim.StepLR")
        if schedule.optimizer.param_groups is not optimizer.param_groups:
            raise ValueError(
                f"Trainer: the schedule {type(schedule).__name__} writes the learning rates of another optimizer; make "
                "it with the one that is trained with"
            )
    for name, limit in clipping.items():
        if limit is not None:
            check_number(f"Trainer: {name}", limit, _CLIPPING)


def check_loss(loss: Any) -> None:
    """Raise a TypeError for a loss that cannot be called, or a class of losses."""
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"Trainer: loss is a function of (output, targets), got {described(loss)}")


def check_callbacks(callbacks: Any) -> list[Callback]:
    """Return the callbacks as a list; raise a TypeError for what is none."""
    if not isinstance(callbacks, Iterable) or isinstance(callbacks, str):
        raise TypeError(f"Trainer: callbacks are a list of Callbacks, got {described(callbacks)}")
    listed = list(callbacks)
    for callback in listed:
        check_type("Trainer: each of callbacks", callback, Callback, "a Callback")
    return listed


def check_loader(name: str, loader: Any) -> None:
    """Raise a TypeError for a loader that cannot be iterated, or a data set in its place."""
    is_data = isinstance(loader, ArrayDataset)
    if is_data or not any(hasattr(type(loader), way) for way in ("__iter__", "__getitem__", "resume")):
        given = "a data set alone; did you mean DataLoader(dataset, batch_size)?" if is_data else described(loader)
        raise TypeError(f"{name} is a loader or a list of batches (inputs, targets), got {given}")


def used_up(loader: Any) -> str:
    """Return the end of the error about a loader without batches: what is wrong with one that is iterated but once."""
    if not isinstance(loader, Iterator):
        return ""
    return f"; a {type(loader).__name__} gives one epoch; give a loader or a list"
