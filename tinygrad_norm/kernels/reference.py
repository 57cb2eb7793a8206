"""The definition of right: every kernel in plain NumPy, a few lines each.

Each takes its array module from its argument (`__array_namespace__`), so it runs on any that follows the Array API
standard. Gradients are closed forms, derived by hand; the tests hold each to its composed definition in `ops/`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import chebyshev

from tinygrad_norm.kernels.ranges import are_ordinary, group_unit, moments, times_difference

Array = Any
Activation = tuple[str, float] | None
"""An activation fused into a kernel: its name and its parameter (slope or scale; 0 where it has none)."""
Pair = tuple[int, int]
"""One number for the height and one for the width, or for the two ends of one of them."""


# Activations: the value at z, and the derivative at z


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), without overflow."""
    xp = z.__array_namespace__()
    small = xp.exp(-xp.abs(z))
    return xp.where(z >= 0, 1 / (1 + small), small / (1 + small))


def softplus(z: Array) -> Array:
    """log(1 + exp(z)), without overflow."""
    xp = z.__array_namespace__()
    return xp.where(z > 0, z, xp.zeros_like(z)) + xp.log1p(xp.exp(-xp.abs(z)))


def erf(z: Array) -> Array:
    """The error function, to about 1e-15."""
    xp = z.__array_namespace__()
    near, far = _erf_series()
    size = xp.abs(z)
    t = 2 / (1 + size / 2) - 1
    tail = xp.exp(-size * size) * _chebyshev(far, t)
    body = size * _chebyshev(near, xp.where(size < 1, 2 * size * size - 1, xp.zeros_like(size)))
    return xp.sign(z) * xp.where(size < 1, body, 1 - tail)


@cache
def _erf_series() -> tuple[list[float], list[float]]:
    """Chebyshev series of erf(x)/x in 2x^2 - 1 for x < 1, and of exp(x^2) erfc(x) in 2/(1 + x/2) - 1, from math.erf."""

    def near(u: Any) -> Any:
        x = np.sqrt((u + 1) / 2)
        return np.array([math.erf(v) / v for v in x])

    def far(t: Any) -> Any:
        x = 2 * (2 / (t + 1) - 1)
        # Beyond 5 the asymptotic series is exact to 1e-16; before, exp(x^2) does not overflow.
        return np.array([math.exp(v * v) * math.erfc(v) if v < 5 else _scaled_erfc(v) for v in x])

    return chebyshev.chebinterpolate(near, 16).tolist(), chebyshev.chebinterpolate(far, 32).tolist()


def _scaled_erfc(x: float) -> float:
    """exp(x^2) erfc(x) for large x, by its continued fraction."""
    fraction = 0.0
    for k in range(60, 0, -1):
        fraction = k / 2 / (x + fraction)
    return 1 / math.sqrt(math.pi) / (x + fraction)


def _chebyshev(series: list[float], t: Array) -> Array:
    """Clenshaw's recurrence."""
    last = before = 0 * t
    for coefficient in series[:0:-1]:
        last, before = 2 * t * last - before + coefficient, last
    return t * last - before + series[0]


def _relu(z: Array, _: float) -> tuple[Array, Array]:
    xp = z.__array_namespace__()
    off = z <= 0  # NaN is neither, and goes through
    return xp.where(off, xp.zeros_like(z), z), xp.astype(xp.logical_not(off), z.dtype)


def _leaky_relu(z: Array, slope: float) -> tuple[Array, Array]:
    xp = z.__array_namespace__()
    return xp.where(z > 0, z, slope * z), xp.where(z > 0, xp.ones_like(z), slope * xp.ones_like(z))


def _elu(z: Array, alpha: float) -> tuple[Array, Array]:
    xp = z.__array_namespace__()
    below = alpha * xp.expm1(xp.where(z > 0, xp.zeros_like(z), z))
    return xp.where(z > 0, z, below), xp.where(z > 0, xp.ones_like(z), below + alpha)


def _sigmoid(z: Array, _: float) -> tuple[Array, Array]:
    s = sigmoid(z)
    return s, s * (1 - s)


