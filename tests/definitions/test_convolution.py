"""Convolution as it is defined: the sum that it stands for, in exact fractions; the standard is enough; its edges."""

from __future__ import annotations

from fractions import Fraction

import array_api_strict as xp
import numpy as np
import pytest

from tinygrad_norm import Tensor, definitions, grad
from tinygrad_norm.testing import gradcheck

CASES = [
    ((2, 3, 5, 6), (4, 3, 3, 2), ((1, 1), ((0, 0), (0, 0)), (1, 1), 1, None)),
    ((2, 4, 5, 6), (6, 2, 3, 2), ((2, 3), ((1, 0), (2, 1)), (1, 2), 2, ("silu", 0.0))),
    ((1, 3, 1, 1), (3, 1, 3, 3), ((1, 1), ((1, 1), (1, 1)), (1, 1), 3, ("leaky_relu", 0.1))),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "weight", "how"), CASES)
def test_the_standard_is_enough(shape, weight, how, dtype, rng):
    x, w, b = [rng.normal(size=size).astype(dtype) for size in (shape, weight, weight[:1])]
    y = definitions.conv2d(x, w, b, *how)
    dy = rng.normal(size=y.shape).astype(dtype)
    expected = (y, *definitions.conv2d_gradient(dy, x, w, b, *how, (True, True, True)))
    strict = [xp.asarray(array) for array in (dy, x, w, b)]
    found = (definitions.conv2d(*strict[1:], *how), *definitions.conv2d_gradient(*strict, *how, (True, True, True)))
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, type(strict[0]))
        assert (one.shape, np.from_dlpack(one).dtype) == (other.shape, dtype)
        np.testing.assert_allclose(np.from_dlpack(one), other, rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_only_what_is_needed_is_computed(wanted, rng):
    shape, weight, how = CASES[1]
    x, w = rng.normal(size=shape), rng.normal(size=weight)
    dy = np.ones_like(definitions.conv2d(x, w, None, *how))
    results = definitions.conv2d_gradient(dy, x, w, None, *how, tuple(i == wanted for i in range(3)))
    assert [result is not None for result in results] == [i == wanted for i in range(3)]


def test_the_pixels_that_no_window_meets_have_no_gradient(rng):
    x, w = rng.normal(size=(1, 1, 6, 6)), rng.normal(size=(1, 1, 1, 2))
    dy = rng.normal(size=(1, 1, 2, 2))
    dx = definitions.conv2d_gradient(dy, x, w, None, (4, 3), ((0, 0), (0, 0)), (1, 1), 1, None, (True, False, False))[0]
    expected = np.zeros((6, 6))
    for (i, j), value in np.ndenumerate(dy[0, 0]):
        expected[4 * i, 3 * j : 3 * j + 2] = value * w[0, 0, 0]
    np.testing.assert_allclose(dx[0, 0], expected, rtol=1e-14)


def by_hand(x, weight, bias, stride, padding, dilation, groups):
    """Each output by its own loop over channels and kernel, in fractions, which round nothing."""
    (n, channels, *size), (outputs, depth, *kernel) = x.shape, weight.shape
    counts = [
        (length + sum(ends) - d * (k - 1) - 1) // s + 1
        for length, k, s, ends, d in zip(size, kernel, stride, padding, dilation, strict=True)
    ]
    y = np.zeros((n, outputs, *counts))
    for image, o, i, j in np.ndindex(y.shape):
        total = Fraction(bias[o])
        for c, a, b in np.ndindex(depth, *kernel):
            row, column = (
                place * s + at * d - ends[0]
                for place, at, s, ends, d in zip((i, j), (a, b), stride, padding, dilation, strict=True)
            )
            if 0 <= row < size[0] and 0 <= column < size[1]:
                channel = o // (outputs // groups) * depth + c
                total += Fraction(x[image, channel, row, column]) * Fraction(weight[o, c, a, b])
        y[image, o, i, j] = float(total)
    assert channels == depth * groups
    return y


@pytest.mark.parametrize(("shape", "weight", "how"), CASES)
def test_is_the_sum_that_it_stands_for_on_arrays_and_tensors(shape, weight, how, rng):
    x, w, b = [rng.normal(size=size) for size in (shape, weight, weight[:1])]
    expected = by_hand(x, w, b, *how[:-1])
    np.testing.assert_allclose(definitions.conv2d(x, w, b, *how[:-1], None), expected, rtol=1e-12, atol=1e-13)
    found = definitions.conv2d(*map(Tensor, (x, w, b)), *how[:-1], None)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("shape", "weight", "how"), CASES)
def test_the_closed_form_is_the_derivative_of_the_definition(shape, weight, how, rng):
    leaves = [Tensor(rng.normal(size=size), requires_grad=True) for size in (shape, weight, weight[:1])]
    y = definitions.conv2d(*leaves, *how)
    dy = rng.normal(size=y.shape)
    closed = definitions.conv2d_gradient(dy, *[leaf.raw for leaf in leaves], *how, (True, True, True))
    for one, other in zip(closed, grad(y, leaves, dy), strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-11, atol=1e-12)


def test_derivatives_of_the_definition(rng):
    shape, weight, how = CASES[1]
    leaves = [Tensor(rng.normal(size=size), requires_grad=True) for size in ((1, *shape[1:]), weight, weight[:1])]
    gradcheck(lambda *given: definitions.conv2d(*given, *how), leaves, order=2)
