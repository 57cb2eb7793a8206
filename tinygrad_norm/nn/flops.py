"""What a model costs: the floating-point operations of its convolutions and matrix products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_norm import tape
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.summary import output_shapes
from tinygrad_norm.ops.convolution import Conv2D
from tinygrad_norm.ops.matmul import Einsum, Linear, MatMul
from tinygrad_norm.tensor import Tensor


def count_flops(model: Module, *input_shape: int) -> int:
    """Return the floating-point operations of one call with an input of that shape, N included.

    As papers do, it counts convolutions and matrix products, a multiplication and an addition as two; what they call
    "MACs" or "multiply-adds" is half of it. The model runs once, in inference on zeros, and is left as it was.
    """
    counter = _Counter()
    with tape.hooks(counter):
        output_shapes(model, [input_shape])
    return counter.flops


def flops_of(op: tape.Op, inputs: tuple[Any, ...], output: Tensor) -> int:
    """Return the floating-point operations of one op, from what a tape hook sees of it; 0 for all others.

    Args:
        op: conv2d, linear, matmul or einsum; their biases are not counted.
        inputs, output: what it was called with, and what it returned.
    """
    if isinstance(op, Conv2D | Linear):
        return 2 * output.size * int(math.prod(np.shape(inputs[1])[1:]))
    if isinstance(op, MatMul):
        return 2 * output.size * int(np.shape(inputs[0])[-1])
    if isinstance(op, Einsum):
        lengths = {
            letter: length
            for term, x in zip(op.params["inputs"], inputs, strict=True)
            for letter, length in zip(term, np.shape(x), strict=True)
        }
        return len(inputs) * int(math.prod(lengths.values()))
    return 0


class _Counter(tape.Hook):
    flops = 0

    def after_forward(self, op: tape.Op, inputs: tuple[Any, ...], output: Tensor) -> None:
        self.flops += flops_of(op, inputs, output)
