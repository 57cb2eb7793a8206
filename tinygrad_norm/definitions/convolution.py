"""Convolution.

Images are [N, C, H, W], the weight is [O, C / groups, kh, kw]. Both are seen as matrices, one for each group.
"""

from __future__ import annotations

import math

from tinygrad_norm.definitions.activation import Activation, activate, activation_gradient
from tinygrad_norm.definitions.windows import Window, add_windows, windows
from tinygrad_norm.dtypes import AnyArray, Pair


def conv2d(
    x: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None,
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
    activation: Activation,
) -> AnyArray:
    """At each place of the output, the sum over the kernel and the channels of weight times input, activated.

    One matrix product, of the filters and the windows, each unrolled. Source: Chellapilla, Puri and Simard, High
    performance convolutional neural networks for document processing, 2006.
    """
    xp, window = x.__array_namespace__(), _window(x, weight, stride, padding, dilation)
    depth = math.prod(weight.shape[1:])
    unrolled = xp.concat(list(windows(xp.expand_dims(x, axis=2), window)), axis=2)  # [N, C, kh kw, H', W']
    columns = xp.reshape(unrolled, (x.shape[0], groups, depth, math.prod(window.size)))
    filters = xp.reshape(weight, (groups, weight.shape[0] // groups, depth))
    y = xp.reshape(filters @ columns, (x.shape[0], weight.shape[0], *window.size))
    return activate(y if bias is None else y + xp.reshape(bias, (-1, 1, 1)), activation)


def conv2d_gradient(
    dy: AnyArray,
    x: AnyArray,
    weight: AnyArray,
    bias: AnyArray | None,
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
    activation: Activation,
    needs: tuple[bool, ...],
) -> tuple[AnyArray | None, AnyArray | None, AnyArray | None]:
    """Gradients of `conv2d` that are needed: two products at each place in the kernel; dbias = Σ dz.

    dx gets weightᵀ dz at the pixels that the place meets, and the weight there dz xᵀ, summed over the images, where dz
    is the gradient of what is activated.
    """
    xp, window = x.__array_namespace__(), _window(x, weight, stride, padding, dilation)
    if activation is not None:
        z = conv2d(x, weight, bias, stride, padding, dilation, groups, None)
        dy = activation_gradient(dy, z, activation)
    (images, channels), (outputs, depth, *kernel), pixels = x.shape[:2], weight.shape, math.prod(window.size)
    filters = xp.reshape(weight, (groups, outputs // groups, depth, math.prod(kernel)))
    dz = xp.reshape(dy, (images, groups, outputs // groups, pixels))
    dx = dweight = None
    if needs[0]:
        parts = (filters[..., k].mT @ dz for k in range(math.prod(kernel)))
        dx = add_windows((xp.reshape(part, (images, channels, *window.size)) for part in parts), x.shape, window)
    if needs[1]:
        met = (xp.reshape(pixel, (images, groups, depth, pixels)) for pixel in windows(x, window))
        dweight = xp.reshape(xp.stack([xp.sum(dz @ each.mT, axis=0) for each in met], axis=-1), weight.shape)
    return dx, dweight, xp.sum(dy, axis=(0, 2, 3)) if needs[2] else None


def _window(x: AnyArray, weight: AnyArray, stride: Pair, padding: tuple[Pair, Pair], dilation: Pair) -> Window:
    """The windows of x, as many as fit."""
    kernel, (top, left) = weight.shape[2:], (begin for begin, _ in padding)
    along = zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    height, width = ((n + sum(ends) - d * (k - 1) - 1) // s + 1 for n, k, s, ends, d in along)
    return Window(kernel, stride, (top, left), dilation, (height, width))
