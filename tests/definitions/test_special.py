"""What says that the special functions are right: their formulas in 60 digits, and the C library."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from tests.definitions.array_api import agree
from tinygrad_norm import Tensor, grad, ops
from tinygrad_norm.definitions import special
from tinygrad_norm.testing import gradcheck

FORMULAS = {
    "erf": mpmath.erf,
    "ndtr": lambda z: mpmath.ncdf(z) if abs(z) < 1000 else mpmath.mpf(z > 0),
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "softplus": lambda z: max(z, 0) + mpmath.log1p(mpmath.exp(-abs(z))),
}
OPS = {"erf": "Erf", "ndtr": "Ndtr", "relu": "Relu", "rsqrt": "Rsqrt", "sigmoid": "Sigmoid", "softplus": "Softplus"}


def inputs(dtype):
    """Numbers of every size, of both signs, and where one series follows another or a power overflows."""
    info = np.finfo(dtype)
    exponents = np.linspace(np.log10(info.smallest_subnormal), np.log10(info.max) - 0.01, 60)
    bounds = [np.nextafter(dtype(bound), dtype(way)) for bound in (1, 5) for way in (0, bound, 100)]
    sizes = [0, info.max, info.tiny, *10.0**exponents, *np.linspace(0.1, 30, 90), *bounds, 88, 89, 104, 709, 746]
    return np.array([*sizes, *np.negative(sizes)], dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FORMULAS)
@np.errstate(all="ignore")
def test_arrays_and_tensors(name, dtype):
    z, function, info = inputs(dtype), getattr(special, name), np.finfo(dtype)
    roundings = 1000 if name == "ndtr" else 300  # far below 0, those of z²
    with mpmath.workdps(60):
        expected = np.array([float(FORMULAS[name](mpmath.mpf(float(each)))) for each in z])
    found, of_tensors = function(z), function(Tensor(z)).numpy()
    assert found.dtype == of_tensors.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=roundings * info.eps, atol=info.tiny)
    np.testing.assert_allclose(of_tensors, expected, rtol=roundings * info.eps, atol=2 * info.tiny)


def test_erf_is_that_of_the_c_library():
    z = np.concatenate([np.linspace(-7, 7, 2001), [1e-300, -1e-8, 0.0, 30.0, -1e100]])
    expected = [math.erf(v) for v in z]
    np.testing.assert_allclose(special.erf(z), expected, rtol=2e-14)


@pytest.mark.parametrize("name", [*OPS, "stop_gradient"])
def test_the_standard_is_enough(name, rng):
    z = rng.normal(0, 3, (5, 7))
    agree(getattr(special, name), np.abs(z) if name == "rsqrt" else z)


@pytest.mark.parametrize("name", OPS)
def test_on_tensors_each_is_one_op(name):
    x = Tensor([0.25, 2.0], requires_grad=True)
    entry = getattr(special, name)(x).creator
    assert type(entry).__name__ == OPS[name]
    assert entry.edges == (x,)


@pytest.mark.parametrize("name", OPS)
def test_derivatives_of_the_first_three_orders(name, rng):
    x = Tensor(rng.uniform(0.3, 3, (3, 4)) * (1 if name == "rsqrt" else [1, -1, 1, -1]), requires_grad=True)
    gradcheck(lambda x: ops.square(getattr(special, name)(x)), [x], order=3)


def test_relu_has_the_derivative_0_at_0_and_lets_nan_pass():
    z = np.array([-2.0, -0.0, 0.0, 3.0, np.nan])
    np.testing.assert_array_equal(special.relu(z), [0, 0, 0, 3, np.nan])
    x = Tensor(z[:4], requires_grad=True)
    assert grad(special.relu(x), x, np.ones(4))[0].tolist() == [0, 0, 0, 1]


def test_the_reciprocal_root():
    np.testing.assert_array_equal(special.rsqrt(np.array([0.25, 4.0, 1e-300])), [2, 0.5, 1e150])


def test_a_stopped_gradient_leaves_the_value_and_no_edge():
    x = Tensor([1.5, -2.0], requires_grad=True)
    stopped = special.stop_gradient(x)
    assert stopped.tolist() == [1.5, -2.0]
    assert not stopped.requires_grad
    (dx,) = grad(x * stopped, x, np.ones(2))
    assert dx.tolist() == [1.5, -2.0]  # and not twice that, as of a square
    assert special.stop_gradient(x.raw) is x.raw
