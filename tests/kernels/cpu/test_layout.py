"""Arrays of any strides as the matrices that the norm kernels know, and back."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.cpu.norms import LAYOUTS, arrays
from tinygrad_norm.kernels.cpu import compiler
from tinygrad_norm.kernels.cpu.layout import Layout, layout, layout_of

FLOAT64 = np.dtype(np.float64)


@pytest.fixture
def _everything_is_large(monkeypatch):
    monkeypatch.setattr(compiler, "LARGE", 1)
    layout.cache_clear()
    yield
    layout.cache_clear()


def indexed(form: Layout, matrix: np.ndarray) -> np.ndarray:
    """The matrix with an axis for each of K0, R0, K1 and R1."""
    if form.outer:
        return matrix.reshape(form.units[0], -1, *form.groups[1:], form.share)
    _, repeat, inner, _ = form.units
    return matrix.reshape(-1, repeat, inner, form.length)


def parameters_of(form: Layout, expanded: np.ndarray) -> np.ndarray:
    """What meets each element of the matrix: group k has row k, modulo the period."""
    if form.outer:
        rows = expanded[np.arange(form.units[0]) % form.period]
        return rows.reshape(form.units[0], 1, *form.groups[1:], form.share)
    rows = expanded[np.arange(*form.groups) % form.period]
    return rows.reshape(-1, form.units[2], form.length)[:, np.newaxis]


@st.composite
def cases(draw):
    """Arrays whose axes lie in memory in any order, with gaps or without; any axes; two parameters along any."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)))
    order = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from([1, 1, 1, 2, -1])) for _ in shape]
    axes = tuple(i for i in range(len(shape)) if draw(st.booleans()))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    stored = rng.normal(size=[abs(steps[i]) * shape[i] for i in order])
    x = stored.transpose(np.argsort(order))[tuple(slice(None, None, step) for step in steps)]
    shapes = [[n if draw(st.booleans()) else 1 for n in shape] for _ in range(2)]
    return x, axes, [rng.normal(size=each) for each in shapes]


def check_statistics(x, axes, parameters):
    """The matrix, its groups and what they have once each, and all of it back."""
    form = layout_of(x, axes, parameters)
    matrix = form.matrix(x)
    assert matrix.flags.c_contiguous
    np.testing.assert_array_equal(form.restore(matrix), x)
    mean = x.mean(axis=axes, keepdims=True) if axes else x.copy()
    groups = indexed(form, matrix).mean(axis=(1, 3))
    statistic = form.statistic(mean)
    assert statistic.shape == form.room
    np.testing.assert_allclose(statistic, groups.repeat(form.share, 1) if form.outer else groups.ravel(), atol=1e-12)
    np.testing.assert_allclose(form.restore_statistic(statistic), mean, atol=1e-12)


