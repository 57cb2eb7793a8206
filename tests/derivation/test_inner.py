"""Kernels of inner reductions: statistics along the rows of a matrix, or over several of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.derivation.agreement import agree, norms
from tinygrad_norm.derived import derive

CASES: dict[str, tuple[str, tuple[int, ...], list[tuple[int, ...]], dict[str, Any]]] = {
    "layer norm": ("layer_norm", (30, 600), [(600,), (600,)], {"axes": 1}),
    "layer norm of two axes": ("layer_norm", (7, 3, 11), [(3, 11), (11,)], {"axes": (1, 2)}),
    "batch norm, channels first": ("batch_norm", (5, 3, 9, 9), [(3, 1, 1), (3, 1, 1)], {"axes": (0, 2, 3)}),
    "group norm": ("layer_norm", (4, 2, 3, 9, 9), [(2, 3, 1, 1), (2, 3, 1, 1)], {"axes": (2, 3, 4)}),
    "one value": ("layer_norm", (5, 1), [(1,), (1,)], {"axes": 1}),
    "one weight": ("l1_norm", (6, 70), [(1, 1)], {"axes": -1}),
    "maximum": ("linf_norm", (6, 70), [], {"axes": 1}),
    "activations": ("soft_norm", (6, 70), [(70,)], {"axes": 1}),
    "brackets and the order of parameters": ("shifted_norm", (6, 70), [(70,), (70,), (70,)], {"axes": 1}),
    "fourth moment": ("fourth_moment_norm", (6, 70), [], {"axes": 1}),
}


SINGLE = [case for case, (name, *_) in CASES.items() if name in ("layer_norm", "batch_norm")]  # enough to compile


@pytest.mark.parametrize(
    ("case", "dtype"), [*((each, "float64") for each in CASES), *((each, "float32") for each in SINGLE)]
)
def test_kernels_agree_with_numpy(case, dtype, rng):
    name, shape, parameters, options = CASES[case]
    arrays = [rng.normal(0.5, 1, size).astype(dtype) for size in (shape, *parameters)]
    agree(name, arrays, options, 1e-12 if dtype == "float64" else 3e-6)


def test_a_mask_that_varies_along_what_is_reduced(rng):
    x, mask = rng.normal(size=(6, 70)), rng.integers(0, 2, (6, 70)).astype(float)
    agree("masked_norm", [x, mask], {"axes": 1}, 1e-12)
    agree("masked_norm", [x, mask], {"axes": 1}, 1e-12, constants=1)
    agree("masked_norm", [x, mask], {"axes": 0}, 1e-12, constants=1)


def test_parameters_of_statistics_vary_along_a_row(rng):
    running = [rng.normal(size=(6, 1)), rng.uniform(0.5, 2, (6, 1))]
    options = {"axes": 1, "eps": 0.1, "r_max": 1.5, "d_max": 0.7}
    agree("batch_renorm", [rng.normal(size=(6, 70)), *running], options, 1e-12, constants=2)


def test_equal_maxima_share_the_gradient(rng):
    x = rng.normal(size=(6, 70))
    x[:, 3] = x[:, 60] = 7
    agree("linf_norm", [x], {"axes": 1}, 1e-12)
    agree("linf_norm", [x], {"axes": 0}, 1e-12)


@pytest.mark.parametrize(
    "numbers", [lambda n: 2000 + n, lambda n: 1e30 * n, lambda n: 1e-25 * n, lambda n: 0 * n + 7, lambda n: 1e19 * n]
)
def test_numbers_that_float32_has_no_squares_of(numbers, rng):
    """Of 1e30 and 1e-25 the kernel tells that they are out of its range, and NumPy does them."""
    x = numbers(rng.normal(size=(5, 300))).astype(np.float32)
    weight = rng.normal(size=(2, 300)).astype(np.float32)
    agree("layer_norm", [x, *weight], {"axes": 1, "eps": 1e-5 if x[0, 0] == 7 else 0.0}, 3e-6)


def test_a_difference_of_statistics_keeps_its_digits(rng):
    x = rng.normal(100, 1, (6, 700)).astype(np.float32)
    x[:, :3] = 0
    agree("one_pass_norm", [x], {"axes": 1}, 3e-6)
    agree("one_pass_norm", [np.ascontiguousarray(x.T)], {"axes": 0}, 3e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf])
def test_a_maximum_keeps_what_is_not_finite(value, dtype, rng):
    """Wherever it stands, and of its row alone."""
    x = rng.normal(size=(700, 700)).astype(dtype)
    x[np.arange(700), np.arange(700)] = value
    x[3] = clean = rng.normal(size=700).astype(dtype)
    with np.errstate(invalid="ignore"):
        y = derive(norms["linf_norm"])(x, axes=1).raw
        expected = x / (np.abs(x).max(axis=1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_allclose(y[3], clean / (np.abs(clean).max() + 1e-5), rtol=1e-6)
