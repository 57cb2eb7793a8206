"""Each step against the formulas of the papers, one number at a time; both implementations."""

from __future__ import annotations

import math
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from typing import Any

import array_api_strict
import numpy as np
import pytest

from tinygrad_norm import definitions

IMPLEMENTATIONS = ["definitions.optimizer", *(["kernels.cpu.optimizer"] if find_spec("numba") else [])]


@pytest.fixture(params=IMPLEMENTATIONS)
def kernels(request):
    return import_module(f"tinygrad_norm.{request.param}")


def sgd(p, g, v, *, lr, momentum, dampening, weight_decay, nesterov):
    g = g + weight_decay * p
    if v is None:
        return p - lr * g, None
    v = momentum * v + (1 - dampening) * g
    return p - lr * (g + momentum * v if nesterov else v), v


def adam(p, g, m, v, largest, *, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    if decoupled:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    if largest is not None:
        largest = max(largest, v)
    m_hat, v_hat = m / (1 - beta1**step), (v if largest is None else largest) / (1 - beta2**step)
    return p - lr * m_hat / (math.sqrt(v_hat) + eps), m, v, largest


def rmsprop(p, g, s, mean, v, *, lr, alpha, eps, weight_decay, momentum):
    g = g + weight_decay * p
    s = alpha * s + (1 - alpha) * g**2
    if mean is not None:
        mean = alpha * mean + (1 - alpha) * g
    update = g / (math.sqrt(s if mean is None else max(s - mean**2, 0)) + eps)
    if v is not None:
        update = v = momentum * v + update
    return p - lr * update, s, mean, v


DECAY = (0.0, 0.3)
SGD = [
    (sgd, [buffer], {"lr": 0.1, "momentum": 0.7, "dampening": 0.2, "weight_decay": decay, "nesterov": nesterov})
    for buffer, decay, nesterov in product((False, True), DECAY, (False, True))
]
ADAM = [
    (adam, [True, True, amsgrad], {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 0.01, "step": step} | rest)
    for amsgrad, step, rest in product(
        (False, True), (1, 7), [{"weight_decay": d, "decoupled": c} for d in DECAY for c in (False, True)]
    )
]
RMSPROP = [
    (rmsprop, [True, mean, buffer], {"lr": 0.1, "alpha": 0.8, "eps": 0.01, "weight_decay": decay, "momentum": 0.6})
    for mean, buffer, decay in product((False, True), (False, True), DECAY)
]
STEPS = SGD + ADAM + RMSPROP


def draw(used: list[bool], shape: Any, dtype: Any = np.float64) -> list[Any]:
    """A parameter, its gradient and its buffers: means of squares that are above the squared means."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape), rng.normal(size=shape), *(rng.uniform(1, 2, size=shape) for _ in used)]
    if len(used) > 1:
        arrays[3] *= 0.4  # Adam's mean of squares, RMSprop's mean
    return [array.astype(dtype) if i < 2 or used[i - 2] else None for i, array in enumerate(arrays)]


def call(kernels, formula, arrays, options):
    getattr(kernels, f"{formula.__name__}_update")(*arrays, **options)


@pytest.mark.parametrize(("formula", "used", "options"), STEPS)
def test_follows_the_formula(kernels, formula, used, options):
    arrays = draw(used, (3, 5))
    expected = [array if array is None else np.empty_like(array) for array in (arrays[0], *arrays[2:])]
    for place in np.ndindex(3, 5):
        results = formula(*(array if array is None else float(array[place]) for array in arrays), **options)
        for array, result in zip(expected, results, strict=True):
            if array is not None:
                array[place] = result
    gradient = arrays[1].copy()
    call(kernels, formula, arrays, options)
    np.testing.assert_array_equal(arrays[1], gradient)
    for found, wanted in zip((arrays[0], *arrays[2:]), expected, strict=True):
        if wanted is not None:
            np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (33, 31)])
@pytest.mark.parametrize(("formula", "used", "options"), [SGD[-1], ADAM[-1], RMSPROP[-1]])
def test_float32_of_any_size_and_memory_order(kernels, formula, used, options, shape):
    exact = draw(used, shape)
    call(definitions, formula, exact, options)
    for order in (np.ascontiguousarray, strided):
        arrays: list[Any] = [
            None if array is None else order(array).reshape(shape) for array in draw(used, shape, np.float32)
        ]
        call(kernels, formula, arrays, options)
        for found, wanted in zip((arrays[0], *arrays[2:]), (exact[0], *exact[2:]), strict=True):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6)


def strided(array):
    """The same array in memory that runs backwards and has gaps."""
    holder = np.zeros((*array.shape[:-1], 2 * array.shape[-1]) if array.shape else (2,), array.dtype)[..., ::-2]
    view = holder if array.shape else holder[0:1].reshape(())
    view[...] = array
    return view


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(("formula", "used", "options"), STEPS)
def test_what_is_not_finite_stays_so_and_stays_where_it_is(kernels, formula, used, options, place, value, dtype):
    arrays = draw(used, 40, dtype)
    arrays[place][17] = value
    alike: list[Any] = [None if array is None else array.copy() for array in arrays]
    with np.errstate(invalid="ignore"):
        call(kernels, formula, arrays, options)
        call(definitions, formula, alike, options)
    assert not np.isfinite(arrays[0][17])
    for found, wanted in zip(arrays, alike, strict=True):
        if found is not None:
            assert np.isfinite(np.delete(found, 17)).all()
            np.testing.assert_allclose(found[17], wanted[17], rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_infinite_mean_of_squares_stops_an_element_and_a_nan_is_the_largest(kernels, dtype):
    p, g, m, v, largest = draw([True] * 3, 3, dtype)
    v[0], v[1], largest[2] = np.inf, np.nan, np.nan
    before = p[0]
    _, _, options = ADAM[-1]
    kernels.adam_update(p, g, m, v, largest, **options | {"weight_decay": 0.0})
    assert p[0] == before
    assert np.isnan(p[1:]).all()
    assert np.isnan(largest[1:]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_that_never_changes_leaves_no_negative_variance(kernels, dtype):
    """The running mean of squares less the squared mean is 0 up to rounding, and rounding has no square root."""
    p, g, s, mean = (np.zeros(50, dtype) for _ in range(4))
    g[...] = np.random.default_rng(0).normal(size=50)
    for _ in range(200):
        kernels.rmsprop_update(p, g, s, mean, None, lr=1e-9, alpha=0.5, eps=1e-3, weight_decay=0.0, momentum=0.0)
    assert np.isfinite(p).all()
    assert (s - mean * mean < 0).any()


@pytest.mark.parametrize(("formula", "used", "options"), STEPS)
def test_the_reference_runs_on_any_array_module(formula, used, options):
    arrays = draw(used, (3, 5))
    strict = [None if array is None else array_api_strict.asarray(array.copy()) for array in arrays]
    call(definitions, formula, strict, options)
    call(definitions, formula, arrays, options)
    for found, wanted in zip(strict, arrays, strict=True):
        if wanted is not None:
            np.testing.assert_array_equal(np.asarray(found), wanted)
