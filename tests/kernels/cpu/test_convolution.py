"""The convolution against the reference, in every layout of memory; the same bits from any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import definitions
from tinygrad_norm.kernels import cpu
from tinygrad_norm.kernels.cpu import compiler, convolution

PAIR = st.tuples(st.integers(1, 4), st.integers(1, 4))
SIDES = st.tuples(st.integers(0, 4), st.integers(0, 4))
ACTIVATION = st.sampled_from([None, ("relu", 0.0), ("leaky_relu", 0.1), ("silu", 0.0), ("tanh", 0.0)])
NOTHING = ((0, 0), (0, 0))
ALL = (True, True, True)

LAYOUTS = {
    "channels first": np.ascontiguousarray,
    "channels last": lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "every second": lambda x: x.repeat(2, axis=1).repeat(2, axis=3)[:, ::2, :, ::2],
    "reversed": lambda x: x[:, :, ::-1].copy()[:, :, ::-1],
    "transposed": lambda x: np.asfortranarray(x),
}


@st.composite
def convolutions(draw):
    """Shapes of x and of the weight, and the arguments of a convolution."""
    groups, depth, out_depth, images = [draw(st.integers(1, 3)) for _ in range(4)]
    kernel, stride, dilation = draw(PAIR), draw(PAIR), draw(PAIR)
    padding, activation = (draw(SIDES), draw(SIDES)), draw(ACTIVATION)
    size = [
        max(1, d * (k - 1) + 1 - sum(sides)) + draw(st.integers(0, 5))
        for k, d, sides in zip(kernel, dilation, padding, strict=True)
    ]
    how = stride, padding, dilation, groups, activation
    return (images, groups * depth, *size), (groups * out_depth, depth, *kernel), how


def arrays(rng, shape, weight, how, dtype=np.float64):
    x, w, b = [rng.normal(size=size).astype(dtype) for size in (shape, weight, weight[:1])]
    return rng.normal(size=definitions.conv2d(x, w, b, *how).shape).astype(dtype), x, w, b


def compare(dy, x, w, b, how, tolerance=1e-12):
    expected = (definitions.conv2d(x, w, b, *how), *definitions.conv2d_gradient(dy, x, w, b, *how, ALL))
    found = (cpu.conv2d(x, w, b, *how), *cpu.conv2d_gradient(dy, x, w, b, *how, ALL))
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1, np.abs(other).max()))


@given(convolutions(), st.sampled_from(sorted(LAYOUTS)), st.sampled_from([(np.float32, 1e-5), (np.float64, 1e-12)]))
def test_any_convolution_is_that_of_the_reference(case, layout, dtype):
    dy, x, w, b = arrays(np.random.default_rng(0), *case, dtype[0])
    compare(LAYOUTS[layout](dy), LAYOUTS[layout](x), LAYOUTS[layout](w), b, case[2], dtype[1])


@pytest.mark.parametrize("weight", [(512, 1, 3, 3), (2, 16, 3, 3)])
def test_few_groups_of_many_channels_are_matrix_products(weight, rng, monkeypatch):
    monkeypatch.setattr(convolution, "depthwise", None)
    how = ((1, 1), NOTHING, (1, 1), 2, None)
    compare(*arrays(rng, (2, 2 * weight[1], 5, 6), weight, how), how, 1e-11)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("filters", [12, 40])  # of these and of 20 pixels, the fewer are rearranged
@pytest.mark.parametrize("layout", ["channels first", "channels last"])
@pytest.mark.parametrize("few_pixels", [0, 64])
def test_filters_stay_as_they_are_where_pixels_are_fewer(few_pixels, layout, filters, groups, rng, monkeypatch):
    called = []
    monkeypatch.setattr(convolution, "_FEWEST", 7)
    monkeypatch.setattr(convolution, "_BLOCK", 1)
    monkeypatch.setattr(convolution, "FEW", few_pixels)
    monkeypatch.setattr(convolution, "_FEWER", 1)
    monkeypatch.setattr(convolution, "_plan", convolution._plan.__wrapped__)  # made anew, and not kept
    few = convolution._by_few

    def counted(*given):
        called.append(1)
        return few(*given)

    monkeypatch.setattr(convolution, "_by_few", counted)
    how = ((2, 1), ((1, 0), (1, 1)), (1, 2), groups, ("elu", 0.5))
    dy, x, w, b = arrays(rng, (2, 10, 5, 6), (filters, 10 // groups, 3, 3), how)
    compare(dy, x, LAYOUTS[layout](w), b, how)
    assert bool(called) == (filters > 20)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [None, *[(name, 0.3) for name in definitions.ACTIVATIONS]])
def test_bias_and_activation_are_one_pass(activation, bias, rng):
    how = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1, activation)
    dy, x, w, b = arrays(rng, (2, 3, 5, 6), (5, 3, 3, 3), how)
    b = b if bias else None
    expected = (definitions.conv2d(x, w, b, *how), *definitions.conv2d_gradient(dy, x, w, b, *how, ALL))
    found = (cpu.conv2d(x, w, b, *how), *cpu.conv2d_gradient(dy, x, w, b, *how, ALL))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


def test_windows_come_in_blocks(rng, monkeypatch):
    monkeypatch.setattr(convolution, "_BLOCK", 1)
    monkeypatch.setattr(convolution, "_FEWEST", 7)
    for groups in (1, 2):
        how = ((1, 2), ((1, 1), (0, 1)), (2, 1), groups, None)
        compare(*arrays(rng, (3, 4, 7, 6), (6, 4 // groups, 3, 2), how), how)


@pytest.mark.parametrize("weight", [(4, 4, 3, 3), (4, 2, 3, 3), (4, 1, 3, 3), (8, 1, 3, 3)])
def test_the_output_is_channels_last_in_memory(weight, rng):
    how = ((1, 1), ((1, 1), (1, 1)), (1, 1), 4 // weight[1], None)
    dy, x, w, b = arrays(rng, (2, 4, 5, 6), weight, how)
    for array in (cpu.conv2d(x, w, b, *how), cpu.conv2d_gradient(dy, x, w, b, *how, ALL)[0]):
        assert array.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_only_what_is_needed_is_computed(wanted, groups, rng):
    how = ((1, 1), NOTHING, (1, 1), groups, None)
    dy, x, w, b = arrays(rng, (2, 4, 5, 6), (4, 4 // groups, 3, 3), how)
    results = cpu.conv2d_gradient(dy, x, w, b, *how, tuple(i == wanted for i in range(3)))
    assert [result is not None for result in results] == [i == wanted for i in range(3)]


@pytest.mark.parametrize("weight", [(40, 1, 3, 5), (80, 1, 2, 3)])
def test_all_threads_compute_what_one_does(weight, rng, monkeypatch):
    how = ((1, 2), ((1, 1), (2, 1)), (1, 1), 40, None)
    dy, x, w, b = arrays(rng, (3, 40, 33, 35), weight, how, np.float32)
    assert dy.size * w[0].size > compiler.LARGE  # all threads
    compare(dy, x, w, b, how, 1e-5)
    found = []
    for large in (compiler.LARGE, 2**62):
        monkeypatch.setattr(compiler, "LARGE", large)
        found.append((cpu.conv2d(x, w, b, *how), *cpu.conv2d_gradient(dy, x, w, b, *how, ALL)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("weight", [(4, 4, 3, 3), (4, 2, 3, 3), (4, 1, 3, 3)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so_and_where_it_is(value, weight, rng):
    how = ((2, 1), ((1, 1), (1, 1)), (1, 1), 4 // weight[1], None)
    dy, x, w, b = arrays(rng, (2, 4, 5, 6), weight, how)
    x[0, 1, 2, 3] = dy[1, 2, 1, 4] = value
    with np.errstate(invalid="ignore"):
        expected = (definitions.conv2d(x, w, b, *how), *definitions.conv2d_gradient(dy, x, w, b, *how, ALL))
        found = (cpu.conv2d(x, w, b, *how), *cpu.conv2d_gradient(dy, x, w, b, *how, ALL))
    for one, other in zip(found, expected, strict=True):
        assert not np.isfinite(one).all()
        np.testing.assert_array_equal(np.isfinite(one), np.isfinite(other))


def test_inputs_stay_as_they_are(rng):
    how = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1, None)
    given = arrays(rng, (2, 4, 5, 6), (4, 4, 3, 3), how)
    before = [array.copy() for array in given]
    cpu.conv2d(*given[1:], *how)
    cpu.conv2d_gradient(*given, *how, ALL)
    for array, old in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, old)


@pytest.mark.parametrize("shape", [(60_000, 1, 1, 2), (2, 1, 300, 200)])
def test_the_bias_gradient_loses_no_digits_over_many_pixels(shape):
    dy = np.full(shape, 0.1, np.float32)
    dbias = cpu.conv2d_gradient(
        dy, dy, np.ones((1, 1, 1, 1), np.float32), None, (1, 1), NOTHING, (1, 1), 1, None, (False, False, True)
    )[2]
    assert dbias.dtype == np.float32
    assert dbias == np.float32(np.float64(np.float32(0.1)) * 120_000)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 1), (1, 4)])
def test_images_smaller_than_the_kernel_are_rows_of_one_matrix(size, groups, rng, monkeypatch):
    how = ((1, 2), ((1, 2), (2, 2)), (1, 2), groups, None)
    case = arrays(rng, (3, 6, *size), (8, 6 // groups, 3, 3), how)
    monkeypatch.setattr(convolution, "_windows", None)
    monkeypatch.setattr(convolution, "_plan", convolution._plan.__wrapped__)
    monkeypatch.setattr(convolution, "_by_few", convolution._by_blocks)
    compare(*case, how)
