"""Anomaly mode: find the op that made the first NaN."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm.modes import Hook, hooks
from tinygrad_norm.settings import Block
from tinygrad_norm.tape import Op, backward_pass

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

_BETWEEN = tuple(str(Path(file).parent) + os.sep for file in (__file__, np.__file__))
"""Where the lines are that run an op, and are not the user's."""


class AnomalyError(FloatingPointError):
    """An op made NaN out of numbers.

    Example:
        >>> try:
        ...     with detect_anomaly():
        ...         y = ops.log(Tensor([-1.0]))
        ... except AnomalyError as error:
        ...     print(str(error).splitlines()[0])
        Log: its output of shape (1,) has NaN, its inputs have none
    """


def detect_anomaly() -> Block:
    """Raise at the first op whose output or gradient holds NaN although nothing it was given did.

    The error names the op, the path of its module, and the lines of the program that created it. Slow: every array is
    read, and every call notes where it was made.

    Raises:
        AnomalyError: from the forward call or from backward, wherever the first NaN appears.

    Example:
        >>> x = Tensor([0.0], requires_grad=True)
        >>> try:
        ...     with detect_anomaly():
        ...         (ops.sqrt(x) * 0.0).backward()
        ... except AnomalyError as error:
        ...     print(str(error).partition(",")[0])
        Sqrt: its backward made NaN in the gradient of input 0
    """
    return hooks(_AnomalyHook())


class _AnomalyHook(Hook):
    def before_forward(self, op: Op, inputs: tuple[Any, ...]) -> None:
        op.created = _callers()

    def after_forward(self, op: Op, inputs: tuple[Any, ...], output: Tensor) -> None:
        if _backward_passes():  # part of another op's backward, which after_backward judges as a whole
            return
        if _has_nan(output) and not any(_has_nan(value) for value in inputs):
            raise AnomalyError(
                f"{op.name}: its output of shape {output.shape} has NaN, its inputs have none{op.created}"
            )

    def after_backward(self, op: Op, grad: Tensor, grads: tuple[Tensor | None, ...]) -> None:
        if _backward_passes() > 1 or any(map(_has_nan, (grad, *op.saved_arrays))):
            return
        for index, back in enumerate(grads):
            if _has_nan(back):
                created = getattr(op, "created", "\n(it ran before detect_anomaly() began, so its place is not known)")
                raise AnomalyError(
                    f"{op.name}: its backward made NaN in the gradient of input {index}, out of arrays without{created}"
                )


def _backward_passes() -> int:
    """How many backward passes are under way: the backward of a fused op can hold another."""
    frame, count = sys._getframe(), 0
    while frame.f_back is not None:
        frame = frame.f_back
        count += frame.f_code is backward_pass.__code__
    return count


def _has_nan(value: Any) -> bool:
    array = np.asarray(getattr(value, "raw", value))
    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def _callers() -> str:
    """The lines of the user's program, innermost last, that led here."""
    frames = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(_BETWEEN)]
    return "\nIt was created here:\n" + "".join(traceback.format_list(frames[-4:])).rstrip()
