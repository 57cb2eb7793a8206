"""Kernels of outer reductions: statistics of the columns of a matrix, or of several of them."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.derivation.agreement import agree, channels_last, norms, results
from tinygrad_norm import derived_op, kernels
from tinygrad_norm.derived import derive
from tinygrad_norm.kernels.cpu import compiler
from tinygrad_norm.kernels.cpu.layout import layout

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
SINGLE = ["batch norm of features", "instance norm"]


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


# Several sets of axes

PIXELS, ONE = (6, 1, 1), (1, 1, 1, 1)
SETS: dict[str, tuple[list[tuple[int, ...]], dict[str, Any]]] = {
    "grn": ([PIXELS, PIXELS], {"pixels": (2, 3), "channels": 1}),
    "evonorm_b0": ([PIXELS, PIXELS, PIXELS], {"positions": (2, 3), "batch": 0}),
    "switchable_norm": ([*[ONE] * 5, PIXELS, PIXELS], {"positions": (2, 3), "channels": 1, "batch": 0}),
}


def images(name: str, x: Any, rng: np.random.Generator) -> tuple[list[Any], dict[str, Any]]:
    """What a norm of several sets is called with: x and parameters, all positive, and the axes."""
    shapes, options = SETS[name]
    shapes = [(x.shape[1], *shape[1:]) if len(shape) == 3 else shape for shape in shapes]
    return [x, *(rng.uniform(0.1, 1, shape).astype(x.dtype) for shape in shapes)], options


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SETS)
def test_norms_of_several_sets_agree_with_numpy(name, dtype, rng):
    shapes = [(5, 6, 9, 9), (2, 70, 7, 10)]
    if dtype == "float64":  # of one value, EvoNorm's gradient is a difference that costs digits
        shapes += [(3, 2, 1, 1), (3, 1, 4, 4), (3, 1, 1, 1), (1, 2, 3, 3)]
    for shape in shapes:
        x = rng.normal(0.5, 1, shape).astype(dtype)
        for order in (x, channels_last(x), x.T.copy().T, x[:, ::-1]):
            single = 1e-5 if name == "switchable_norm" else 3e-6  # whose shares have gradients of differences of means
            agree(name, *images(name, order, rng), 1e-12 if dtype == "float64" else single)


@pytest.mark.parametrize("name", SETS)
def test_norms_of_several_sets_run_as_kernels(name, rng, monkeypatch):
    def nowhere(*_: Any) -> Any:
        raise AssertionError("it has kernels")

    monkeypatch.setattr(derived_op, "_evaluate", nowhere)
    monkeypatch.setattr(derived_op, "_evaluate_gradient", nowhere)
    for x in (rng.normal(size=(3, 6, 5, 5)), channels_last(rng.normal(size=(3, 6, 5, 5))), rng.normal(size=(3, 6))):
        arrays, options = images(name, x.reshape(*x.shape, 1, 1) if x.ndim == 2 else x, rng)
        results(derive(norms[name]), arrays, rng.normal(size=arrays[0].shape), options)


EMPTY = [(empty, name) for empty in ("pixels", "positions", "channels", "batch", "all") for name in SETS]
EMPTY.remove(("all", "switchable_norm"))  # y is the bias, and what is left of gradients is rounding


@pytest.mark.parametrize(("empty", "name"), EMPTY)
def test_a_set_may_have_no_axes(name, empty, rng):
    x = rng.normal(size=(5, 6, 4, 3))
    arrays, options = images(name, x, rng)
    agree(name, arrays, {each: () if empty in (each, "all") else axes for each, axes in options.items()}, 1e-12)


def test_rows_of_features_have_no_pixels(rng):
    x, gamma, beta = rng.normal(size=(5, 6)), rng.normal(size=6), rng.normal(size=6)
    agree("grn", [x, gamma, beta], {"pixels": (), "channels": 1}, 1e-12)
    agree("evonorm_b0", [x, *rng.uniform(0.1, 1, (3, 6))], {"positions": (), "batch": 0}, 1e-12)


def test_a_statistic_is_returned_in_its_own_shape(rng):
    arrays, options = images("evonorm_b0", channels_last(rng.normal(size=(4, 6, 3, 3))), rng)
    _, _, var = derive(norms["evonorm_b0"])(*arrays, **options)
    assert var.shape == (1, 6, 1, 1)
    np.testing.assert_allclose(var.raw, arrays[0].var(axis=(0, 2, 3), keepdims=True))


HARD: dict[str, Any] = {
    "far from 0": lambda n: 2000 + n,
    "far from each other": lambda n: n + 1e4 * np.indices(n.shape)[0],
    "huge": lambda n: 1e30 * n,
    "tiny": lambda n: 1e-25 * n,
    "large squares": lambda n: 1e19 * n,
    "constant": lambda n: 0 * n + 7,
    "one image huge": lambda n: np.where(np.indices(n.shape)[0] == 1, 1e25 * n, n),
    "one channel tiny": lambda n: np.where(np.indices(n.shape)[1] == 1, 1e-25 * n, n),
}


@pytest.mark.parametrize("numbers", HARD.values(), ids=HARD)
@pytest.mark.parametrize("name", SETS)
def test_hard_numbers_in_several_sets(name, numbers, rng):
    x = channels_last(numbers(rng.normal(size=(4, 6, 9, 9))).astype(np.float32))
    arrays, options = images(name, x, rng)
    tiny, constant = np.abs(x).max() < 1e-20, name == "evonorm_b0" and x.min() == x.max()
    if not tiny:  # else gradients are less than any float32, and EvoNorm's maximum is of two that are as good as equal
        agree(name, arrays, options, 1e-4 if constant else 3e-6)
    if not constant:  # of which EvoNorm's dx is a difference of equal numbers
        agree(name, arrays, options | {"eps": 1e-30}, 3e-6)


@pytest.mark.parametrize("special", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("name", SETS)
def test_what_is_not_finite_stays_within_what_shares_a_statistic_with_it(name, special, rng):
    """An image of GRN's, a channel of EvoNorm's, both of Switchable Norm's, whose means over one are of the other's."""
    clean = channels_last(rng.normal(size=(4, 6, 9, 9)))
    arrays, options = images(name, clean, rng)
    x, dy = clean.copy(order="K"), rng.normal(size=clean.shape)
    x[1, 2, 3, 4] = special
    image, channel = (each.reshape(4, 6, 1, 1) for each in (np.indices((4, 6))[0] == 1, np.indices((4, 6))[1] == 2))
    touched = {"grn": image, "evonorm_b0": channel, "switchable_norm": image | channel}[name]
    norm, apart = derive(norms[name]), np.broadcast_to(~touched, x.shape)
    with np.errstate(all="ignore"):
        found, expected = (results(norm, [each, *arrays[1:]], dy, options) for each in (x, clean))
        count = len(found) - len(arrays)
        np.testing.assert_array_equal(found[0][apart], expected[0][apart])
        if name != "switchable_norm":  # whose gradients go over both
            np.testing.assert_array_equal(found[count][apart], expected[count][apart])
        kernels.use("reference")
        try:
            exact = results(norm, [x, *arrays[1:]], dy, options)
        finally:
            kernels.use("cpu")
    np.testing.assert_allclose(found[0], exact[0], rtol=1e-10)
    np.testing.assert_allclose(found[count], exact[count], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["grn", "switchable_norm"])
@pytest.mark.parametrize("shape", [(3, 6, 40, 40), (40, 6, 5, 5)])
def test_the_number_of_threads_changes_no_bit(name, shape, rng, monkeypatch):
    arrays, options = images(name, channels_last(rng.normal(size=shape).astype(np.float32)), rng)
    dy, norm = rng.normal(size=shape).astype(np.float32), derive(norms[name])
    alone = results(norm, arrays, dy, options)
    monkeypatch.setattr(compiler, "LARGE", 1)
    layout.cache_clear()
    together = results(norm, arrays, dy, options)
    numba.set_num_threads(1)
    in_turn = results(norm, arrays, dy, options)
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    layout.cache_clear()
    for one, other, third in zip(together, in_turn, alone, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, third, rtol=1e-5, atol=1e-5 * np.abs(third).max())


def everything(x: Any, weight: Any, *, rows: Any, these: Any, those: Any, eps: Any = 0.3) -> Any:
    """Each reduction, of x and of statistics, over each set and over several."""
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=(*rows, *those), keepdims=True)
    spread = xp.mean((x - mean) ** 2, axis=(*rows, *these, *those), keepdims=True)
    top = xp.max(weight * x, axis=(*rows, *these), keepdims=True)
    low = xp.min(x, axis=rows, keepdims=True)
    least, lowest = xp.min(low, axis=these, keepdims=True), xp.max(low * low, axis=(*these, *those), keepdims=True)
    total = xp.sum(xp.abs(x) * weight, axis=(*rows, *these), keepdims=True)
    of_weight = xp.sum(xp.square(weight + low), axis=those, keepdims=True)
    size = xp.sqrt(spread + total + of_weight + lowest + eps)
    return (x - mean) / size * weight + (top + least) / (1 + lowest), total, of_weight


@st.composite
def cases(draw: Any) -> Any:
    """Arrays whose axes lie in memory in any order, each in one set or in none, and a weight along those of no row."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)))
    order = draw(st.permutations(range(len(shape))))
    sets = [draw(st.integers(0, 3)) for _ in shape]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.normal(0.3, 1, [shape[i] for i in order]).transpose(np.argsort(order))
    weight = rng.uniform(0.5, 1, [n if sets[i] and draw(st.booleans()) else 1 for i, n in enumerate(shape)])
    axes = {
        name: tuple(i for i, own in enumerate(sets) if own == k) for k, name in enumerate(("rows", "these", "those"))
    }
    return [x, weight], axes


@given(cases())
@settings(max_examples=60, deadline=None)
def test_any_layout_and_any_sets(case):
    arrays, axes = case
    norm, dy = derive(everything), np.random.default_rng(1).normal(size=arrays[0].shape)
    found = results(norm, arrays, dy, axes)
    kernels.use("reference")
    try:
        expected = results(norm, arrays, dy, axes)
    finally:
        kernels.use("cpu")
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)
