"""Decorrelated batch norm by Newton's iteration: channels get variance 1, and covariance 0 with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, InitVar
from types import MappingProxyType
from typing import Any, ClassVar, cast

import numpy as np

from tinygrad_norm.checks import POSITIVE, check_integer, check_number
from tinygrad_norm.dtypes import Array, DTypeOrNone, Shape
from tinygrad_norm.launch import constant, launch
from tinygrad_norm.nn.normalization import RunningNorm
from tinygrad_norm.nn.norms.base import check_groups
from tinygrad_norm.operands import as_tensor
from tinygrad_norm.ops.activation import activate, fusible
from tinygrad_norm.ops.arguments import check_dtypes, label, shape_dtypes_of
from tinygrad_norm.ops.normalization import move
from tinygrad_norm.tensor import Tensor


def iterative_whitening(
    x: Any, weight: Any, bias: Any, *, num_groups: int, iterations: int, eps: float = 1e-5
) -> tuple[Any, Any, Any]:
    """weight · Σ^(-1/2) (x - mean) + bias, with Σ the covariance of the channels of a group, and eps on its diagonal.

    Returns:
        y, the mean [groups, d, 1] and the inverse root [groups, d, d], of d = C / num_groups channels, in float64.
    """
    columns = _columns(x, num_groups)
    mean = x.__array_namespace__().mean(columns, axis=-1, keepdims=True)
    centred = columns - mean
    covariance = centred @ centred.mT / columns.shape[-1]
    root = inverse_root(covariance + constant(eps * np.eye(columns.shape[1])), iterations)
    return _affine(_from_columns(root @ centred, x), weight, bias), mean, root


def whitening_inference(x: Any, mean: Any, root: Any, weight: Any, bias: Any) -> Any:
    """`iterative_whitening` with a given mean and inverse root."""
    return _affine(_from_columns(root @ (_columns(x, len(root)) - mean), x), weight, bias)


def _columns(x: Any, num_groups: int) -> Any:
    """X (N, C, ...) in float64 as [groups, d, all else]."""
    xp = x.__array_namespace__()
    apart = xp.reshape(xp.astype(x, xp.float64, copy=False), (len(x), num_groups, x.shape[1] // num_groups, -1))
    return xp.reshape(xp.permute_dims(apart, (1, 2, 0, 3)), (*apart.shape[1:3], -1))


def _from_columns(columns: Any, like: Any) -> Any:
    """The inverse of `_columns`, in the shape and dtype of an x."""
    xp = like.__array_namespace__()
    apart = xp.reshape(columns, (*columns.shape[:2], len(like), -1))
    return xp.astype(xp.reshape(xp.permute_dims(apart, (2, 0, 1, 3)), like.shape), like.dtype, copy=False)


def _affine(y: Any, weight: Any, bias: Any) -> Any:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def inverse_root(covariance: Any, iterations: int) -> Any:
    """An approximation of Σ^(-1/2) by products alone, so that it is differentiable at any order, whatever Σ is.

    P = I and Y = Σ/tr Σ, then, so many times, R = (3 - P Y) / 2, Y = Y R and P = R P; it is P / √(tr Σ). An eigenvalue
    λ of Σ/tr Σ, from 0 to 1, becomes one of P by p = (3 p - p³ λ) / 2 from 1 on, which goes to 1/√λ; where λ is 0, it
    is 1.5 to the power of T. P = (3 P - P³ Σ/tr Σ) / 2, as the paper writes it, is the same but for rounding errors,
    which grow there from step to step (Higham, Newton's method for the matrix square root, 1986). The derivative of an
    eigendecomposition, of which decorrelated batch norm was first made, divides by the differences of eigenvalues.

    Args:
        covariance: symmetric matrices (..., d, d) whose eigenvalues are not negative, and not all 0.
        iterations: T.
    """
    xp, identity = covariance.__array_namespace__(), constant(np.eye(covariance.shape[-1]))
    three = constant(3 * identity)
    trace = xp.sum(covariance * identity, axis=(-2, -1), keepdims=True)
    other, root = covariance / trace, xp.broadcast_to(identity, covariance.shape)
    for _ in range(iterations):
        step = (three - root @ other) / 2
        other, root = other @ step, step @ root
    return root / xp.sqrt(trace)


class IterNorm(RunningNorm):
    """Whiten: y = weight · Σ^(-1/2) (x - mean) + bias, with the covariance Σ of the channels of a group, over all else.

    Mean and covariance, to whose diagonal eps is added, are taken over the batch and all positions; its inverse root is
    that of `inverse_root`. Inference takes the running mean and the running matrix, which is that of the whitening.
    It is composed of products of matrices, in float64.

    Args:
        num_features: C.
        num_groups: divides C; a covariance is of C / num_groups channels, for which there should be more values each.
        iterations: of Newton's method; more make the output whiter, and amplify what is hardly there.
        eps: added to each variance, above 0.
        momentum: the weight of the new value in the running statistics; None: their plain average.
        affine: whether there are weight and bias, shape (C,).

    Raises:
        ValueError, TypeError: an argument is out of range; in the call: the input does not fit, or training sees one
            value per channel.

    Source: Huang et al., Iterative normalization: beyond standardization towards efficient whitening, 2019.
    """

    definition = staticmethod(iterative_whitening)
    underivable = "the root of a matrix is neither a reduction over axes nor a function of each value"
    computed_by = "products of matrices, in float64"
    begins_with: ClassVar[Mapping[str, float]] = MappingProxyType({"running_mean": 0.0, "running_matrix": 1.0})
    num_features: int
    num_groups: int = 1
    iterations: int = 5
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    _: KW_ONLY
    bias: InitVar[bool] = True

    def _make(self, shape: Shape, affine: bool, bias: bool, dtype: DTypeOrNone) -> None:
        name = type(self).__name__
        check_groups(name, "num_features", self.num_features, self.num_groups)
        self.iterations = check_integer(f"{name}: iterations", self.iterations, 1)
        check_number(f"{name}: eps", self.eps, POSITIVE)
        super()._make(shape, affine, bias, dtype)

    def first_statistic(self, name: str) -> Array:
        """Return zeros for the mean; for the matrix the identity, (groups, channels of a group, the same)."""
        first = super().first_statistic(name)
        if name == "running_matrix":
            size = self.num_features // self.num_groups
            return first.reshape(self.num_groups, size, 1) * np.eye(size)
        return first

    def compute(self, x: Tensor, running: Sequence[Tensor | None], own: bool, momentum: float) -> Tensor:
        """Whiten, and scale and shift then."""
        x = as_tensor(x)
        kinds = shape_dtypes_of(x, self.weight, self.bias)
        check_dtypes(label(type(self).__name__), **dict(zip(("input", "weight", "bias"), kinds, strict=True)))
        seen = (1, self.num_features, *(1,) * (len(x.shape) - 2))
        affine = [each if each is None else each.reshape(seen) for each in (self.weight, self.bias)]
        y = _affine(x, *affine) if 0 in x.shape else self.whiten(x, running, own, momentum, *affine)
        return cast("Tensor", activate(y, fusible(self.activation)))

    def whiten(
        self,
        x: Tensor,
        running: Sequence[Tensor | None],
        own: bool,
        momentum: float,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> Tensor:
        """Return weight · Σ^(-1/2) (x - mean) + bias, and move the running statistics given, if x's own are taken."""
        if not own:
            mean, root = (launch(getattr(self, name).raw.astype, np.float64) for name in self.begins_with)
            y: Tensor = whitening_inference(x, mean.reshape(self.num_groups, -1, 1), root, weight, bias)
            return y
        if x.size == self.num_features:
            name, hint = label(type(self).__name__), "use a larger batch, or eval()"
            raise ValueError(f"{name}: one value per channel has no covariance, got shape {x.shape}; {hint}")
        groups, iterations = self.num_groups, self.iterations
        y, mean, root = iterative_whitening(x, weight, bias, num_groups=groups, iterations=iterations, eps=self.eps)
        move(running, [mean.raw.reshape(self.shape), root.raw], momentum)
        return y


class IterNorm1D(IterNorm):
    """IterNorm of (N, C) or (N, C, L).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(256, 2)) @ [[1.0, 0.9], [0.0, 0.5]]
        >>> y = nn.IterNorm1D(2, iterations=10, dtype="float64")(Tensor(x)).numpy()
        >>> print(np.cov(x.T, bias=True).round(1).tolist(), np.allclose(np.cov(y.T, bias=True), np.eye(2), atol=0.01))
        [[1.0, 0.9], [0.9, 1.1]] True
    """

    layouts = ("NC", "NCL")


class IterNorm2D(IterNorm):
    """IterNorm of (N, C, H, W).

    Example:
        >>> norm = nn.IterNorm2D(4, num_groups=2)
        >>> norm(Tensor(np.random.default_rng(0).normal(size=(8, 4, 4, 4)), dtype="float32")).shape
        (8, 4, 4, 4)
    """

    layouts = ("NCHW",)