def _tanh(z: Array, _: float) -> tuple[Array, Array]:
    t = z.__array_namespace__().tanh(z)
    return t, 1 - t * t


def _silu(z: Array, _: float) -> tuple[Array, Array]:
    s = sigmoid(z)
    return z * s, s * (1 + z * (1 - s))


def _gelu(z: Array, _: float) -> tuple[Array, Array]:
    xp = z.__array_namespace__()
    area = 0.5 * (1 + erf(z * math.sqrt(0.5)))
    return z * area, area + z * xp.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _gelu_tanh(z: Array, _: float) -> tuple[Array, Array]:
    xp, c = z.__array_namespace__(), math.sqrt(2 / math.pi)
    near = xp.clip(z, -25, 25)  # beyond, tanh is 1 and its derivative 0, and z³ may be infinite
    t = xp.tanh(c * (near + 0.044715 * near * near * near))
    return 0.5 * z * (1 + t), 0.5 * (1 + t) + 0.5 * near * (1 - t * t) * c * (1 + 3 * 0.044715 * near * near)


def _hardswish(z: Array, _: float) -> tuple[Array, Array]:
    xp = z.__array_namespace__()
    middle = z * (z + 3) / 6
    y = xp.where(z <= -3, xp.zeros_like(z), xp.where(z >= 3, z, middle))
    return y, xp.where(z <= -3, xp.zeros_like(z), xp.where(z >= 3, xp.ones_like(z), (2 * z + 3) / 6))


def _mish(z: Array, _: float) -> tuple[Array, Array]:
    t = z.__array_namespace__().tanh(softplus(z))
    return z * t, t + z * (1 - t * t) * sigmoid(z)


def _softplus(z: Array, _: float) -> tuple[Array, Array]:
    return softplus(z), sigmoid(z)


ACTIVATIONS: dict[str, Callable[[Array, float], tuple[Array, Array]]] = {
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hardswish": _hardswish,
    "mish": _mish,
    "softplus": _softplus,
}


def activate(z: Array, activation: Activation) -> Array:
    """The activation of z."""
    return z if activation is None else ACTIVATIONS[activation[0]](z, activation[1])[0]


def activation_gradient(dy: Array, z: Array, activation: Activation) -> Array:
    """dy times the derivative of the activation at z."""
    return dy if activation is None else dy * ACTIVATIONS[activation[0]](z, activation[1])[1]


# Elementwise


def add(x: Array, y: Array) -> Array:
    """x + y."""
    return x + y


def multiply(x: Array, y: Array) -> Array:
    """x times y."""
    return x * y


def relu(x: Array) -> Array:
    """x where it is positive, else 0."""
    return x.__array_namespace__().maximum(x, 0)


def relu_gradient(dy: Array, y: Array) -> Array:
    """dy where y, the output of a ReLU, is not 0."""
    xp = y.__array_namespace__()
    return xp.where(y <= 0, xp.zeros_like(dy), dy)


def add_relu(x: Array, y: Array) -> Array:
    """ReLU of x + y."""
    return relu(x + y)


def scale_gradient(dy: Array, x: Array, factors: Array) -> tuple[Array, Array]:
    """Gradients of x times factors with respect to both, where factors have length 1 along the axes that share them."""
    xp, added = x.__array_namespace__(), x.ndim - factors.ndim
    shared = tuple(i for i in range(x.ndim) if i < added or factors.shape[i - added] == 1)
    return dy * factors, xp.reshape(xp.sum(dy * x, axis=shared), factors.shape)


# Normalization. The axes share a mean and a variance; weight and bias have the rank of x, with length 1 where they are
# shared. One derivation serves batch, layer, group and instance norm: they differ in the axes alone. All of it is done
# in float64, as a square may be beyond float32 and long sums lose digits; what comes out is rounded once. What is too
# large, too small or too constant for float64 as well is measured in units of its own, a power of two for each group.


