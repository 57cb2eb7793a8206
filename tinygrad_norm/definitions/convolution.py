"""Convolution.

Images are [N, C, H, W], seen as [N, groups, C / groups, H, W]; the weight is [O, C / groups, kh, kw].
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_norm.definitions.activation import Activation, activate, activation_gradient

Array = Any
Pair = tuple[int, int]
"""One number for the height and one for the width, or for the two ends of one of them."""


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
    activation: Activation,
) -> Array:
    """At each place of the output, the sum over the kernel and the channels of weight times input, activated.

    One matrix product for each place in the kernel, with the pixels that it meets: its window shifted there.
    """
    xp = x.__array_namespace__()
    images, filters = _padded(x, padding, groups), _filters(weight, groups)
    places, size = _places(images.shape[3:], weight.shape[2:], stride, dilation)
    y = xp.zeros((x.shape[0], *filters.shape[:2], math.prod(size)), dtype=x.dtype)
    for i, j, rows, columns in places:
        y += filters[..., i, j] @ xp.reshape(images[..., rows, columns], (*images.shape[:3], math.prod(size)))
    y = xp.reshape(y, (x.shape[0], weight.shape[0], *size))
    return activate(y if bias is None else y + bias[:, None, None], activation)


def conv2d_gradient(
    dy: Array,
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
    activation: Activation,
    needs: tuple[bool, ...],
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of `conv2d` that are needed: the two products at each place in the kernel, turned round; dbias = Σ dz.

    dx gets weightᵀ dz at the pixels that the place meets, and the weight there dz xᵀ, summed over the images, where dz
    is the gradient of what is activated.
    """
    xp = x.__array_namespace__()
    if activation is not None:
        z = conv2d(x, weight, bias, stride, padding, dilation, groups, None)
        dy = activation_gradient(dy, z, activation)
    images, filters = _padded(x, padding, groups), _filters(weight, groups)
    places, size = _places(images.shape[3:], weight.shape[2:], stride, dilation)
    grad = xp.reshape(dy, (x.shape[0], *filters.shape[:2], math.prod(size)))
    dimages, dfilters = xp.zeros_like(images), xp.zeros_like(filters)
    for i, j, rows, columns in places:
        met = images[..., rows, columns]
        if needs[0]:
            dimages[..., rows, columns] += xp.reshape(filters[..., i, j].mT @ grad, met.shape)
        if needs[1]:
            dfilters[..., i, j] = xp.sum(grad @ xp.reshape(met, (*met.shape[:3], math.prod(size))).mT, axis=0)
    (top, _), (left, _) = padding
    inside = dimages[..., top : top + x.shape[2], left : left + x.shape[3]]
    dx = xp.reshape(inside, x.shape) if needs[0] else None
    dweight = xp.reshape(dfilters, weight.shape) if needs[1] else None
    return dx, dweight, xp.sum(dy, axis=(0, 2, 3)) if needs[2] else None


def _padded(x: Array, padding: tuple[Pair, Pair], groups: int) -> Array:
    """The images within their border of zeros, cut into groups of channels."""
    xp = x.__array_namespace__()
    n, channels, height, width = x.shape
    (top, bottom), (left, right) = padding
    padded = xp.zeros((n, channels, top + height + bottom, left + width + right), dtype=x.dtype)
    padded[:, :, top : top + height, left : left + width] = x
    return xp.reshape(padded, (n, groups, channels // groups, *padded.shape[2:]))


def _filters(weight: Array, groups: int) -> Array:
    """The weight as [groups, O / groups, C / groups, kh, kw]."""
    shape = (groups, weight.shape[0] // groups, *weight.shape[1:])
    return weight.__array_namespace__().reshape(weight, shape)


def _places(
    size: Pair, kernel: Pair, stride: Pair, dilation: Pair
) -> tuple[list[tuple[int, int, slice, slice]], tuple[int, ...]]:
    """Each place i, j in the kernel with the rows and columns of the padded input that it meets; the output's size."""
    along = list(zip(size, kernel, stride, dilation, strict=True))
    counts = tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in along)
    rows, columns = (
        [slice(i * d, i * d + s * (count - 1) + 1, s) for i in range(k)]
        for count, (_, k, s, d) in zip(counts, along, strict=True)
    )
    return [(i, j, row, column) for i, row in enumerate(rows) for j, column in enumerate(columns)], counts