def check_parameters(x, axes, parameters, large):
    """What meets each element, and the sums of what comes back from them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "LARGE", 1 if large else 2**62)
        shapes = tuple(each.shape for each in parameters)
        form = layout.__wrapped__(x.shape, x.strides, axes, shapes)
    for parameter in parameters:
        shared = tuple(i for i, n in enumerate(parameter.shape) if n == 1)
        elements = indexed(form, form.matrix(np.ascontiguousarray(np.broadcast_to(parameter, x.shape))))
        expanded = form.expand(parameter, 0.0, FLOAT64)
        assert expanded.shape == (form.period, form.length)
        np.testing.assert_array_equal(np.broadcast_to(parameters_of(form, expanded), elements.shape), elements)

        summed = indexed(form, form.matrix(x)).sum(axis=1)
        sums = np.zeros(form.sums)
        if form.outer:
            sums[:] = summed.reshape(sums.shape)
        else:  # whatever the block
            np.add.at(sums, np.arange(*form.groups) % len(sums), summed.reshape(-1, form.length))
        found = form.collect(sums, parameter)
        np.testing.assert_allclose(found, x.sum(axis=shared, keepdims=True), atol=1e-12)
        np.testing.assert_allclose(form.collect(form.spread(found), parameter), found, atol=1e-12)


def check_flags(x, axes, parameters):
    """Flags of groups, for each element."""
    form = layout_of(x, axes, parameters)
    flags = np.arange(prod(form.room)).reshape(form.room)
    elements = np.broadcast_to(form.by_element(flags), form.matrix(x).shape)
    if form.outer:
        expected = np.broadcast_to(flags[:, np.newaxis], (len(flags), len(elements) // len(flags), form.length))
    else:
        expected = np.broadcast_to(flags.reshape(-1, 1, form.units[2], 1), indexed(form, elements).shape)
    np.testing.assert_array_equal(elements, expected.reshape(elements.shape))


@given(cases(), st.booleans())
def test_any_array_becomes_a_matrix_and_comes_back(case, large):
    check_statistics(*case)
    check_parameters(*case, large)
    check_flags(*case)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(("norm", "channels_last"), LAYOUTS)
def test_arrays_of_norms_in_use_become_a_matrix_and_come_back(norm, channels_last, large, rng):
    x, weight, bias, axes = arrays(norm, channels_last, np.float64, rng)
    check_statistics(x, axes, [weight, bias])
    check_parameters(x, axes, [weight, bias], large)
    check_flags(x, axes, [weight, bias])


FORMS = {  # outer, the matrix, the shape of the statistics, (K0, blocks, R1) or (blocks, R0, K1), period
    ("batch, of features", False): (True, (64, 7), (1, 7), (1, 1, 1), 1),
    ("batch, of images", False): (True, (5, 72), (1, 3), (1, 1, 24), 1),
    ("batch, of images", True): (True, (120, 3), (1, 3), (1, 1, 1), 1),
    ("layer", False): (False, (6, 10), (6,), (1, 1, 6), 1),
    ("layer, of one row", False): (False, (1, 130), (1,), (1, 1, 1), 1),
    ("layer, of pixels", True): (False, (24, 5), (24,), (1, 1, 24), 1),
    ("group", False): (False, (12, 30), (12,), (1, 1, 12), 3),
    ("group", True): (True, (60, 6), (4, 3), (4, 1, 2), 1),
    ("group, of many channels", True): (False, (24, 70), (6,), (1, 4, 3), 3),
    ("instance", False): (False, (12, 15), (12,), (1, 1, 12), 3),
    ("instance", True): (True, (60, 3), (4, 3), (4, 1, 1), 1),
}


@pytest.mark.parametrize(("norm", "channels_last"), FORMS)
def test_norms_in_use_have_the_form_that_suits_them(norm, channels_last, rng):
    x, weight, bias, axes = arrays(norm, channels_last, np.float32, rng)
    form = layout_of(x, axes, (weight, bias))
    found = form.outer, form.matrix(x).shape, form.groups, form.units[:3], form.period
    assert found == FORMS[norm, channels_last]


@pytest.mark.parametrize(("norm", "channels_last"), [case for case in LAYOUTS if case != ("layer, of pixels", False)])
def test_norms_in_use_are_not_copied(norm, channels_last, rng):
    x, weight, bias, axes = arrays(norm, channels_last, np.float32, rng)
    form = layout_of(x, axes, (weight, bias))
    assert np.shares_memory(form.matrix(x), x)


def test_other_arrays_are_copied_with_the_reduced_axes_last(rng):
    x = rng.normal(size=(3, 5, 4, 2))
    form = layout_of(x, (0, 2), (None,))
    assert not np.shares_memory(form.matrix(x), x)
    assert (form.outer, form.order) == (False, (1, 3, 0, 2))


def test_arrays_with_gaps_are_copied_as_they_lie(rng):
    x = rng.normal(size=(3, 5, 4, 2))
    some_channels = rng.normal(size=(3, 5, 2, 4)).transpose(0, 3, 1, 2)[:, :3]
    for some, axes, outer, order in [
        (x[::2], (1,), True, (0, 1, 2, 3)),
        (x[..., ::-1], (3,), False, (0, 1, 2, 3)),
        (some_channels, (0, 2, 3), True, (0, 2, 3, 1)),
    ]:
        form = layout_of(some, axes, (None,))
        matrix = form.matrix(some)
        assert not np.shares_memory(matrix, x)
        np.testing.assert_array_equal(form.restore(matrix), some)
        assert (form.outer, form.order) == (outer, order)


def test_other_sets_of_axes_stay_where_they_are_or_come_last(rng):
    x = rng.normal(size=(3, 5, 4, 2))
    assert not layout_of(x, (2, 3), (None,)).outer
    form = layout_of(x, (2, 3), (None,), ((1,),))
    assert (form.outer, form.order, form.groups, form.units[4:]) == (True, (0, 2, 3, 1), (3, 5), (5, 1))
    form = layout_of(x, (1, 2), (None,), ((0,), (3,), ()))
    assert (form.order, form.groups, form.units[4:]) == ((0, 1, 2, 3), (3, 2), (3, 2, 2, 1, 1, 1))
    assert np.shares_memory(form.matrix(x), x)
    form = layout_of(x, (1,), (None,), ((0, 3), (2,)))
    assert (form.order, form.groups, form.units[4:]) == ((1, 2, 0, 3), (1, 24), (6, 1, 4, 6))
    form = layout_of(x, (), (None,), ((0,), (1,)))
    assert (form.order, form.groups, form.units[4:]) == ((0, 1, 2, 3), (1, 120), (3, 40, 5, 8))


def test_a_statistic_that_is_the_same_along_a_set_is_repeated(rng):
    form = layout_of(rng.normal(size=(3, 4, 5)), (1,), (None,), ((0,), (2,)))
    level = rng.normal(size=(3, 1, 1))
    np.testing.assert_array_equal(form.statistic(level), level[:, :, 0].repeat(5, axis=1))


@pytest.mark.usefixtures("_everything_is_large")
def test_large_arrays_are_cut_in_blocks_that_are_no_smaller_than_a_few_rows(rng):
    for shape, axes, blocks in [
        ((64 * 32, 7), (0,), 32),
        ((64 * 5, 7), (0,), 5),
        ((63, 7), (0,), 1),
        ((9, 300), (1,), 1),
        ((8 * 20, 300), (1,), 20),
        ((10_000, 300), (1,), 32),
    ]:
        assert layout_of(rng.normal(size=shape), axes, (None,)).blocks == blocks


def test_small_arrays_are_one_block(rng):
    assert layout_of(rng.normal(size=(64 * 32, 7)), (0,), (None,)).blocks == 1


def test_a_parameter_that_is_not_there_is_a_number_and_has_no_gradient(rng):
    form = layout_of(rng.normal(size=(6, 10)), (1,), (None, None))
    found = form.expand(None, 1.0, np.dtype(np.float32))
    assert (found.shape, found.dtype, set(found.ravel())) == ((1, 10), np.float32, {1.0})
    assert form.collect(np.ones(form.sums), None) is None


def test_a_gradient_has_the_dtype_of_its_parameter_and_is_no_view(rng):
    x, weight = rng.normal(size=(6, 10)), np.ones((1, 10), np.float32)
    form, sums = layout_of(x, (1,), (weight,)), np.ones((1, 10))
    assert form.collect(sums, weight).dtype == np.float32
    assert not np.shares_memory(form.collect(sums, weight.astype(float)), sums)