def normalize(
    x: Array, weight: Array | None, bias: Array | None, axes: tuple[int, ...], eps: float, activation: Activation
) -> tuple[Array, Array, Array]:
    """x̂ = (x - mean) / √(var + eps), times weight, plus bias, activated.

    Returns:
        The output, and the mean and the biased variance over `axes`, kept as length 1, in float64.
    """
    xp = x.__array_namespace__()
    mean = xp.mean(xp.astype(x, xp.float64), axis=axes, keepdims=True)
    centred, own = x - mean, 1.0
    var = xp.mean(centred * centred, axis=axes, keepdims=True)
    if not are_ordinary(x, mean, var, eps):
        own = group_unit(x, axes, eps)
        mean, var, eps = moments(x, axes, own, eps)
        centred = x / own - mean
    y = activate(_affine(centred * (1 / xp.sqrt(var + eps)), weight, bias), activation)
    return _like(x, y), mean * own, var * own * own


def normalize_gradient(
    dy: Array,
    x: Array,
    weight: Array | None,
    bias: Array | None,
    mean: Array,
    var: Array,
    axes: tuple[int, ...],
    eps: float,
    activation: Activation,
) -> tuple[Array, Array | None, Array | None]:
    """Gradients of `normalize` with respect to x, weight and bias.

    With r = 1/√(var + eps), x̂ = (x - mean) r and g = weight · dy, means taken over `axes`:
    dx = r (g - mean(g) - x̂ mean(g x̂)); dweight = Σ dy x̂; dbias = Σ dy.
    Source: Ioffe and Szegedy 2015, section 3, with the three paths of x (itself, mean, variance) joined.
    """
    xp, own, like = x.__array_namespace__(), 1.0, x
    if not are_ordinary(x, mean, var, eps):
        own = group_unit(x, axes, eps)
        mean, var, eps = moments(x, axes, own, eps)
        x = x / own
    dy, rstd = xp.astype(dy, xp.float64), 1 / xp.sqrt(var + eps)
    normal = (x - mean) * rstd
    dy = activation_gradient(dy, _affine(normal, weight, bias), activation)
    g = dy if weight is None else dy * weight
    dx = rstd * (g - xp.mean(g, axis=axes, keepdims=True) - normal * xp.mean(g * normal, axis=axes, keepdims=True))
    return _like(like, dx / own), _sum_like(dy * normal, weight), _sum_like(dy, bias)


def normalize_inference(
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    activation: Activation,
) -> Array:
    """`normalize` with a given mean and variance: constants, through which no gradient goes."""
    xp = x.__array_namespace__()
    mean, var = xp.astype(mean, xp.float64), xp.astype(var, xp.float64)
    normal = times_difference(x, mean, 1 / xp.sqrt(var + eps))
    return _like(x, activate(_affine(normal, weight, bias), activation))


def normalize_inference_gradient(
    dy: Array,
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    activation: Activation,
) -> tuple[Array, Array | None, Array | None]:
    """Gradients of `normalize_inference`: dx = weight · r · dy; dweight = Σ dy x̂; dbias = Σ dy."""
    xp = x.__array_namespace__()
    dy, mean, var = [xp.astype(array, xp.float64) for array in (dy, mean, var)]
    rstd = 1 / xp.sqrt(var + eps)
    normal = times_difference(x, mean, rstd)
    dy = activation_gradient(dy, _affine(normal, weight, bias), activation)
    dx = dy * rstd if weight is None else dy * rstd * weight
    return _like(x, dx), _sum_like(dy * normal, weight), _sum_like(dy, bias)


def rms_normalize(
    x: Array, weight: Array | None, axes: tuple[int, ...], eps: float, activation: Activation
) -> tuple[Array, Array]:
    """x / √(mean(x²) + eps), times weight, activated. Returns the output, and mean(x²) in float64.

    Source: Zhang and Sennrich 2019.
    """
    xp = x.__array_namespace__()
    wide, own = xp.astype(x, xp.float64), 1.0
    square = xp.mean(wide * wide, axis=axes, keepdims=True)
    if not are_ordinary(x, 0.0, square, eps):
        own = group_unit(x, axes, eps, centred=False)
        wide, eps = wide / own, eps / own / own
        square = xp.mean(wide * wide, axis=axes, keepdims=True)
    y = activate(_affine(wide * (1 / xp.sqrt(square + eps)), weight, None), activation)
    return _like(x, y), square * own * own


