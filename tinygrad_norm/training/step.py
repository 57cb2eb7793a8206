"""One step of training, one measurement, one prediction: functions of a batch that `capture` can record."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tinygrad_norm.checks import check_type
from tinygrad_norm.dtypes import Array
from tinygrad_norm.launch import launch
from tinygrad_norm.nn import Module
from tinygrad_norm.optim import Optimizer, clip_grad_adaptive, clip_grad_norm
from tinygrad_norm.plan.trees import mapped
from tinygrad_norm.tensor import Tensor

LossFunction = Callable[[Tensor, Any], Tensor]


class NotFiniteError(FloatingPointError):
    """A loss is NaN or infinite, and nothing learned from it.

    Attributes:
        value: the loss.
    """

    def __init__(self, value: float) -> None:
        super().__init__(f"the loss is {value}")
        self.value = value


def take_step(
    model: Module,
    optimizer: Optimizer,
    loss: LossFunction,
    inputs: Array,
    targets: Any,
    clip_adaptive: float | None = None,
    clip_norm: float | None = None,
) -> tuple[Any, Tensor]:
    """Update the parameters once, and return the model's output and the loss before the update.

    Raises:
        NotFiniteError: the loss is; the parameters are as before.
        TypeError, ValueError: the loss returns no Tensor of one number.
    """
    optimizer.zero_grad()
    output = model(Tensor(inputs))
    value = _one_number(loss(output, targets))
    launch(_check_finite, value.raw)  # inside of a plan too it stands before the update
    value.backward()
    if clip_adaptive is not None:
        clip_grad_adaptive(model.parameters(), clip_adaptive)
    if clip_norm is not None:
        clip_grad_norm(model.parameters(), clip_norm)
    optimizer.step()
    return _detached(output), value.detach()


def measure(model: Module, loss: LossFunction | None, inputs: Array, targets: Any) -> tuple[Any, Tensor | None]:
    """Return the model's output and the loss; None without a loss."""
    output = model(Tensor(inputs))
    return output, None if loss is None else _one_number(loss(output, targets))


def predict(model: Module, inputs: Array) -> Any:
    """Return the model's output."""
    return model(Tensor(inputs))


def _detached(output: Any) -> Any:
    """A model's output without the tape behind its tensors."""
    return mapped(lambda each: each.detach() if isinstance(each, Tensor) else each, output)


def _one_number(loss: Any) -> Tensor:
    check_type("the loss's result", loss, Tensor, "a Tensor, the mean over the batch")
    if loss.size != 1:
        raise ValueError(f"the loss's result is one number, the mean over the batch, got shape {loss.shape}")
    found: Tensor = loss
    return found


def _check_finite(loss: Array) -> None:
    if not math.isfinite(value := float(loss.item())):
        raise NotFiniteError(value)
