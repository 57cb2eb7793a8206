"""Kernels of outer reductions: statistics of the columns of a matrix, or of several of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.derivation.agreement import agree, channels_last

CASES: dict[str, tuple[str, tuple[int, ...], list[tuple[int, ...]], dict[str, Any]]] = {
    "batch norm of features": ("batch_norm", (70, 7), [(7,), (7,)], {"axes": 0}),
    "batch norm": ("batch_norm", (5, 6, 9, 9), [(6, 1, 1), (6, 1, 1)], {"axes": (0, 2, 3)}),
    "instance norm": ("layer_norm", (5, 6, 9, 9), [(6, 1, 1), (6, 1, 1)], {"axes": (2, 3)}),
    "one row": ("layer_norm", (1, 6), [(6,), (6,)], {"axes": 0, "eps": 0.1}),
    "norm of norms": ("grn", (5, 6, 9, 9), [(6, 1, 1), (6, 1, 1)], {"pixels": (2, 3), "channels": 1}),
    "l1": ("l1_norm", (70, 7), [(7,)], {"axes": 0}),
    "maximum": ("linf_norm", (70, 7), [], {"axes": 0}),
    "activations": ("soft_norm", (70, 7), [(7,)], {"axes": 0}),
    "brackets and the order of parameters": ("shifted_norm", (70, 7), [(7,), (7,), (7,)], {"axes": 0}),
    "fourth moment": ("fourth_moment_norm", (70, 7), [], {"axes": 0}),
}
SINGLE = ["batch norm of features", "instance norm", "norm of norms"]


@pytest.mark.parametrize(
    ("case", "dtype"), [*((each, "float64") for each in CASES), *((each, "float32") for each in SINGLE)]
)
def test_kernels_agree_with_numpy(case, dtype, rng):
    name, shape, parameters, options = CASES[case]
    x, *others = [rng.normal(0.5, 1, size).astype(dtype) for size in (shape, *parameters)]
    agree(name, [channels_last(x) if x.ndim > 2 else x, *others], options, 1e-12 if dtype == "float64" else 3e-6)


def test_columns_that_share_their_statistics(rng):
    """Group norm with the channels last: R1 is not 1, and the weight varies where statistics do not."""
    x = rng.normal(size=(4, 9, 9, 2, 3)).transpose(0, 3, 4, 1, 2)
    agree("layer_norm", [x, *rng.normal(size=(2, 2, 3, 1, 1))], {"axes": (2, 3, 4)}, 1e-12)


def test_a_norm_of_norms_with_the_channels_first_is_brought_to_columns(rng):
    x, (gamma, beta) = rng.normal(size=(3, 6, 5, 5)), rng.normal(size=(2, 6, 1, 1))
    agree("grn", [x, gamma, beta], {"pixels": (2, 3), "channels": 1}, 1e-12)


def test_what_is_clipped_and_held(rng):
    running = [rng.normal(size=7), rng.uniform(0.5, 2, 7)]
    options = {"axes": 0, "eps": 0.1, "r_max": 1.5, "d_max": 0.7}
    agree("batch_renorm", [rng.normal(size=(70, 7)), *running], options, 1e-12, constants=2)


@pytest.mark.parametrize("away", [1.9, 3.0, 20.0, 1e6])
def test_first_values_far_from_the_mean_are_begun_with_again(away, rng):
    x = rng.normal(size=(500, 7))
    x[:8] = away
    x = x.astype(np.float32)
    agree("batch_norm", [x, *rng.normal(size=(2, 7)).astype(np.float32)], {"axes": 0}, 3e-6)


@pytest.mark.parametrize("scale", [1e30, 1e-25, 1e19])
def test_numbers_that_float32_has_no_squares_of(scale, rng):
    x = (scale * rng.normal(size=(300, 7))).astype(np.float32)
    agree("batch_norm", [x, *rng.normal(size=(2, 7)).astype(np.float32)], {"axes": 0, "eps": 0.0}, 3e-6)


@pytest.mark.parametrize("shape", [(3, 2, 1, 1), (3, 1, 4, 4), (3, 1, 1, 1), (1, 2, 3, 3)])
def test_a_norm_of_norms_of_one_pixel_or_one_channel(shape, rng):
    x, (gamma, beta) = rng.normal(size=shape), rng.normal(size=(2, shape[1], 1, 1))
    for images in (x, channels_last(x)):
        agree("grn", [images, gamma, beta], {"pixels": (2, 3), "channels": 1}, 1e-12)
