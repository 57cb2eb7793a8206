"""Winograd's algorithm against the reference: any size of image, its rounding, and what is not finite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import definitions, fast_math
from tinygrad_norm.kernels import cpu
from tinygrad_norm.kernels.cpu import compiler, winograd
from tinygrad_norm.kernels.cpu.window import Window

HOW = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1, None)
ALL = (True, True, True)


def arrays(rng, shape, out_channels, padding, dtype):
    """Images, filters and a cotangent, [N, C, H, W]."""
    x = rng.normal(size=shape).astype(dtype)
    w = rng.normal(size=(out_channels, shape[1], 3, 3)).astype(dtype)
    y = definitions.conv2d(x, w, None, (1, 1), padding, (1, 1), 1, None)
    return x, w, rng.normal(size=y.shape).astype(dtype)


def last(images):
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def results(x, w, dy, padding):
    """What the algorithm makes of them: y, dx and dw."""
    start = -padding[0][0], -padding[1][0]
    back = -2 - start[0], -2 - start[1]
    y = winograd.correlate(last(x), w, start, dy.shape[2:])
    dx = winograd.correlate(last(dy), w, back, x.shape[2:], rotated=True)
    return y.transpose(0, 3, 1, 2), dx.transpose(0, 3, 1, 2), winograd.filter_gradient(last(dy), last(x), start)


def expected(x, w, dy, padding):
    how = (1, 1), padding, (1, 1), 1, None
    y = definitions.conv2d(x, w, None, *how)
    return y, *definitions.conv2d_gradient(dy, x, w, None, *how, (True, True, False))[:2]


def difference(found, wanted):
    """The largest, over the largest value there is."""
    return max(float(np.abs(one - other).max() / np.abs(other).max()) for one, other in zip(found, wanted, strict=True))


SIDES = st.tuples(st.integers(0, 4), st.integers(0, 4))


@given(st.tuples(*[st.integers(1, top) for top in (3, 5, 11, 11)]), st.integers(1, 5), st.tuples(SIDES, SIDES))
def test_any_image_gives_what_the_reference_gives(shape, out_channels, padding):
    size = [n + sum(sides) for n, sides in zip(shape[2:], padding, strict=True)]
    if min(size) < 3:
        return
    case = arrays(np.random.default_rng(0), shape, out_channels, padding, np.float64)
    assert difference(results(*case, padding), expected(*case, padding)) < 1e-13


@pytest.mark.parametrize("channels", [16, 64, 256])
@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_the_rounding_error_is_within_its_bound(channels, mean, rng):
    padding = HOW[1]
    x, w, dy = arrays(rng, (2, channels, 9, 8), channels, padding, np.float32)
    x += np.float32(mean)
    exact = expected(x.astype(np.float64), w.astype(np.float64), dy.astype(np.float64), padding)
    assert difference(results(x, w, dy, padding), exact) < 2e-5
    with fast_math(False):
        y = cpu.conv2d(x, w, None, *HOW)
        direct = y, *cpu.conv2d_gradient(dy, x, w, None, *HOW, ALL)[:2]
    assert difference(direct, exact) < 3e-6


@pytest.mark.parametrize(("block", "runs", "parts"), [(36 * 4 * 4 * 3, 3, 1), (36 * 4 * 4 * 7, 1, 1), (36 * 5, 1, 3)])
def test_images_come_in_runs_and_filters_in_parts(block, runs, parts, rng, monkeypatch):
    images = 7 if parts == 1 else 1
    case = arrays(rng, (images, 3, 6, 5) if parts == 1 else (1, 3, 4, 4), 4, HOW[1], np.float64)
    whole = results(*case, HOW[1])
    monkeypatch.setattr(winograd, "_BLOCK", block)
    assert [*map(len, winograd._plan(4 * images if parts == 1 else 1, images, (4, 3)))] == [runs, parts]
    assert difference(results(*case, HOW[1]), whole) < 1e-14


def test_filters_come_in_parts_where_tiles_are_few_beside_them(rng, monkeypatch):
    case = arrays(rng, (6, 40, 8, 8), 48, HOW[1], np.float64)
    whole = results(*case, HOW[1])
    monkeypatch.setattr(winograd, "_BLOCK", 36 * 2 * 4 * 48)  # the tiles of two images
    assert [*map(len, winograd._plan(24, 6, (48, 40)))] == [3, 1]
    monkeypatch.setattr(winograd, "_FEW", 1)
    assert [*map(len, winograd._plan(24, 6, (48, 40)))] == [1, 5]
    assert difference(results(*case, HOW[1]), whole) < 1e-13


def test_all_threads_compute_what_one_does(rng, monkeypatch):
    case = arrays(rng, (4, 32, 33, 31), 48, HOW[1], np.float32)
    assert case[0].size * 48 // 4 > compiler.LARGE  # all threads
    found = []
    for large in (compiler.LARGE, 2**62):
        monkeypatch.setattr(compiler, "LARGE", large)
        found.append(results(*case, HOW[1]))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "w", "dy"])
def test_what_is_not_finite_is_so_where_the_direct_algorithm_has_it(value, where, rng):
    case = dict(zip(("x", "w", "dy"), arrays(rng, (6, 16, 8, 9), 16, HOW[1], np.float32), strict=True))
    case[where][1, 2, 1, 2] = value
    x, w, dy = case.values()
    b = np.zeros(16, np.float32)
    with np.errstate(invalid="ignore"):
        with fast_math(False):
            wanted = (cpu.conv2d(x, w, b, *HOW), *cpu.conv2d_gradient(dy, x, w, None, *HOW, ALL))
        found = (cpu.conv2d(x, w, b, *HOW), *cpu.conv2d_gradient(dy, x, w, None, *HOW, ALL))
    assert any(not np.isfinite(one).all() for one in found)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(np.isfinite(one), np.isfinite(other))


def test_numbers_that_only_its_transforms_take_too_far_are_convolved_directly():
    x = np.full((8, 16, 8, 8), 2e37, np.float32)
    w = np.zeros((16, 16, 3, 3), np.float32)
    w[:, 0, 1, 1] = 1
    np.testing.assert_allclose(cpu.conv2d(x, w, None, *HOW), np.full_like(x, 2e37), rtol=1e-6)


def test_only_the_rows_of_tiles_that_are_not_finite_are_convolved_directly(rng):
    x, w, dy = arrays(rng, (3, 16, 16, 9), 16, HOW[1], np.float32)
    whole = results(x, w, dy, HOW[1])
    x[1, 2, 6, 3] = dy[1, 2, 6, 3] = np.inf
    with np.errstate(invalid="ignore"):
        found, direct = results(x, w, dy, HOW[1]), expected(x, w, dy, HOW[1])
    for one, old in zip(found[:2], whole[:2], strict=True):
        np.testing.assert_array_equal(one[[0, 2]], old[[0, 2]])  # to the bit
        np.testing.assert_array_equal(one[1, :, 12:], old[1, :, 12:])
        assert not np.isfinite(one[1, :, 4:8]).all()
    for one, other in zip(found, direct, strict=True):
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_a_weight_gradient_that_its_transforms_take_too_far_is_summed_directly():
    x, dy = np.full((2, 16, 8, 8), 1e37, np.float32), np.zeros((2, 16, 8, 8), np.float32)
    dy[0, 0, 3, 3] = dy[1, 5, 4, 2] = 1
    with np.errstate(over="ignore"):
        found = winograd.filter_gradient(last(dy), last(x) * np.float32(3), (-1, -1))
    wanted = np.zeros((16, 16, 3, 3), np.float32)
    wanted[[0, 5]] = 3e37
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "suits"),
    [
        ({}, True),
        ({"size": (7, 7)}, True),
        ({"size": (2, 2)}, False),  # tiles that are three quarters empty
        ({"size": (5, 5)}, False),
        ({"kernel": (3, 1)}, False),
        ({"stride": (1, 2)}, False),
        ({"dilation": (2, 2)}, False),
        ({"channels": (3, 64)}, False),
        ({"dtype": np.dtype(np.float64)}, False),
        ({"size": (4, 4)}, True),
        ({"size": (4, 4), "count": 31}, False),  # fewer tiles than are worth the filters
    ],
)
def test_it_is_chosen_where_it_is_faster(change, suits):
    case = {"kernel": (3, 3), "stride": (1, 1), "dilation": (1, 1), "size": (32, 32), "start": (-1, -1)}
    case |= {"count": 32, "channels": (64, 64), "dtype": np.dtype(np.float32)} | change
    window = Window(**{name: case[name] for name in Window._fields})
    assert winograd.suits(window, case["count"], case["channels"], case["dtype"]) is suits


def counted(calls, run):
    def counting(*given, **how):
        calls.append(1)
        return run(*given, **how)

    return counting


def test_fast_math_switches_it(rng, monkeypatch):
    x, w, dy = arrays(rng, (8, 16, 8, 8), 16, HOW[1], np.float32)
    calls: list[int] = []
    for name in ("correlate", "filter_gradient"):
        monkeypatch.setattr(winograd, name, counted(calls, getattr(winograd, name)))
    with fast_math(False):
        cpu.conv2d(x, w, None, *HOW)
        cpu.conv2d_gradient(dy, x, w, None, *HOW, ALL)
    assert not calls
    with fast_math(False), fast_math():
        cpu.conv2d(x, w, None, *HOW)
        cpu.conv2d_gradient(dy, x, w, None, *HOW, ALL)
    assert len(calls) == 3


def test_inputs_stay_as_they_are(rng):
    case = arrays(rng, (2, 16, 8, 6), 16, HOW[1], np.float32)
    before = [array.copy() for array in case]
    results(*case, HOW[1])
    for array, old in zip(case, before, strict=True):
        np.testing.assert_array_equal(array, old)