def rms_normalize_gradient(
    dy: Array,
    x: Array,
    weight: Array | None,
    square: Array,
    axes: tuple[int, ...],
    eps: float,
    activation: Activation,
) -> tuple[Array, Array | None]:
    """Gradients of `rms_normalize`: with x̂ = r x, dx = r (g - x̂ mean(g x̂)); dweight = Σ dy x̂."""
    xp, own, like = x.__array_namespace__(), 1.0, x
    if not are_ordinary(x, 0.0, square, eps):
        own = group_unit(x, axes, eps, centred=False)
        x, eps = x / own, eps / own / own
        square = xp.mean(x * x, axis=axes, keepdims=True)
    dy, rstd = xp.astype(dy, xp.float64), 1 / xp.sqrt(square + eps)
    normal = x * rstd
    dy = activation_gradient(dy, _affine(normal, weight, None), activation)
    g = dy if weight is None else dy * weight
    dx = rstd * (g - normal * xp.mean(g * normal, axis=axes, keepdims=True))
    return _like(like, dx / own), _sum_like(dy * normal, weight)


def _affine(normal: Array, weight: Array | None, bias: Array | None) -> Array:
    y = normal if weight is None else normal * weight
    return y if bias is None else y + bias


def _like(like: Array, x: Array) -> Array:
    """x, rounded to the dtype of `like`."""
    return x.__array_namespace__().astype(x, like.dtype, copy=False)


def _sum_like(x: Array, like: Array | None) -> Array | None:
    """x summed over the axes where `like` has length 1, and rounded to its dtype."""
    if like is None:
        return None
    axes = tuple(i for i, (n, m) in enumerate(zip(x.shape, like.shape, strict=True)) if m == 1 and n != 1)
    return _like(like, x.__array_namespace__().sum(x, axis=axes, keepdims=True) if axes else x)


# The linear layer


def matmul(x: Array, y: Array) -> Array:
    """The product of the last two axes, broadcast over those before."""
    return x @ y


def linear(x: Array, weight: Array, bias: Array | None, activation: Activation) -> Array:
    """x weightᵀ + bias, activated."""
    y = x @ weight.T
    return activate(y if bias is None else y + bias, activation)


