"""Each activation against the reference, over all floats and in every layout."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinygrad_norm import definitions
from tinygrad_norm.kernels import cpu
from tinygrad_norm.kernels.cpu import compiler

ACTIVATIONS = [(name, 0.3) for name in definitions.ACTIVATIONS]
PLAIN = (1, 1), ((0, 0), (0, 0)), (1, 1), 1
"""Stride, padding, dilation and groups of a convolution."""
SIZES = np.logspace(-30, 2.5, 2001)
EVERYWHERE = np.concatenate([-SIZES, [-708.5, -708, -3, -1e-300, -0.0, 0, 1e-300, 3, 709], SIZES])
# In float32, exp(-z²/2) far from 0 has the rounding of its argument; derivatives that cross 0 have an absolute error.
TOLERANCE = {
    np.float32: ({"rtol": 1.5e-6, "atol": 1e-12}, {"rtol": 1.5e-6, "atol": 3e-7}),
    np.float64: ({"rtol": 1e-12, "atol": 1e-14}, {"rtol": 1e-12, "atol": 1e-14}),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_value_and_derivative(activation, dtype, rng):
    z = EVERYWHERE.astype(dtype)
    dy = rng.normal(size=z.shape).astype(dtype)
    y, dz = cpu.activate(z, activation), cpu.activation_gradient(dy, z, activation)
    slope = cpu.activation_gradient(np.ones_like(z), z, activation)
    assert y.dtype == dz.dtype == dtype
    with np.errstate(under="ignore"):
        wide = z.astype(np.float64)
        np.testing.assert_allclose(y, definitions.activate(wide, activation), **TOLERANCE[dtype][0])
        expected = definitions.activation_gradient(np.ones_like(wide), wide, activation)
        np.testing.assert_allclose(slope, expected, **TOLERANCE[dtype][1])
        np.testing.assert_array_equal(dz, dy * slope)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_is_kept_and_infinity_gives_the_limit(activation, dtype):
    z = np.array([np.nan, np.inf, -np.inf, 1.0], dtype)
    y, slope = cpu.activate(z, activation), cpu.activation_gradient(np.ones_like(z), z, activation)
    np.testing.assert_allclose(y, definitions.activate(z, activation), rtol=1e-6)
    np.testing.assert_allclose(slope, definitions.activation_gradient(np.ones_like(z), z, activation), rtol=1e-6)
    assert not np.isnan([y[1:], slope[1:]]).any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_leaves_the_range_before_a_fused_activation_gives_its_limit(activation, rng):
    x, weight = (1e20 * rng.choice([-1.0, 1.0], size=(n, 1, 1, 1)) for n in (7, 6))
    expected = definitions.conv2d(x, weight, None, *PLAIN, activation)
    narrow = x.astype(np.float32), weight.astype(np.float32)
    with np.errstate(over="ignore"):
        expected = expected.astype(np.float32)
    np.testing.assert_allclose(cpu.conv2d(*narrow, None, *PLAIN, activation), expected, rtol=1e-6)
    found = cpu.linear(*[each[..., 0, 0] for each in narrow], None, activation)
    np.testing.assert_allclose(found, expected[..., 0, 0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_named_functions(dtype):
    z = np.linspace(-8, 8, 20_001, dtype=dtype)
    for function, narrow in {"sigmoid": 3e-7, "softplus": 3e-7, "erf": 3e-7, "ndtr": 5e-6}.items():
        expected = getattr(definitions, function)(z.astype(np.float64))
        np.testing.assert_allclose(getattr(cpu, function)(z), expected, rtol=narrow if dtype == np.float32 else 2e-14)
    np.testing.assert_allclose(cpu.erf(z.astype(float)), [math.erf(v) for v in z], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["sigmoid", "silu"])
def test_tails_are_exact_as_far_as_their_exponential_is_a_finite_number(name, dtype):
    end = 88 if dtype == np.float32 else 709
    z = -np.linspace(1, end, 20_001, dtype=dtype)
    expected = definitions.activate(z.astype(np.float64), (name, 0.0))
    np.testing.assert_allclose(cpu.activate(z, (name, 0.0)), expected, rtol=8 * np.finfo(dtype).eps, atol=0)
    assert not cpu.activate(np.array([-end - 2, -1e30], dtype), (name, 0.0)).any()


def test_next_to_0_an_exponential_is_exact():
    z = np.array([1e-20, -1e-20, 1e-30])
    np.testing.assert_array_equal(cpu.activate(z, ("tanh", 0.0)), z)
    np.testing.assert_array_equal(cpu.activate(z, ("elu", 1.0)), z)


LAYOUTS = {
    "channels last": lambda x: x.transpose(0, 3, 1, 2),
    "every other": lambda x: x[:, ::2],
    "backwards": lambda x: x[::-1],
    "repeated": lambda x: np.broadcast_to(x[:1], x.shape),
    "a number": lambda x: x[0, 0, 0, 0],
    "empty": lambda x: x[:0],
}


@pytest.mark.parametrize("seen", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(seen, rng):
    z, dy = (np.asarray(seen(array)) for array in rng.normal(size=(2, 3, 4, 5, 2)))
    before = z.copy()
    y, dz = cpu.activate(z, ("silu", 0.0)), cpu.activation_gradient(np.array(dy, order="C"), z, ("silu", 0.0))
    np.testing.assert_allclose(y, definitions.activate(z, ("silu", 0.0)), rtol=1e-14)
    np.testing.assert_allclose(dz, definitions.activation_gradient(dy, z, ("silu", 0.0)), rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(z, before)
    assert np.empty_like(z).strides == y.strides == dz.strides


def test_no_activation_costs_nothing():
    z, dy = np.zeros((2, 3))
    assert cpu.activate(z, None) is z
    assert cpu.activation_gradient(dy, z, None) is dy


def test_many_threads_compute_the_same(monkeypatch, rng):
    z = rng.normal(size=1003)
    alone = cpu.activate(z, ("silu", 0.0))
    monkeypatch.setattr(compiler, "LARGE", 1003)
    np.testing.assert_allclose(cpu.activate(z, ("silu", 0.0)), alone, rtol=1e-14)
