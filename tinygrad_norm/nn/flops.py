"""What a model costs: the floating-point operations of its convolutions and matrix products, or of all its ops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_norm import modes, tape
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.summary import output_shapes
from tinygrad_norm.ops import shape as moving
from tinygrad_norm.ops.activation import activate
from tinygrad_norm.ops.convolution import Conv2D
from tinygrad_norm.ops.elementwise import AsType
from tinygrad_norm.ops.matmul import Einsum, Linear, MatMul
from tinygrad_norm.ops.reduction import shape_of
from tinygrad_norm.tensor import Tensor


def count_flops(model: Module, *input_shape: int) -> int:
    """Return the floating-point operations of one call with an input of that shape, N included.

    As papers do, it counts convolutions and matrix products, a multiplication and an addition as two; what they call
    "MACs" or "multiply-adds" is half of it. The model runs once, in inference on zeros, and is left as it was.

    Example:
        >>> nn.flops.count_flops(nn.Linear(10, 5), 1, 10)
        100
    """
    counter = _Counter(flops_of)
    with modes.hooks(counter):
        output_shapes(model, [input_shape])
    return counter.flops


def flops_of(op: tape.Op, inputs: Sequence[Any]) -> int:
    """Return the floating-point operations of one op that was called; 0 for all others.

    Args:
        op: conv2d, linear, matmul or einsum; their biases are not counted.
        inputs: what it was called with, or anything of the same shapes.

    Example:
        >>> x, weight = ops.ones((1, 10)), nn.Parameter(ops.ones((5, 10)))
        >>> nn.flops.flops_of(ops.linear(x, weight).creator, [x, weight])
        100
    """
    size = math.prod(op.shape)
    if isinstance(op, Conv2D | Linear):
        return 2 * size * math.prod(shape_of(inputs[1])[1:])
    if isinstance(op, MatMul):
        x, y = inputs
        return 2 * size * (shape_of(y)[-2] if x is None else shape_of(x)[-1])
    if isinstance(op, Einsum):
        lengths = {
            letter: length
            for term, x in zip(op.params["inputs"], inputs, strict=True)
            for letter, length in zip(term, shape_of(x), strict=True)
        }
        return len(inputs) * math.prod(lengths.values())
    return 0


def work_of(op: tape.Op, inputs: Sequence[Any]) -> int:
    """Return the floating-point operations of one op that was called, all of them; of a fused op, its definition's.

    Beside those of `flops_of`, any other function of numbers counts one for each that it takes or makes, whichever are
    more: an addition of two arrays of N numbers N, and so a sum of N. To move or to cast numbers is none.

    Args:
        op: a fused one other than conv2d and linear runs once more, as its definition.
        inputs: what it was called with; of a primitive, anything of the same shapes.

    Example:
        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> nn.flops.work_of(ops.exp(x).creator, [x])
        2
    """
    if isinstance(op, Conv2D | Linear):
        size, y = math.prod(op.shape), Tensor(np.zeros(op.shape, op.dtype))
        return flops_of(op, inputs) + size * (inputs[2] is not None) + _work(activate, y, op.params["activation"])
    if isinstance(op, tape.FusedOp):
        return _work(type(op)(), *inputs, **op.params)
    if type(op).__module__ == moving.__name__ or isinstance(op, AsType):
        return 0
    return flops_of(op, inputs) or max(math.prod(shape_of(each)) for each in (op, *inputs))


def _work(definition: Callable[..., Any], *given: Any, **params: Any) -> int:
    """Return the operations of all primitives that a call runs."""
    counter = _Counter(work_of)
    with modes.no_grad(), modes.composed(), modes.hooks(counter):
        definition(*given, **params)
    return counter.flops


class _Counter(modes.Hook):
    def __init__(self, count: Callable[[tape.Op, Sequence[Any]], int]) -> None:
        self._count = count
        self.flops = 0

    def after_forward(self, op: tape.Op, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.flops += self._count(op, inputs)
