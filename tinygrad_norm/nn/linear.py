"""Linear, and the two modules that only pass on what they get: Identity and Flatten."""

from __future__ import annotations

import math
from dataclasses import InitVar
from typing import Any

from tinygrad_norm import ops
from tinygrad_norm.checks import check_flag, check_integer
from tinygrad_norm.dtypes import DTypeOrNone, Shape
from tinygrad_norm.nn import init
from tinygrad_norm.nn.budget import blank
from tinygrad_norm.nn.checks import input_shape
from tinygrad_norm.nn.dataclass_module import DataclassModule
from tinygrad_norm.nn.module import Module, Parameter, float_dtype
from tinygrad_norm.ops.activation import ActivationSpec, fusible
from tinygrad_norm.tensor import Tensor


class LinearLayer(DataclassModule):
    """What Linear and Conv2D share: a weight (out, ...), a bias (out,) or none, and perhaps an activation."""

    def _make(self, shape: Shape, bias: bool, dtype: DTypeOrNone) -> None:
        fusible(self.activation)  # refuses an unknown one here rather than at the first call
        check_flag(f"{type(self).__name__}: bias", bias)
        self.weight = Parameter(blank(shape, float_dtype(dtype)))
        self.bias: Parameter | None = Parameter(blank(shape[:1], float_dtype(dtype))) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, uniform within 1 / √fan_in, where fan_in values make one of the output."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # a gain that makes the bound 1 / √fan_in
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
            init.uniform_(self.bias, -bound, bound)

    def _repr(self, words: str) -> str:
        return words if self.activation is None else f"{words}, activation={self.activation!r}"


class Linear(LinearLayer):
    """Multiply by a weight matrix and add a bias: x @ weight.T + bias.

    Weight (out_features, in_features) and bias (out_features,) start uniform within 1 / sqrt(in_features).
    Input (..., in_features), output (..., out_features).

    Args:
        in_features, out_features: the length of the last axis of the input and of the output.
        bias: whether there is one; a batch norm right after the layer takes it out again with the mean.
        dtype: of the parameters, float32 unless given.
        activation: applied in the same kernel: the name of one, or (name, parameter).

    Raises:
        TypeError: a number of features is not an integer, or the dtype is not floating.
        ValueError: a number of features is below 1, or the activation is not known.

    Example:
        >>> linear = nn.Linear(4, 2)
        >>> linear(ops.ones((8, 4))).shape, linear.weight.shape, linear.bias.shape
        ((8, 2), (2, 4), (2,))
    """

    in_features: int
    out_features: int
    bias: InitVar[bool] = True
    dtype: InitVar[DTypeOrNone] = None
    activation: ActivationSpec = None

    def __post_init__(self, bias: bool, dtype: DTypeOrNone) -> None:
        self.in_features = check_integer("Linear: in_features", self.in_features, 1)
        self.out_features = check_integer("Linear: out_features", self.out_features, 1)
        self._make((self.out_features, self.in_features), bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        shape = input_shape(self, x)
        if not shape or shape[-1] != self.in_features:
            flat = math.prod(shape[1:]) == self.in_features
            raise ValueError(
                f"Linear: the last axis of the input is in_features={self.in_features} long, got shape {shape}"
                f"{'; a Flatten() before it?' if flat else ''}"
            )
        return ops.linear(x, self.weight, self.bias, self.activation)

    def extra_repr(self) -> str:
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return self._repr(f"{sizes}, bias={self.bias is not None}")


class Identity(Module):
    """Return the input; arguments are taken and forgotten, so that it can stand in for any layer.

    Example:
        >>> nn.Identity(64, eps=1e-5)(Tensor([1.0, 2.0]))
        Tensor([1., 2.])
    """

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Any) -> Any:
        return x


class Flatten(DataclassModule):
    """Join the axes from start_dim to end_dim, both included, into one: (N, C, H, W) becomes (N, C*H*W).

    Example:
        >>> nn.Flatten()(ops.ones((2, 3, 4, 4))).shape
        (2, 48)
    """

    start_dim: int = 1
    end_dim: int = -1

    def forward(self, x: Tensor) -> Tensor:
        return ops.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
