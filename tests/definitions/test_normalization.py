"""What says that normalization is right: its formula in 250 digits, differentiated by differences there."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
import pytest

from tests.definitions.array_api import agree
from tinygrad_norm import Tensor, definitions, grad
from tinygrad_norm.testing import gradcheck

SIZES = [1e-38, 1e-22, 1e-3, 1.0, 1e19, 1e37]
CASES = [
    *((np.float32, size, eps, mean) for size, eps, mean in itertools.product(SIZES, (0.0, 1e-5), (0.0, 3.0))),
    *((np.float64, size, eps, 3.0) for size, eps in itertools.product((1e-150, 1e-22, 1.0, 1e37, 1e150), (0.0, 1e-5))),
    (np.float64, 1.0, 0.0, 1e7),
]
cases = pytest.mark.parametrize(("dtype", "size", "eps", "mean"), CASES)


def norm(x, weight, bias, eps, centred):
    """One group in extended precision: weight (x - mean) / √(var + eps) + bias."""
    mean = mpmath.fsum(x) / len(x) if centred else mpmath.mpf(0)
    var = mpmath.fsum((each - mean) ** 2 for each in x) / len(x)
    return [w * (each - mean) / mpmath.sqrt(var + eps) + b for each, w, b in zip(x, weight, bias, strict=True)]


def exact(x, weight, bias, eps, dy, centred=True):
    """The outputs of groups [N, K] in a row, and the gradients of Σ dy y by differences of a step of 1e-60."""
    y, dx, dweight, dbias = np.zeros(x.shape), np.zeros(x.shape), np.zeros(x.shape[1]), np.zeros(x.shape[1])
    with mpmath.workdps(250):
        w, b = ([mpmath.mpf(each) for each in array.tolist()] for array in (weight, bias))
        for n, row in enumerate(x.tolist()):
            values, c = [mpmath.mpf(each) for each in row], [mpmath.mpf(each) for each in dy[n].tolist()]
            total = lambda *inputs, c=c: mpmath.fdot(c, norm(*inputs, mpmath.mpf(eps), centred))  # noqa: E731
            y[n] = norm(values, w, b, mpmath.mpf(eps), centred)
            for found, place in ((dx[n], 0), (dweight, 1), (dbias, 2)):
                for k in range(len(values)):
                    inputs = [list(values), list(w), list(b)]
                    step = mpmath.mpf(10) ** -60 * (max(abs(each) for each in inputs[place]) or 1)
                    inputs[place][k] += step
                    found[k] += float((total(*inputs) - total(values, w, b)) / step)
    return y, dx, dweight, dbias


def example(rng, dtype, size, mean):
    x = (size * (rng.normal(size=(2, 5)) + mean)).astype(dtype)
    weight, bias, dy = (rng.normal(0.5, 1, size=shape).astype(dtype) for shape in (5, 5, (2, 5)))
    return x, weight, bias, dy


def assert_close(found, expected, dtype):
    """To some roundings of the largest in each row."""
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        tolerated = 40 * np.finfo(dtype).eps
        largest = np.abs(other).max(axis=-1, keepdims=True)
        assert (np.abs(one.reshape(other.shape) - other) <= tolerated * largest + np.finfo(dtype).tiny).all()


@cases
def test_arrays_and_tensors(dtype, size, eps, mean, rng):
    x, weight, bias, dy = example(rng, dtype, size, mean)
    w, b = weight[None], bias[None]
    expected = exact(x, weight, bias, eps, dy)
    y, *statistics = definitions.normalize(x, w, b, (1,), eps, None)
    closed = definitions.normalize_gradient(dy, x, w, b, *statistics, (1,), eps, None)
    assert_close([y, *closed], expected, dtype)
    leaves = [Tensor(array, requires_grad=True) for array in (x, w, b)]
    composed, *_ = definitions.normalize(*leaves, (1,), eps, None)
    assert_close([each.raw for each in (composed, *grad(composed, leaves, dy))], expected, dtype)


@cases
def test_the_root_mean_square(dtype, size, eps, mean, rng):
    x, weight, _, dy = example(rng, dtype, size, mean)
    y, dx, dweight, _ = exact(x, weight, np.zeros(5), eps, dy, centred=False)
    found, square = definitions.rms_normalize(x, weight[None], (1,), eps, None)
    closed = definitions.rms_normalize_gradient(dy, x, weight[None], square, (1,), eps, None)
    assert_close([found, *closed], (y, dx, dweight), dtype)
    leaves = [Tensor(array, requires_grad=True) for array in (x, weight[None])]
    composed, _ = definitions.rms_normalize(*leaves, (1,), eps, None)
    assert_close([each.raw for each in (composed, *grad(composed, leaves, dy))], (y, dx, dweight), dtype)


@pytest.mark.parametrize("mean", [0.0, -2.5, 1.5e308])
@np.errstate(over="ignore")
def test_given_statistics_are_constants(mean, rng):
    x = rng.uniform(-1, 1, size=(4, 3)) * max(1.0, abs(mean))
    dy, weight, bias = rng.normal(size=(4, 3)), rng.normal(size=(1, 3)), rng.normal(size=(1, 3))
    means, var = np.full((1, 3), mean), rng.uniform(0.5, 1, size=(1, 3)) * max(1.0, abs(mean))
    y = definitions.normalize_inference(x, means, var, weight, bias, 0.1, None)
    dx, dmean, dvar, dweight, dbias = definitions.normalize_inference_gradient(
        dy, x, means, var, weight, bias, 0.1, None
    )
    wide = [array.astype(np.longdouble) for array in (x, means, var)]
    rstd = 1 / np.sqrt(wide[2] + np.longdouble(0.1))
    normal = (wide[0] - wide[1]) * rstd
    assert dmean is dvar is None
    for found, expected in ((y, normal * weight + bias), (dx, dy * weight * rstd), (dbias, dy.sum(0, keepdims=True))):
        np.testing.assert_allclose(found, expected.astype(float), rtol=1e-12)
    np.testing.assert_allclose(dweight, (dy * normal).sum(0, keepdims=True).astype(float), rtol=1e-12)


@pytest.mark.parametrize("value", [1e30, 0.1, 1e200, 1.7e308, -3e-320])
@pytest.mark.parametrize("count", [3, 6, 7, 84])
def test_equal_numbers_are_0_and_their_gradient_is_that_of_eps(value, count, rng):
    x, dy = np.full((2, count), value), rng.normal(size=(2, count))
    y, mean, var = definitions.normalize(x, None, None, (1,), 1e-5, None)
    np.testing.assert_allclose(mean, x[:, :1], rtol=1e-15)
    assert not y.any()
    dx, _, _ = definitions.normalize_gradient(dy, x, None, None, mean, var, (1,), 1e-5, None)
    np.testing.assert_allclose(dx, (dy - dy.mean(axis=1, keepdims=True)) / np.sqrt(1e-5), rtol=1e-10)


@pytest.mark.parametrize("size", [1.7e308, 1e200, 1e-200])
@np.errstate(over="ignore")
def test_what_has_no_square_in_float64_has_a_norm(size, rng):
    x, dy = rng.uniform(-1, 1, size=(3, 7)) * size, rng.normal(size=(3, 7))
    y, mean, var = definitions.normalize(x, None, None, (1,), 0.0, None)
    dx, _, _ = definitions.normalize_gradient(dy, x, None, None, mean, var, (1,), 0.0, None)
    ones = np.ones(7)
    expected = exact(x, ones, 0 * ones, 0.0, dy)
    assert_close([y, dx], expected[:2], np.float64)


def test_what_is_no_number_stays_in_its_group():
    x = np.array([[1.0, np.nan, 2], [np.inf, 1, 2], [1, 2, 3]])
    with np.errstate(invalid="ignore"):
        y, *_ = definitions.normalize(x, None, None, (1,), 1e-5, None)
    assert np.isnan(y[:2]).all()
    assert np.isfinite(y[2]).all()


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 2)])
def test_derivatives_to_the_third_order(axes, rng):
    shape = (2, 2, 2)
    affine = tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    inputs = [Tensor(rng.normal(0.5, 1, each), requires_grad=True) for each in (shape, affine, affine)]
    gradcheck(lambda *leaves: definitions.normalize(*leaves, axes, 0.1, ("silu", 0.0))[0], inputs, order=3, rtol=1e-4)


AXES = {"batch": (0, 2), "layer": (1, 2), "instance": (2,), "pixel": (1,)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_the_standard_is_enough(axes, affine, dtype, rng):
    x, dy = rng.normal(2, 1, (2, 4, 3, 5)).astype(dtype)
    weight, bias = rng.normal(size=(2, 1, 3, 1)).astype(dtype) if affine else (None, None)
    activation = ("silu", 0.0) if affine else None
    _, mean, var = definitions.normalize(x, weight, bias, axes, 0.1, activation)
    agree(definitions.normalize, x, weight, bias, axes, 0.1, activation)
    agree(definitions.normalize_gradient, dy, x, weight, bias, mean, var, axes, 0.1, activation)
    agree(definitions.normalize_inference, x, mean, var, weight, bias, 0.1, activation)
    agree(definitions.normalize_inference_gradient, dy, x, mean, var, weight, bias, 0.1, activation)
    agree(definitions.rms_normalize, x, weight, axes, 0.1, activation)
    agree(definitions.rms_normalize_gradient, dy, x, weight, mean**2 + var, axes, 0.1, activation)


@pytest.mark.parametrize("size", [1e200, 1e-200, 0.0])
def test_the_standard_is_enough_for_what_leaves_the_range(size, rng):
    x, dy = rng.normal(size=(2, 4, 3)) * size, rng.normal(size=(4, 3))
    with np.errstate(over="ignore"):
        _, mean, var = definitions.normalize(x, None, None, (0,), 1e-300, None)
        agree(definitions.normalize, x, None, None, (0,), 1e-300, None)
        agree(definitions.normalize_gradient, dy, x[0], None, None, mean[0], var[0], (0,), 1e-300, None)
        agree(definitions.normalize_inference, x, 1e300 + mean, var, None, None, 1e-5, None)
        agree(definitions.rms_normalize, x, None, (0,), 1e-300, None)
        agree(definitions.rms_normalize_gradient, dy, x[0], None, var[0], (0,), 1e-300, None)