def linear_gradient(
    dy: Array, x: Array, weight: Array, bias: Array | None, activation: Activation, needs: tuple[bool, ...]
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of `linear` that are needed: dx = dz weight; dweight = dzᵀ x; dbias = Σ dz.

    dz is the gradient of what is activated.
    """
    xp = x.__array_namespace__()
    if activation is not None:
        dy = activation_gradient(dy, linear(x, weight, bias, None), activation)
    count = math.prod(dy.shape[:-1])
    rows = xp.reshape(dy, (count, weight.shape[0]))
    dx = dy @ weight if needs[0] else None
    dweight = rows.T @ xp.reshape(x, (count, weight.shape[1])) if needs[1] else None
    return dx, dweight, xp.sum(rows, axis=0) if needs[2] else None


# Convolution. Images are [N, C, H, W], seen as [N, groups, C / groups, H, W]; the weight is [O, C / groups, kh, kw].


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


# Pooling. Images are [N, C, H, W]. Place k in a window is its row k // kw and its column k % kw.


class Window(NamedTuple):
    """The windows that are pooled, and how many of them there are along the height and the width."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    size: Pair


def max_pool2d(x: Array, window: Window) -> tuple[Array, Array]:
    """The largest value of each window, and its place: the first of equal ones, but a NaN beats all before it.

    Returns:
        y, and the places as small integers; kh kw where a window misses the image, whose largest value is -inf.
    """
    xp = x.__array_namespace__()
    nowhere = math.prod(window.kernel_size)
    y = xp.full((*x.shape[:2], *window.size), -xp.inf, dtype=x.dtype)
    position = xp.full(y.shape, nowhere, dtype=xp.uint8 if nowhere < 256 else xp.int32)
    for k, windows, pixels in _meetings(x.shape, window):
        value, best, at = x[pixels], y[windows], position[windows]
        better = (value > best) | xp.isnan(value) | (at == nowhere)
        y[windows] = xp.where(better, value, best)
        position[windows] = xp.where(better, xp.full_like(at, k), at)
    return y, position


def max_pool2d_gradient(dy: Array, position: Array, shape: tuple[int, ...], window: Window) -> Array:
    """The gradient with respect to x, of this shape: dy where the largest value was."""
    xp = dy.__array_namespace__()
    dx = xp.zeros(shape, dtype=dy.dtype)
    for k, windows, pixels in _meetings(shape, window):
        dx[pixels] += xp.where(position[windows] == k, dy[windows], xp.zeros_like(dy[windows]))
    return dx


def mean_of_pixels(x: Array) -> Array:
    """The mean of each channel of each image, taken in float64."""
    xp = x.__array_namespace__()
    return xp.astype(xp.mean(xp.astype(x, xp.float64), axis=(2, 3)), x.dtype)


def avg_pool2d(x: Array, divisor: Array, window: Window) -> Array:
    """The sum of each window, over its divisor [H', W']; a sum that is not finite is taken of shares instead."""
    xp = x.__array_namespace__()
    y = xp.zeros((*x.shape[:2], *window.size), dtype=x.dtype)
    for _, windows, pixels in _meetings(x.shape, window):
        y[windows] += x[pixels]
    y /= divisor
    if xp.all(xp.isfinite(y)):
        return y
    shares = xp.zeros_like(y)
    for _, windows, pixels in _meetings(x.shape, window):
        shares[windows] += x[pixels] / divisor[windows[1:]]
    return xp.where(xp.isfinite(y), y, shares)


def avg_pool2d_gradient(dy: Array, divisor: Array, shape: tuple[int, ...], window: Window) -> Array:
    """The gradient with respect to x, of this shape: the sum of dy / divisor over the windows that a pixel is in."""
    dx, share = dy.__array_namespace__().zeros(shape, dtype=dy.dtype), dy / divisor
    for _, windows, pixels in _meetings(shape, window):
        dx[pixels] += share[windows]
    return dx


def _meetings(shape: tuple[int, ...], window: Window) -> Iterator[tuple[int, tuple[Any, ...], tuple[Any, ...]]]:
    """For each place k in a window: the windows in which it meets a pixel of the image, and these pixels."""
    for k, place in enumerate(np.ndindex(window.kernel_size)):
        windows, pixels = [], []
        for n, i, _, s, p, d, count in zip(shape[2:], place, *window, strict=True):
            shift = i * d - p  # window w meets pixel s w + shift
            first, end = max(0, -(shift // s)), min(count, (n - 1 - shift) // s + 1)
            if first < end:
                windows.append(slice(first, end))
                pixels.append(slice(s * first + shift, s * (end - 1) + shift + 1, s))
        if len(pixels) == 2:
            yield k, (..., *windows), (..., *pixels)


# Losses


def cross_entropy(
    logits: Array, target: Array, weight: Array | None, smoothing: float, ignore: int
) -> tuple[Array, Array]:
    """The cross-entropy of each row of logits [N, C] with its class in target [N].

    Σ_k q_k (log Σ exp(logits) - logit_k), where q is the weighted and smoothed target; 0 where the class is `ignore`.

    Returns:
        The losses [N], and in float64 [2, N] the highest logits and log Σ exp(logits - highest): large logits would
        take all digits of a sum of the two.
    """
    xp = logits.__array_namespace__()
    wide = xp.astype(logits, xp.float64)  # as for the norms: a difference of large logits keeps its digits
    highest = xp.max(wide, axis=1, keepdims=True)
    rest = xp.log(xp.sum(xp.exp(wide - highest), axis=1, keepdims=True))
    q = _soft_target(wide, target, weight, smoothing, ignore)
    surprise = xp.where(q == 0, xp.zeros_like(wide), rest + (highest - wide))  # a class of logit -inf may have q = 0
    return _like(logits, xp.sum(q * surprise, axis=1)), xp.concat([highest.T, rest.T])


def cross_entropy_gradient(
    dloss: Array, logits: Array, target: Array, weight: Array | None, lse: Array, smoothing: float, ignore: int
) -> Array:
    """The gradient with respect to the logits: dloss (p Σ q - q), where p = softmax(logits); 0 where it is ignored."""
    xp = logits.__array_namespace__()
    wide, highest, rest = xp.astype(logits, xp.float64), lse[0, :][:, None], lse[1, :][:, None]
    q = _soft_target(wide, target, weight, smoothing, ignore)
    p = xp.exp(wide - highest - rest)
    found = dloss[:, None] * (p * xp.sum(q, axis=1, keepdims=True) - q)
    return _like(logits, xp.where((target == ignore)[:, None], xp.zeros_like(found), found))


def _soft_target(logits: Array, target: Array, weight: Array | None, smoothing: float, ignore: int) -> Array:
    """q [N, C]: 1 - smoothing at the class, and smoothing / C everywhere, times the class weights; 0 if ignored.

    Source: Szegedy et al. 2016, section 7.
    """
    xp = logits.__array_namespace__()
    one_hot = xp.astype(xp.arange(logits.shape[1])[None, :] == target[:, None], logits.dtype)
    q = (1 - smoothing) * one_hot + smoothing / logits.shape[1]
    q = q if weight is None else q * weight[None, :]
    return q * xp.astype(target != ignore, logits.dtype)[:, None]


# Optimizers: one step of one parameter. What is updated is written in place; a buffer of None is not used.


def sgd_update(
    parameter: Array,
    gradient: Array,
    momentum_buffer: Array | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """Stochastic gradient descent: v = μv + (1−τ)g, θ = θ − ηv.

    Source: Sutskever et al. 2013; `nesterov`: θ = θ − η(g + μv).
    """
    if weight_decay != 0:
        gradient = gradient + weight_decay * parameter
    if momentum_buffer is not None:
        momentum_buffer *= momentum
        momentum_buffer += (1 - dampening) * gradient
        gradient = gradient + momentum * momentum_buffer if nesterov else momentum_buffer
    parameter -= lr * gradient


def adam_update(
    parameter: Array,
    gradient: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    max_exp_avg_sq: Array | None,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Adam: m = β₁m + (1−β₁)g, v = β₂v + (1−β₂)g², θ = θ − η·m̂ / (√v̂ + ε), where m̂ = m / (1−β₁ᵗ), v̂ = v / (1−β₂ᵗ).

    Source: Kingma and Ba 2015; `decoupled`: Loshchilov and Hutter 2019; `max_exp_avg_sq`: Reddi et al. 2018.
    """
    xp = parameter.__array_namespace__()
    if decoupled:
        parameter *= 1 - lr * weight_decay
    elif weight_decay != 0:
        gradient = gradient + weight_decay * parameter
    exp_avg += (1 - beta1) * (gradient - exp_avg)
    exp_avg_sq *= beta2
    exp_avg_sq += (1 - beta2) * gradient * gradient
    if max_exp_avg_sq is not None:
        max_exp_avg_sq[...] = xp.maximum(max_exp_avg_sq, exp_avg_sq)
        exp_avg_sq = max_exp_avg_sq
    denominator = xp.sqrt(exp_avg_sq) / (1 - beta2**step) ** 0.5 + eps
    parameter -= lr / (1 - beta1**step) * exp_avg / denominator


def rmsprop_update(
    parameter: Array,
    gradient: Array,
    square_avg: Array,
    grad_avg: Array | None,
    momentum_buffer: Array | None,
    *,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
) -> None:
    """RMSprop: s = αs + (1−α)g², θ = θ − ηg / (√s + ε); with `grad_avg`, its square is taken from s.

    Source: Hinton 2012, lecture 6; `grad_avg`: Graves 2013.
    """
    xp = parameter.__array_namespace__()
    if weight_decay != 0:
        gradient = gradient + weight_decay * parameter
    square_avg *= alpha
    square_avg += (1 - alpha) * gradient * gradient
    variance = square_avg
    if grad_avg is not None:
        grad_avg += (1 - alpha) * (gradient - grad_avg)
        variance = xp.clip(square_avg - grad_avg * grad_avg, 0, None)  # rounding may take it below 0
    update = gradient / (xp.sqrt(variance) + eps)
    if momentum_buffer is not None:
        momentum_buffer *= momentum
        momentum_buffer += update
        update = momentum_buffer
    parameter -= lr * update
