"""Clipping of gradients, between backward() and step().

Each gradient that changes is replaced by a new tensor: the old array may also be somebody else's. While a plan is
recorded each one is, as the next replay may clip what this call does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np

from tinygrad_norm.checks import POSITIVE, UP_TO_INFINITY, Range, check_number
from tinygrad_norm.dtypes import Array
from tinygrad_norm.launch import launch, watcher
from tinygrad_norm.optim.optimizer import gradient_of
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.unread import number


def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> float:
    """Scale the gradients down together so that their norm, as one long vector, is at most `max_norm`.

    Args:
        parameters: those without a gradient are passed over.
        max_norm: at least 0; `math.inf` only measures.
        norm_type: the p of the p-norm, above 0; `math.inf` is the largest magnitude.
        error_if_nonfinite: refuse a norm that is NaN or infinite, rather than let it spread.

    Returns:
        The norm before clipping.

    Raises:
        TypeError: a gradient is no Tensor.
        ValueError: an argument out of range, or a norm that is not finite and `error_if_nonfinite`.

    Source: Pascanu et al., On the difficulty of training recurrent neural networks, 2013.

    Example:
        >>> w = nn.Parameter([0.0, 0.0])
        >>> w.grad = Tensor([30.0, 40.0])
        >>> norm = optim.clip_grad_norm(w, max_norm=1.0)
        >>> print(norm, w.grad.numpy().round(3))
        50.0 [0.6 0.8]
    """
    check_number("clip_grad_norm: max_norm", max_norm, UP_TO_INFINITY)
    check_number("clip_grad_norm: norm_type", norm_type, Range("a number above 0", lambda value: value > 0))
    gradients = _gradients(parameters)
    total = launch(_norm_of_all, tuple([gradient for _, gradient in gradients]), norm_type, error_if_nonfinite)
    if max_norm < math.inf and (watcher() is not None or _factor_of(total, max_norm) != 1):
        factors: dict[Any, Array] = {}
        for parameter, gradient in gradients:
            if (factor := factors.get(gradient.dtype)) is None:
                factor = factors[gradient.dtype] = launch(_factor, total, max_norm, gradient.dtype)
            with np.errstate(invalid="ignore"):  # an infinite norm makes 0 * inf
                parameter.grad = Tensor.wrap(np.asarray(launch(np.multiply, gradient, factor)))
    return cast(float, number(total, "clip_grad_norm"))


def clip_grad_value(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bring each element of the gradients into `[-clip_value, clip_value]`; NaN stays NaN.

    Raises:
        ValueError: `clip_value` is negative or NaN.

    Example:
        >>> w = nn.Parameter([0.0, 0.0])
        >>> w.grad = Tensor([30.0, -0.5])
        >>> optim.clip_grad_value(w, 1.0)
        >>> w.grad
        Tensor([ 1. , -0.5])
    """
    check_number("clip_grad_value: clip_value", clip_value, UP_TO_INFINITY)
    for parameter, gradient in _gradients(parameters):
        parameter.grad = Tensor.wrap(np.asarray(launch(np.clip, gradient, -clip_value, clip_value)))


def clip_grad_adaptive(parameters: Tensor | Iterable[Tensor], clipping: float = 0.01, eps: float = 1e-3) -> float:
    """Scale down the gradient of each unit whose norm is more than `clipping` times that of the unit's weights.

    A unit is what makes one output: a row of a matrix, a filter of a convolution. Biases, gains and single numbers are
    one each, that is what has at most one axis longer than 1. The paper leaves the last linear layer out.

    Args:
        parameters: those without a gradient are passed over.
        clipping: at least 0; `math.inf` only measures.
        eps: the least norm that weights count with, or zeros would stay zeros.

    Returns:
        The largest ratio before clipping, 0 without gradients.

    Raises:
        TypeError: a gradient is no Tensor.
        ValueError: an argument is out of range.

    Source: Brock, De, Smith and Simonyan, High-performance large-scale image recognition without normalization, 2021,
        section 4.1.

    Example:
        >>> w = nn.Parameter([3.0, 4.0])
        >>> w.grad = Tensor([30.0, 40.0])
        >>> largest = optim.clip_grad_adaptive(w, clipping=0.1)  # of a weight of length 5
        >>> print(w.grad.numpy().round(3))
        [0.3 0.4]
    """
    check_number("clip_grad_adaptive: clipping", clipping, UP_TO_INFINITY)
    check_number("clip_grad_adaptive: eps", eps, POSITIVE)
    found = []
    for parameter, gradient in _gradients(parameters):
        ratios = launch(_ratios, gradient, parameter.raw, eps)
        found.append(ratios)
        if clipping < math.inf and (watcher() is not None or not (ratios <= clipping).all()):
            parameter.grad = Tensor.wrap(launch(_shrunk, gradient, ratios, clipping))
    return cast(float, number(launch(_largest, tuple(found)), "clip_grad_adaptive"))


def _norm_of_all(gradients: Sequence[Array], norm_type: float, finite: bool) -> Array:
    """The norm of gradients as one vector, in float64, because the square of a float32 overflows at 2e19."""
    norms = [np.linalg.norm(gradient.ravel().astype(np.float64), norm_type) for gradient in gradients]
    total = float(np.linalg.norm(norms, norm_type)) if norms else 0.0
    if finite and not math.isfinite(total):
        raise ValueError(f"the norm of the gradients is {total}; the gradients were left as they are")
    return np.asarray(total)


def _factor_of(total: Array, max_norm: float) -> float:
    """What gradients of this norm are multiplied by: at most 1, which changes no bit, or NaN, so that it spreads."""
    scale = max_norm / (float(total) + 1e-6)
    return 1.0 if scale >= 1 else scale


def _factor(total: Array, max_norm: float, dtype: np.dtype[Any]) -> Array:
    return np.asarray(_factor_of(total, max_norm), dtype)


def _ratios(gradient: Array, weights: Array, eps: float) -> Array:
    """The norm of the gradient of each unit, over that of its weights."""
    ratios: Array = _norms_of_units(gradient) / np.maximum(_norms_of_units(weights), eps)
    return ratios


def _shrunk(gradient: Array, ratios: Array, clipping: float) -> Array:
    """A gradient whose units have these ratios, with all larger ones brought down; NaN spreads."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scales = np.where(ratios <= clipping, 1.0, clipping / ratios)
        return np.asarray((gradient * scales).astype(gradient.dtype))


def _largest(ratios: Sequence[Array]) -> Array:
    largest = np.asarray(0.0)
    for each in ratios:
        largest = np.maximum(largest, each.max(initial=0))
    return np.asarray(largest)


def _norms_of_units(x: Array) -> Array:
    """Return the norms of what makes each output, in float64, in a shape that broadcasts with x."""
    axes = None if x.size == max(x.shape, default=1) else tuple(range(1, x.ndim))
    norms: Array = np.sqrt(np.square(x.astype(np.float64)).sum(axis=axes, keepdims=True))
    return norms


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[tuple[Tensor, Array]]:
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    found = [(parameter, gradient_of(parameter, f"parameter {index}")) for index, parameter in enumerate(listed)]
    return [(parameter, gradient) for parameter, gradient in found if gradient is not None]
