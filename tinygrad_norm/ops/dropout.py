"""Dropout: in training, values, channels or whole images are zeroed at random. All draw from `random.generator()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm import random
from tinygrad_norm.checks import FRACTION, check_choice, check_number
from tinygrad_norm.dtypes import Array, Shape
from tinygrad_norm.launch import launch
from tinygrad_norm.operands import wrap
from tinygrad_norm.ops import elementwise as e
from tinygrad_norm.ops.reduction import shape_of

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor


def dropout(x: Any, p: float = 0.5, training: bool = True) -> Tensor:
    """Return x, in training with each element 0 with probability p, and else divided by 1 - p.

    Source: Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014; inverted.

    Example:
        >>> y = ops.dropout(np.ones(1000), 0.25)
        >>> sorted({round(value, 3) for value in y.tolist()})
        [0.0, 1.333]
    """
    return _drop("dropout", x, p, training, shape_of(x))


def dropout2d(x: Any, p: float = 0.5, training: bool = True) -> Tensor:
    """Return x, in training with each channel 0 with probability p, and else divided by 1 - p.

    Args:
        x: shape (N, C, H, W), or (C, H, W) for one image.
        p: a probability.
        training: whether to drop anything.

    Raises:
        ValueError: p is no probability, or x has another number of axes.

    Source: Tompson et al., Efficient object localization using convolutional networks, 2015.

    Example:
        >>> y = ops.dropout2d(np.ones((8, 16, 2, 2)), 0.5)
        >>> bool((y.numpy().std(axis=(2, 3)) == 0).all())  # a channel goes as a whole
        True
    """
    shape = shape_of(x)
    if len(shape) not in (3, 4):
        raise ValueError(f"dropout2d: the input has shape (N, C, H, W) or (C, H, W), got {shape}")
    return _drop("dropout2d", x, p, training, (*shape[:-2], 1, 1))


def stochastic_depth(x: Any, p: float, mode: str = "row", training: bool = True) -> Tensor:
    """Return x, in training with each image (or the whole batch) 0 with probability p, and else divided by 1 - p.

    Args:
        x: shape (N, ...), what a residual branch adds.
        p: a probability.
        mode: "row" decides for each image, "batch" for all together.
        training: whether to drop anything.

    Raises:
        ValueError: p is no probability, the mode is unknown, or x is a number.

    Source: Huang et al., Deep networks with stochastic depth, 2016.

    Example:
        >>> y = ops.stochastic_depth(np.ones((64, 3)), 0.5)
        >>> sorted({*map(tuple, y.tolist())})
        [(0.0, 0.0, 0.0), (2.0, 2.0, 2.0)]
    """
    shape = shape_of(x)
    check_mode("stochastic_depth", mode)
    if not shape:
        raise ValueError("stochastic_depth: the input has shape (N, ...), got a number")
    return _drop("stochastic_depth", x, p, training, (shape[0] if mode == "row" else 1, *[1] * (len(shape) - 1)))


def check_mode(name: str, mode: str) -> None:
    """Refuse a mode of `stochastic_depth` that does not exist."""
    check_choice(f"{name}: mode", mode, ("row", "batch"))


def check_probability(name: str, p: Any) -> None:
    """Refuse what is no probability.

    Raises:
        TypeError: it is no number.
        ValueError: it is outside [0, 1].
    """
    check_number(f"{name}: p", p, FRACTION)


def _drop(name: str, x: Any, p: float, training: bool, shape: Shape) -> Tensor:
    """Return x with what is decided by a draw of this shape dropped, and the rest divided by 1 - p."""
    check_probability(name, p)
    if not training or p == 0:
        return e.multiply(x, 1.0) if not hasattr(x, "creator") else x
    factor = launch(_factor, random.generator(), np.asarray(getattr(x, "raw", x)), shape, p)
    return e.multiply(x, wrap(factor))


def _factor(generator: np.random.Generator, x: Array, shape: Shape, p: float) -> Array:
    """Draw a factor, in the memory order of x where it has the shape of x, so that the product has it too."""
    kept = generator.random(shape, dtype=np.float32) >= p
    dtype = np.dtype(np.float64 if x.dtype == np.float64 else np.float32)
    factor = np.empty_like(x, dtype) if x.shape == shape else np.empty(shape, dtype)
    np.multiply(kept, dtype.type(1 / (1 - p) if p < 1 else 0.0), out=factor)
    return factor
