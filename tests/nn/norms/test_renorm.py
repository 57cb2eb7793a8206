"""Batch Renorm, beside its formula, and the schedule of its limits."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from tests.nn.norms.layers import ROWS, along, check_three_steps, close, gradient_of, stirred
from tinygrad_norm import nn
from tinygrad_norm.nn import Ramp

pytestmark = pytest.mark.usefixtures("plain_numpy")


def build(kind=nn.BatchRenorm2D, **options):
    return kind(4, **{"momentum": 0.3, "dtype": "float64", "r_max": 1.5, "d_max": 0.7, **options})


def held(layer, x, mean, var):
    """r and d, at the batch x and these running statistics."""
    axes = (0, *range(2, x.ndim))
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    sigma, running = np.sqrt(x.var(axes) + layer.eps), np.sqrt(var + layer.eps)
    limits = layer.limits()
    r = np.clip(sigma / running, 1 / limits["r_max"], limits["r_max"])
    d = np.clip((x.mean(axes) - mean) / running, -limits["d_max"], limits["d_max"])
    return r.reshape(shape), d.reshape(shape)


def renorm(layer, x, r, d):
    axes = (0, *range(2, x.ndim))
    normalized = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + layer.eps)
    return along(layer.weight, x.ndim) * (normalized * r + d) + along(layer.bias, x.ndim)


def inference(layer, x, mean, var):
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    normalized = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + layer.eps)
    return along(layer.weight, x.ndim) * normalized + along(layer.bias, x.ndim)


@pytest.mark.parametrize("limits", [{}, {"r_max": 1.0, "d_max": 0.0}, {"r_max": 1e6, "d_max": 1e6}])
def test_three_steps_and_inference(limits, rng):
    layer = build(**limits)

    def train(x, mean, var):
        return renorm(layer, x, *held(layer, x, mean, var)), x.mean((0, 2, 3)), x.var((0, 2, 3))

    check_three_steps(layer, rng, train, lambda *given: inference(layer, *given))


def test_rows(rng):
    layer = build(nn.BatchRenorm1D)

    def train(x, mean, var):
        return renorm(layer, x, *held(layer, x, mean, var)), x.mean(0), x.var(0)

    check_three_steps(layer, rng, train, lambda *given: inference(layer, *given), lambda: [rng.normal(0.4, 1.2, ROWS)])


def test_the_gradient_takes_r_and_d_for_constants(rng):
    layer = stirred(build(nn.BatchRenorm1D), rng)
    x, dy, step = rng.normal(size=ROWS), rng.normal(size=ROWS), 1e-6
    r, d = held(layer, x, layer.running_mean.raw, layer.running_var.raw)
    assert len({*r.ravel()}) > 1
    expected = np.zeros(ROWS)
    for place in np.ndindex(ROWS):
        moved = np.zeros(ROWS)
        moved[place] = step
        expected[place] = (dy * (renorm(layer, x + moved, r, d) - renorm(layer, x - moved, r, d))).sum() / (2 * step)
    dx, dbias, dweight = gradient_of(layer, [x], dy)
    close(dx, expected, 1e-8)
    close(dbias, dy.sum(axis=0))
    normalized = (x - x.mean(0)) / np.sqrt(x.var(0) + layer.eps)
    close(dweight, (dy * (normalized * r + d)).sum(axis=0))


def test_without_corrections_it_is_batch_norm_and_without_limits_inference(rng):
    plain, layer, free = nn.BatchNorm2D(4, dtype="float64"), build(r_max=1, d_max=0), build(r_max=1e9, d_max=1e9)
    x = rng.normal(2, 3, (3, 4, 2, 3))
    close(layer(x), plain(x))
    for each in (free,):
        stirred(each, rng)
        expected = inference(each, x, each.running_mean.raw, each.running_var.raw)
        close(each(x), expected)


def test_the_limits_are_the_papers():
    layer = nn.BatchRenorm2D(4)
    wanted = {
        0: (1, 0),
        5_000: (1, 0),
        15_000: (1 + 2 * 10 / 35, 2.5),
        25_000: (1 + 2 * 20 / 35, 5),
        40_000: (3, 5),
        1_000_000: (3, 5),
    }
    for batches, (r_max, d_max) in wanted.items():
        layer.num_batches_tracked.raw = np.asarray(batches)
        assert layer.limits() == pytest.approx({"r_max": r_max, "d_max": d_max})


def test_a_ramp_is_a_line_between_two_batches():
    ramp = Ramp(1.0, 3.0, 10, 20)
    assert [ramp(n) for n in (0, 10, 15, 20, 30)] == [1, 1, 2, 3, 3]
    assert [Ramp(1.0, 3.0, 10, 10)(n) for n in (9, 10, 11)] == [1, 1, 3]
    assert "r_max=Ramp(first=1.0, last=3.0, begin=10, end=20)" in repr(nn.BatchRenorm1D(4, r_max=ramp))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"r_max": 0.5}, "BatchRenorm1D: r_max is a number of at least 1, got 0.5"),
        ({"d_max": -1}, "BatchRenorm1D: d_max is a number of at least 0, got -1"),
        ({"r_max": math.nan}, "BatchRenorm1D: r_max is a number of at least 1, got nan"),
        ({"r_max": "3"}, "BatchRenorm1D: r_max is a number of at least 1, got '3' (str)"),
        ({"r_max": Ramp}, "BatchRenorm1D: r_max is a number of at least 1, got <class"),
        ({"r_max": -(10**400)}, "BatchRenorm1D: r_max is a number of at least 1, got a negative integer of about 401"),
        ({"d_max": lambda batches: -1.0}, "BatchRenorm1D: d_max is a number of at least 0, got -1"),
        ({"track_running_stats": False}, "BatchRenorm1D: track_running_stats is True, as"),
        ({"momentum": 2}, "BatchRenorm1D: momentum"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(words)}"):
        nn.BatchRenorm1D(4, **options)


def test_one_value_per_channel_is_refused():
    with pytest.raises(ValueError, match="one value per channel has no variance"):
        nn.BatchRenorm1D(4)(np.ones((1, 4), np.float32))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("1", 3, 0, 10), "Ramp: first is a finite number, got '1' (str)"),
        ((1, math.inf, 0, 10), "Ramp: last is a finite number, got inf"),
        ((1, math.nan, 0, 10), "Ramp: last is a finite number, got nan"),
        ((1, 3, -1, 10), "Ramp: begin is an integer of at least 0, got -1"),
        ((1, 3, 5e3, 4e4), "Ramp: begin is an integer of at least 0, got 5000.0 (float)"),
        ((1, 3, 20, 10), "Ramp: end is an integer of at least 20, got 10"),
    ],
)
def test_a_ramp_is_between_numbers_and_batches(arguments, words):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(words)}$"):
        Ramp(*arguments)
