"""What says that the activations are right: their formulas in 60 digits, written apart, and finite differences."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from tests.definitions.array_api import agree
from tinygrad_norm import Tensor, composed, grad, kernels, ops
from tinygrad_norm.definitions import ACTIVATIONS, activate, activation_gradient
from tinygrad_norm.testing import gradcheck

SLOPE = 0.3
ALPHA = 1.7


def logistic(z):
    return 1 / (1 + mpmath.exp(-z))


def normal(z):
    """The distribution function, which has less than 60 digits beyond 1000."""
    return mpmath.ncdf(z) if abs(z) < 1000 else mpmath.mpf(z > 0)


def tanh_of(z):
    return mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (z + mpmath.mpf("0.044715") * z**3))


def gelu_tanh_slope(z):
    t, inner = tanh_of(z), mpmath.sqrt(2 / mpmath.pi) * (1 + 3 * mpmath.mpf("0.044715") * z**2)
    return (1 + t) / 2 + z / 2 * inner * (1 - t) * (1 + t)


def mish_slope(z):
    u = mpmath.log1p(mpmath.exp(z)) if z < 0 else z + mpmath.log1p(mpmath.exp(-z))
    return mpmath.tanh(u) + z * mpmath.sech(u) ** 2 * logistic(z)


EXACT = {  # the value, and the derivative; at a kink PyTorch's
    "relu": (lambda z: max(z, 0), lambda z: z > 0),
    "leaky_relu": (lambda z: z if z > 0 else mpmath.mpf(SLOPE) * z, lambda z: 1 if z > 0 else SLOPE),
    "elu": (
        lambda z: z if z > 0 else mpmath.mpf(ALPHA) * mpmath.expm1(z),
        lambda z: 1 if z > 0 else mpmath.mpf(ALPHA) * mpmath.exp(z),
    ),
    "sigmoid": (logistic, lambda z: logistic(z) * logistic(-z)),
    "tanh": (mpmath.tanh, lambda z: mpmath.sech(z) ** 2),
    "silu": (lambda z: z * logistic(z), lambda z: logistic(z) * (1 + z * logistic(-z))),
    "gelu": (lambda z: z * normal(z), lambda z: normal(z) + z * mpmath.npdf(z)),
    "gelu_tanh": (lambda z: z * (1 + tanh_of(z)) / 2, gelu_tanh_slope),
    "hardswish": (
        lambda z: z * min(max(z + 3, 0), 6) / 6,
        lambda z: 0 if z <= -3 else 1 if z >= 3 else z / 3 + mpmath.mpf(1) / 2,
    ),
    "mish": (lambda z: z * mpmath.tanh(mpmath.log1p(mpmath.exp(z))), mish_slope),
    "softplus": (lambda z: max(z, 0) + mpmath.log1p(mpmath.exp(-abs(z))), logistic),
}
PARAMETERS = {"leaky_relu": SLOPE, "elu": ALPHA}
names = pytest.mark.parametrize("name", ACTIVATIONS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def inputs(dtype):
    """Numbers of every size, of both signs, and what the formulas take for a bound."""
    info = np.finfo(dtype)
    exponents = np.linspace(np.log10(info.smallest_subnormal), np.log10(info.max) - 0.01, 60)
    kinks = [np.nextafter(dtype(bound), dtype(way)) for bound in (3, 25) for way in (0, bound, 100)]
    sizes = [0, info.max, info.tiny, *10.0**exponents, *np.linspace(0.1, 30, 90), *kinks, 88, 89, 104, 709, 746]
    return np.array([*sizes, *np.negative(sizes)], dtype)


def exact(name, z, which):
    with mpmath.workdps(60):
        return np.array([float(EXACT[name][which](mpmath.mpf(float(each)))) for each in z])


def assert_right(found, expected, z):
    """To a few roundings of the result, or of the terms of some size that cancel in it."""
    info = np.finfo(z.dtype)
    assert found.dtype == z.dtype
    tolerated = 32 * info.eps * (np.abs(expected) + np.minimum(np.abs(z), 10.0)) + 2 * info.tiny
    wrong = ~(np.abs(found - expected) <= tolerated)
    assert not wrong.any(), list(zip(z[wrong], found[wrong], expected[wrong], strict=True))[:5]


def test_every_activation_has_a_formula_written_apart():
    assert EXACT.keys() == ACTIVATIONS.keys()
    assert {name for name, definition in ACTIVATIONS.items() if definition.parameter is not None} == PARAMETERS.keys()


@dtypes
@names
@np.errstate(all="ignore")
def test_arrays(name, dtype):
    z, activation = inputs(dtype), (name, PARAMETERS.get(name, 0.0))
    assert_right(activate(z, activation), exact(name, z, 0), z)
    assert_right(activation_gradient(np.ones_like(z), z, activation), exact(name, z, 1), z)


@dtypes
@names
def test_tensors(name, dtype):
    z = Tensor(inputs(dtype), requires_grad=True)
    y = activate(z, (name, PARAMETERS.get(name, 0.0)))
    assert_right(y.numpy(), exact(name, z.raw, 0), z.raw)
    (slope,) = grad(y, [z], np.ones_like(z.raw))
    assert_right(slope.numpy(), exact(name, z.raw, 1), z.raw)


@names
def test_derivatives_of_any_order(name, rng):
    z = rng.normal(0, 2.5, (3, 5))
    for kink in (-3, 0, 3):
        z = np.where(np.abs(z - kink) < 0.01, kink + 0.1, z)
    activation = name, PARAMETERS.get(name, 0.0)
    gradcheck(lambda z: ops.square(activate(z, activation)), [Tensor(z, requires_grad=True)], order=3)


@pytest.mark.parametrize("name", ["gelu_tanh", "hardswish", "relu", "leaky_relu", "elu"])
def test_the_derivative_of_a_composed_activation_of_the_largest_numbers(name):
    op = {"gelu_tanh": lambda x: ops.gelu(x, "tanh")}.get(name) or getattr(ops, name)
    x = Tensor(np.array([1e20, -1e20, 3e38, -3e38], np.float32), requires_grad=True)
    left = {"leaky_relu": 0.01}.get(name, 0)
    with composed():
        np.testing.assert_allclose(grad(op(x), x, np.ones(4))[0].numpy(), [1, left, 1, left], rtol=1e-6)


TAILS = {  # to which relative error the value and the derivative are right, and up to which |z| that is checked
    "sigmoid": (1e-15, 1e-15, 700),
    "tanh": (1e-15, 2e-15, 350),
    "silu": (1e-15, 2e-15, 700),
    "gelu": (1e-13, 1e-13, 37),
    "gelu_tanh": (1e-13, 1e-13, 10),
    "mish": (2e-15, 3e-15, 350),
    "elu": (1e-15, 1e-15, 700),
    "softplus": (1e-15, 1e-15, 700),
}


@pytest.mark.parametrize("name", TAILS)
def test_tails_keep_their_digits(name, monkeypatch):
    """On arrays and, where no kernels stand in for the definition, on tensors."""
    monkeypatch.setattr(kernels, "_use_cpu", False)
    by_value, by_slope, far = TAILS[name]
    sizes, activation = np.linspace(4, far, 400), (name, PARAMETERS.get(name, 0.0))
    z = np.concatenate([sizes, -sizes])
    value, slope = exact(name, z, 0), exact(name, z, 1)
    np.testing.assert_allclose(activate(z, activation), value, rtol=by_value)
    np.testing.assert_allclose(activation_gradient(np.ones_like(z), z, activation), slope, rtol=by_slope)
    x = Tensor(z, requires_grad=True)
    y = activate(x, activation)
    np.testing.assert_allclose(y.numpy(), value, rtol=by_value)
    np.testing.assert_allclose(grad(y, x, np.ones_like(z))[0].numpy(), slope, rtol=by_slope)


LIMITS = {"leaky_relu": (-np.inf, SLOPE, 1), "elu": (-ALPHA, 0, 1), "sigmoid": (0, 0, 0), "tanh": (-1, 0, 0)}
"""The value and the slope at -∞, and the slope at ∞, where they are not 0, 0 and 1."""


@names
def test_at_infinity_are_the_limits(name):
    z, activation = np.array([-np.inf, np.inf, np.nan]), (name, PARAMETERS.get(name, 0.0))
    low, *slopes = LIMITS.get(name, (0, 0, 1))
    high = 1 if name in ("sigmoid", "tanh") else np.inf
    x = Tensor(z, requires_grad=True)
    y = activate(x, activation)
    for found in activate(z, activation), y.numpy():
        np.testing.assert_array_equal(found, [low, high, np.nan])
    for found in activation_gradient(np.ones(3), z, activation), grad(y, x, np.ones(3))[0].numpy():
        np.testing.assert_array_equal(found[:2], slopes)


def test_gelu_is_few_entries_on_the_tape():
    creators, seen = [activate(Tensor([1.0], requires_grad=True), ("gelu", 0.0)).creator], set()
    while creators:
        entry = creators.pop()
        if entry is not None and entry not in seen and hasattr(entry, "edges"):
            seen.add(entry)
            creators += entry.edges
    assert sorted(type(entry).__name__ for entry in seen) == ["Gated", "Ndtr"]


@pytest.mark.parametrize("activation", [None, *((name, 0.3) for name in ACTIVATIONS)])
def test_the_standard_is_enough(activation, rng):
    z, dy = rng.normal(0, 3, (2, 5, 7))
    agree(activate, z, activation)
    agree(activation_gradient, dy, z, activation)


@pytest.mark.parametrize(
    ("name", "kink", "value", "slope"),
    [
        ("relu", 0.0, 0.0, 0.0),
        ("leaky_relu", 0.0, 0.0, 0.3),
        ("elu", 0.0, 0.0, 0.3),
        ("hardswish", -3.0, 0.0, 0.0),
        ("hardswish", 3.0, 3.0, 1.0),
        ("softplus", 0.0, math.log(2), 0.5),
    ],
)
def test_a_fused_activation_has_the_slope_of_its_op_at_a_kink(name, kink, value, slope):
    z, dy = np.array([kink]), np.array([5.0])
    assert activate(z, (name, 0.3)).item() == pytest.approx(value)
    assert activation_gradient(dy, z, (name, 0.3)).item() == pytest.approx(5 * slope)


def test_no_activation_changes_nothing():
    z, dy = np.array([-1.0, 2.0]), np.array([3.0, 4.0])
    assert activate(z, None) is z
    assert activation_gradient(dy, z, None) is dy
