"""The reference keeps to the Array API standard: it computes the same on an array module that has nothing else."""

from __future__ import annotations

import math

import array_api_strict as xp
import numpy as np
import pytest

from tinygrad_norm import definitions

AXES = {"batch": (0, 2), "layer": (1, 2), "instance": (2,), "pixel": (1,)}
ACTIVATIONS = [None, *((name, 0.3) for name in definitions.ACTIVATIONS)]


def strict(function, *arguments):
    """The results on arrays of the strict module, as NumPy arrays; None stays None."""

    def convert(value):
        return xp.asarray(value) if isinstance(value, np.ndarray) else value

    results = function(*map(convert, arguments))
    if not isinstance(results, tuple):
        results = (results,)
    assert all(result is None or isinstance(result, type(xp.asarray(0.0))) for result in results)
    return tuple(None if result is None else np.from_dlpack(result) for result in results)


def agree(function, *arguments):
    results = function(*arguments)
    found = strict(function, *arguments)
    for a, b in zip(found, results if isinstance(results, tuple) else (results,), strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("function", [definitions.sigmoid, definitions.softplus, definitions.erf, definitions.ndtr])
def test_functions(function, rng):
    agree(function, rng.normal(0, 3, (5, 7)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation, rng):
    z, dy = rng.normal(0, 3, (2, 5, 7))
    agree(definitions.activate, z, activation)
    agree(definitions.activation_gradient, dy, z, activation)


@pytest.mark.parametrize("shape", [(4, 3, 1), (3, 1), (4, 1, 1)])
def test_elementwise(shape, rng):
    (x, y), factors = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=shape)
    for function in (definitions.add, definitions.multiply, definitions.add_relu, definitions.relu_gradient):
        agree(function, x, y)
    agree(definitions.relu, x)
    agree(definitions.scale_gradient, y, x, factors)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_norms(axes, affine, dtype, rng):
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
def test_norms_of_what_leaves_the_range(size, rng):
    x, dy = rng.normal(size=(2, 4, 3)) * size, rng.normal(size=(4, 3))
    with np.errstate(over="ignore"):
        _, mean, var = definitions.normalize(x, None, None, (0,), 1e-300, None)
        agree(definitions.normalize, x, None, None, (0,), 1e-300, None)
        agree(definitions.normalize_gradient, dy, x[0], None, None, mean[0], var[0], (0,), 1e-300, None)
        agree(definitions.normalize_inference, x, 1e300 + mean, var, None, None, 1e-5, None)
        agree(definitions.rms_normalize, x, None, (0,), 1e-300, None)
        agree(definitions.rms_normalize_gradient, dy, x[0], None, var[0], (0,), 1e-300, None)


@pytest.mark.parametrize("activation", [None, ("silu", 0.0)])
@pytest.mark.parametrize("bias", [False, True])
def test_linear(bias, activation, rng):
    x, weight, dy = rng.normal(size=(2, 5, 3)), rng.normal(size=(4, 3)), rng.normal(size=(2, 5, 4))
    shift = rng.normal(size=4) if bias else None
    agree(definitions.linear, x, weight, shift, activation)
    agree(definitions.linear_gradient, dy, x, weight, shift, activation, (True, True, bias))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(weighted, smoothing, rng):
    logits, target = rng.normal(size=(5, 4)), np.array([1, 3, 0, 2, 1])
    weight = rng.uniform(1, 2, 4) if weighted else None
    _, lse = definitions.cross_entropy(logits, target, weight, smoothing, 3)
    agree(definitions.cross_entropy, logits, target, weight, smoothing, 3)
    agree(definitions.cross_entropy_gradient, rng.normal(size=5), logits, target, weight, lse, smoothing, 3)


def test_erf_is_that_of_the_c_library():
    z = np.concatenate([np.linspace(-7, 7, 2001), [1e-300, -1e-8, 0.0, 30.0, -1e100]])
    expected = [math.erf(v) for v in z]
    np.testing.assert_allclose(definitions.erf(z), expected, rtol=2e-14)


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
    assert definitions.activate(z, (name, 0.3)).item() == pytest.approx(value)
    assert definitions.activation_gradient(dy, z, (name, 0.3)).item() == pytest.approx(5 * slope)


def test_no_activation_changes_nothing():
    z, dy = np.array([-1.0, 2.0]), np.array([3.0, 4.0])
    assert definitions.activate(z, None) is z
    assert definitions.activation_gradient(dy, z, None) is dy
