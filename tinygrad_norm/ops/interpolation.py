"""Images in another size."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_norm.checks import check_choice, check_flag, check_pair
from tinygrad_norm.dtypes import Array, Pair
from tinygrad_norm.launch import constant
from tinygrad_norm.ops.arguments import check_images, label
from tinygrad_norm.ops.matmul import matmul
from tinygrad_norm.ops.reduction import shape_of
from tinygrad_norm.ops.shape import permute_dims, take

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor


def interpolate(
    x: Any,
    size: int | Pair | None = None,
    scale_factor: float | tuple[float, float] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Tensor:
    """Return images made larger or smaller, channels-last in memory.

    Args:
        x: shape (N, C, H, W).
        size: the height and width of the output; a number or a pair. Either this or `scale_factor` is given.
        scale_factor: how many times larger the output is, rounded down to pixels; a number or a pair.
        mode: "nearest", the input's pixel at that place; or "bilinear", the weighted mean of the four around it, by a
            matrix product, in which a NaN or an infinity leaves no finite value in its channel of the image.
        align_corners: bilinear only: whether the centres of the corner pixels stay in the corners, and not their edges.

    Raises:
        ValueError: the mode is unknown, both or none of size and scale_factor are given, one is out of range, or x has
            another shape or is empty.
        TypeError: x holds no floats, or an argument is of another type.

    Example:
        >>> ops.interpolate([[[[1.0, 2.0]]]], scale_factor=2).numpy()[0, 0]
        array([[1., 1., 2., 2.],
               [1., 1., 2., 2.]], dtype=float32)
    """
    name = label("interpolate")
    counts, scales = check_interpolation(name, size, scale_factor, mode, align_corners)
    shape = check_images(name, x)
    if counts is None:
        counts = math.floor(shape[2] * scales[0]), math.floor(shape[3] * scales[1])
        if min(counts) < 1:
            raise ValueError(f"{name}: scale_factor={scale_factor} leaves no pixel of an input of shape {shape}")
    along = zip(shape[2:], counts, scales or (None, None), strict=True)
    if mode == "nearest":
        rows, columns = [_nearest(*axis) for axis in along]
        return pick(x, rows, columns)
    dtype = getattr(x, "dtype", np.float32)
    rows, columns = [constant(_between(*axis, align_corners).astype(dtype)) for axis in along]
    return resample(x, rows, columns)


def pick(x: Any, rows: Array, columns: Array) -> Tensor:
    """Return the pixels in these rows and columns of images (N, C, H, W), channels-last in memory."""
    n, channels, height, width = shape_of(x)
    places = constant((np.arange(n)[:, None, None] * height + rows[:, None]) * width + columns)
    pixels = permute_dims(x, (0, 2, 3, 1)).reshape((n * height * width, channels))
    return permute_dims(take(pixels, places, 0), (0, 3, 1, 2))


def resample(x: Any, rows: Array, columns: Array) -> Tensor:
    """Return the product rows · x · columnsᵀ for each channel of each image, channels-last in memory.

    Args:
        x: shape (N, C, H, W).
        rows: shape (H', H), a weight of each row of the input for each row of the output.
        columns: shape (W', W), likewise.
    """
    n, channels, height, width = shape_of(x)
    y = permute_dims(x, (0, 2, 3, 1)).reshape((n, height, width * channels))
    y = matmul(columns, matmul(rows, y).reshape((n, len(rows), width, channels)))
    return permute_dims(y, (0, 3, 1, 2))


def check_interpolation(
    name: str, size: Any, scale_factor: Any, mode: Any, align_corners: Any
) -> tuple[Pair | None, Any]:
    """Return the size and the scales of height and width, checked; None for those that are not given."""
    check_choice(f"{name}: mode", mode, ("nearest", "bilinear"))
    check_flag(f"{name}: align_corners", align_corners)
    if align_corners and mode == "nearest":
        raise ValueError(f"{name}: align_corners is for mode='bilinear'; the nearest pixel has no corners to align")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{name}: either size or scale_factor is given, got {size!r} and {scale_factor!r}")
    if size is not None:
        return check_pair(f"{name}: size", size, 1), None
    given = tuple(scale_factor) if isinstance(scale_factor, tuple | list) else (scale_factor, scale_factor)
    if len(given) != 2 or any(not isinstance(scale, Real) or isinstance(scale, bool) for scale in given):
        raise TypeError(f"{name}: scale_factor is a number, or one for each of two axes, got {scale_factor!r}")
    if not all(0 < scale < math.inf for scale in given):
        raise ValueError(f"{name}: scale_factor is positive and finite, got {scale_factor!r}")
    return None, given


def _nearest(n: int, count: int, scale: float | None) -> Array:
    """Return which of n pixels each of `count` pixels shows; from a scale reckoned in float32, as PyTorch does."""
    if scale is None or count in (n, 2 * n):
        return np.arange(count) * n // count
    place = np.floor(np.arange(count, dtype=np.float32) * np.float32(1 / scale))
    return np.minimum(place, n - 1).astype(np.int64)


def _between(n: int, count: int, scale: float | None, align_corners: bool) -> Array:
    """Return the matrix (count, n) of the weights of n pixels in each of `count` pixels: a hat around its place.

    From one to the next it is 1 / scale pixels, as in PyTorch, unless the length stays the same.
    """
    if align_corners:
        place = np.linspace(0, n - 1, count)
    else:
        step = n / count if scale is None or count == n else 1 / scale
        place = np.clip((np.arange(count) + 0.5) * step - 0.5, 0, n - 1)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(n)))
