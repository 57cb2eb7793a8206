"""Images as numbers: scaled to [0, 1], and resized."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_norm.checks import check_float_dtype
from tinygrad_norm.dtypes import Array


def rescale(images: Array, highest: int, dtype: DTypeLike) -> Array:
    """Divide by the highest value there can be; C-contiguous.

    Raises:
        TypeError: `dtype` is neither float32 nor float64.
    """
    scaled: Array = np.divide(images, highest, dtype=check_float_dtype("dtype", dtype), order="C")
    return scaled


def resize(images: Array, size: int) -> Array:
    """Resize floating-point images (..., H, W) to (..., size, size), bilinearly, each axis by one matrix of weights.

    Where an axis shrinks, a pixel averages all that it covers (antialiasing), as Pillow's BILINEAR does.
    """
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    rows, columns = (_weights(n, size).astype(images.dtype) for n in (height, width))
    resized: Array = rows @ images @ columns.T
    return resized


def _weights(n: int, size: int) -> Array:
    """Return what each of `size` pixels takes from each of `n`: a triangle around its centre, cut off at the edges."""
    centre = (np.arange(size) + 0.5) * n / size - 0.5
    reach = max(n / size, 1.0)
    triangle = (1 - np.abs(centre[:, None] - np.arange(n)) / reach).clip(0)
    weights: Array = triangle / triangle.sum(axis=1, keepdims=True)
    return weights
