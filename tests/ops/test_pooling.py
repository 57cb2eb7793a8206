from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import Tensor, composed, definitions, grad, kernels, nn, ops
from tinygrad_norm.ops.pooling import check_window
from tinygrad_norm.testing import compare_with_composition, gradcheck

WINDOWS = {  # id: the input's shape and the window
    "2": ((2, 2, 4, 6), {"kernel_size": 2}),
    "overlapping": ((1, 2, 7, 5), {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1}),
    "with gaps": ((1, 2, 6, 7), {"kernel_size": 2, "stride": (3, 4)}),
    "ceil": ((1, 2, 6, 8), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    "ceil, padded": ((2, 1, 5, 4), {"kernel_size": (2, 3), "stride": 3, "padding": 1, "ceil_mode": True}),
    "one pixel": ((3, 2, 1, 1), {"kernel_size": 1}),
    "one image": ((3, 5, 6), {"kernel_size": (2, 3), "padding": (1, 0)}),
}
DILATED = {
    "dilated": ((1, 2, 6, 7), {"kernel_size": (2, 3), "stride": 1, "dilation": (3, 2)}),
    "dilated, padded": ((1, 2, 6, 9), {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True}),
    "missing the image": ((1, 1, 4, 4), {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": 5}),
}
AVERAGES = {
    "without the padding": ((2, 2, 5, 7), {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
    "past the padding": ((1, 2, 5, 6), {"kernel_size": 4, "stride": 3, "padding": 2, "ceil_mode": True}),
    "a divisor": ((2, 2, 5, 7), {"kernel_size": 3, "stride": 2, "padding": 1, "divisor_override": -4}),
}
CASES = [(ops.max_pool2d, *case) for case in (WINDOWS | DILATED).values()]
CASES += [(ops.avg_pool2d, *case) for case in (WINDOWS | AVERAGES).values()]
cases = pytest.mark.parametrize(
    ("op", "shape", "options"),
    CASES,
    ids=[f"max {name}" for name in WINDOWS | DILATED] + [f"average {name}" for name in WINDOWS | AVERAGES],
)
both = pytest.mark.parametrize("op", [ops.max_pool2d, ops.avg_pool2d])
ways = pytest.mark.parametrize("definition", [False, True], ids=["fused", "composed"])


def leaf(array, dtype=np.float64):
    return Tensor(np.asarray(array, dtype), requires_grad=True)


def distinct(rng, shape):
    """Values of which no two are closer than finite differences can tell."""
    return rng.permutation(math.prod(shape)).reshape(shape) / 10 - 1.0


def as_pair(value):
    return value if isinstance(value, tuple) else (value, value)


def by_definition(op, x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, **how):
    """Every window by itself, in loops."""
    along = []
    for axis, n in enumerate(x.shape[-2:]):
        k, s, p, d = (as_pair(v)[axis] for v in (kernel_size, stride or kernel_size, padding, dilation))
        count = (math.ceil if ceil_mode else math.floor)((n + 2 * p - d * (k - 1) - 1) / s) + 1
        starts = [s * i - p for i in range(count)]
        starts = [start for start in starts if not ceil_mode or start < n]
        along.append([[start + d * i for i in range(k)] for start in starts])
    height, width = x.shape[-2:]
    padding = as_pair(padding)
    y = np.zeros((*x.shape[:-2], len(along[0]), len(along[1])))
    for i, j in np.ndindex(y.shape[-2:]):
        pixels = [(h, w) for h in along[0][i] for w in along[1][j]]
        values = [x[..., h, w] for h, w in pixels if 0 <= h < height and 0 <= w < width]
        counted = [(h, w) for h, w in pixels if h < height + padding[0] and w < width + padding[1]]
        if op is ops.max_pool2d:
            y[..., i, j] = np.max(values, axis=0) if values else -np.inf
        else:
            count = len(counted) if how.get("count_include_pad", True) else len(values)
            y[..., i, j] = sum(values) / (how.get("divisor_override") or count)
    return y


def test_every_op_has_tests(exported):
    assert exported("pooling") == {"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "local_response_norm"}


@cases
def test_value_and_gradient(rng, op, shape, options):
    x = leaf(distinct(rng, shape))
    y = op(x, **options)
    np.testing.assert_allclose(y.numpy(), by_definition(op, x.numpy(), **options), rtol=1e-13, atol=1e-14)
    if np.isfinite(y.numpy()).all():
        gradcheck(lambda x: op(x, **options), [x])


@both
def test_second_gradient(rng, op):
    x = leaf(distinct(rng, (1, 2, 3, 4)))
    gradcheck(lambda x: ops.square(op(x, (2, 3), stride=1, padding=1)), [x], order=2)


@cases
def test_is_its_composition(rng, op, shape, options):
    compare_with_composition(lambda x: op(x, **options), [leaf(rng.integers(-2, 3, shape))], order=2)


@st.composite
def windows(draw):
    """A shape and a window that fits in it, seen through any layout."""
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    stride = draw(st.none() | st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = tuple(draw(st.integers(max(1, k - 2 * p), 7)) for k, p in zip(kernel, padding, strict=True))
    shape = (*draw(st.tuples(st.integers(0, 2), st.integers(1, 3))), *size)
    order = draw(st.permutations(range(4)))
    stored = np.random.default_rng(draw(st.integers(0, 99))).integers(-2, 3, [shape[i] for i in order])
    x = stored.astype(np.float64).transpose(np.argsort(order))
    return x, {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": draw(st.booleans())}


@both
@given(windows())
def test_drawn_windows(op, drawn):
    x, options = drawn
    given_x = Tensor.wrap(x).requires_grad_()
    np.testing.assert_allclose(op(given_x, **options).numpy(), by_definition(op, x, **options), rtol=1e-13, atol=1e-14)
    compare_with_composition(lambda x: op(x, **options), [given_x], order=2)


@ways
@pytest.mark.parametrize("create_graph", [False, True])
def test_the_first_of_equal_values_gets_the_whole_gradient(definition, create_graph):
    x = leaf([[[[1, 3, 3], [3, 0, 3], [3, 3, 3]]]])
    with composed(definition):
        y = ops.max_pool2d(x, 2, stride=1)
        (dx,) = grad(y, [x], np.array([[[[1.0, 10.0], [100.0, 1000.0]]]]), create_graph=create_graph)
    assert y.tolist() == [[[[3, 3], [3, 3]]]]
    assert dx.tolist() == [[[[0, 11, 0], [100, 0, 1000], [0, 0, 0]]]]


@ways
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity(definition, dtype):
    nan, inf = np.nan, np.inf
    x = leaf([[[[1, nan, nan, 5], [nan, 2, -inf, 5], [-inf, inf, -inf, -inf], [3, 4, -inf, -inf]]]], dtype)
    with composed(definition):
        y, average = ops.max_pool2d(x, 2), ops.avg_pool2d(x, 2)
        (dx,) = grad(y, [x], np.ones((1, 1, 2, 2)))
    np.testing.assert_array_equal(y.numpy(), [[[[nan, nan], [inf, -inf]]]])
    np.testing.assert_array_equal(average.numpy(), [[[[nan, nan], [nan, -inf]]]])
    assert dx.tolist() == [[[[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]]]


@ways
def test_padding_never_is_the_maximum(definition):
    x = leaf(np.full((1, 1, 2, 2), -np.inf))
    with composed(definition):
        y = ops.max_pool2d(x, 2, padding=1)
        (dx,) = grad(y, [x], np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert y.tolist() == [[[[-np.inf] * 2] * 2]]
    assert dx.tolist() == [[[[1, 2], [3, 4]]]]


@ways
def test_a_window_that_misses_the_image_gives_minus_infinity_and_no_gradient(definition):
    x = leaf(np.ones((1, 2, 4, 4)))
    with composed(definition):
        y = ops.max_pool2d(x, 2, stride=1, padding=1, dilation=5)
        (dx,) = grad(y, [x], np.ones((1, 2, 1, 1)))
    assert y.tolist() == [[[[-np.inf]], [[-np.inf]]]]
    assert not dx.numpy().any()


@pytest.mark.parametrize(
    ("length", "options", "expected"),
    [
        (7, {"kernel_size": 2}, 3),
        (7, {"kernel_size": 2, "ceil_mode": True}, 4),
        (6, {"kernel_size": 1, "stride": 4, "ceil_mode": True}, 2),  # a third window would begin after the image
        (3, {"kernel_size": 2, "stride": 4, "padding": 1, "ceil_mode": True}, 1),  # the second in the padding after it
        (4, {"kernel_size": 2, "stride": 4, "padding": 1, "ceil_mode": True}, 2),
        (2, {"kernel_size": 3, "ceil_mode": True}, 1),  # larger than the image, which ceil_mode allows
    ],
)
@both
def test_how_many_windows_there_are(op, length, options, expected):
    assert op(np.ones((1, 1, length, length)), **options).shape == (1, 1, expected, expected)


def test_the_position_of_the_maximum_takes_one_byte(rng):
    x = leaf(rng.normal(size=(2, 3, 8, 8)), np.float32)
    y = ops.max_pool2d(x, 2)
    position, shape = y.creator.saved_arrays
    assert position.dtype == np.uint8
    assert shape == x.shape
    assert y.creator.saved_bytes == y.size


@ways
def test_a_window_with_more_places_than_a_byte_counts(rng, definition):
    x = leaf(distinct(rng, (1, 2, 17, 17)))
    with composed(definition):
        (dx,) = grad(ops.max_pool2d(x, 17).sum(), [x])
    np.testing.assert_array_equal(dx.numpy(), x.numpy() == x.numpy().max(axis=(2, 3), keepdims=True))


@cases
def test_channels_stay_last_in_memory(rng, op, shape, options):
    if len(shape) == 3:
        shape = (1, *shape)
    x = Tensor.wrap(rng.normal(size=(shape[0], *shape[2:], shape[1])).astype("f").transpose(0, 3, 1, 2))
    before = x.numpy().copy()
    y = op(x.requires_grad_(), **options)
    (dx,) = grad(y, [x], np.ones(y.shape))
    assert y.dtype == dx.dtype == np.float32
    if kernels.of(x.raw) is not definitions:
        assert y.raw.transpose(0, 2, 3, 1).flags.c_contiguous
        assert dx.raw.transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_array_equal(x.numpy(), before)


@both
def test_of_no_images_and_of_a_list(op):
    x = leaf(np.ones((0, 3, 4, 4)))
    y = op(x, 2)
    assert y.shape == (0, 3, 2, 2)
    assert grad(y.sum(), [x])[0].shape == x.shape
    assert op([[[1.0, 3.0], [3.0, 1.0]]], 2).tolist() == ([[[3]]] if op is ops.max_pool2d else [[[2]]])


WRONG = {
    "too many axes": ((1, 1, 1, 4, 4), {}, r"shape \(N, C, H, W\), not empty, got \(1, 1, 1, 4, 4\)"),
    "empty": ((1, 1, 0, 4), {}, "not empty, got"),
    "no channels": ((1, 0, 4, 4), {}, "not empty, got"),
    "too small": (
        (1, 2, 3, 4),
        {"kernel_size": 5},
        r"image is too small: windows of \(5, 5\) with dilation \(1, 1\) do not fit in .* shape \(1, 2, 3, 4\)",
    ),
    "too small in one axis": ((2, 1, 4), {"kernel_size": 2}, "image is too small"),
    "padding": ((1, 1, 4, 4), {"kernel_size": 3, "padding": 2}, "padding is at most half of kernel_size, got p"),
    "negative padding": ((1, 1, 4, 4), {"padding": -1}, "padding is an integer of at least 0"),
    "kernel": ((1, 1, 4, 4), {"kernel_size": 0}, "kernel_size is an integer of at least 1"),
    "stride": ((1, 1, 4, 4), {"stride": (1, 0)}, "stride is an integer of at least 1"),
}


@both
@pytest.mark.parametrize(("shape", "options", "message"), WRONG.values(), ids=WRONG)
def test_refuses(op, shape, options, message):
    with pytest.raises(ValueError, match=f"^{op.__name__}: .*{message}"):
        op(np.ones(shape), **({"kernel_size": 2} | options))


def test_refuses_other_values_and_types():
    x = np.ones((1, 1, 4, 4))
    with pytest.raises(ValueError, match="max_pool2d: dilation is an integer of at least 1"):
        ops.max_pool2d(x, 2, dilation=0)
    with pytest.raises(ValueError, match="avg_pool2d: divisor_override is not 0"):
        ops.avg_pool2d(x, 2, divisor_override=0)
    with pytest.raises(TypeError, match=r"divisor_override is an integer or None, got 1.5"):
        ops.avg_pool2d(x, 2, divisor_override=1.5)
    for op in (ops.max_pool2d, ops.avg_pool2d):
        with pytest.raises(
            TypeError, match=r"kernel_size is an integer of at least .*, or one for height and one for width"
        ):
            op(x, (2, 2, 2))
        with pytest.raises(TypeError, match=r"stride is an integer .*got 2.0"):
            op(x, 2, stride=2.0)
        with pytest.raises(TypeError, match="floating dtype"):
            op(x.astype(int), 2)


def test_an_error_names_the_layer():
    model = nn.Sequential(nn.MaxPool2D(2), nn.MaxPool2D(2))
    with pytest.raises(ValueError, match=r"max_pool2d in .*1: the image is too small"):
        model(np.ones((1, 1, 2, 2), np.float32))


# Adaptive average pooling


def windows_of(n, count):
    return [slice(i * n // count, math.ceil((i + 1) * n / count)) for i in range(count)]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 2), (4, 7), (6, 5), (8, 12)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adaptive_averages(rng, size, dtype):
    x = rng.normal(size=(2, 3, 6, 7)).astype(dtype)
    y = ops.adaptive_avg_pool2d(x, size)
    rows, columns = (windows_of(n, count) for n, count in zip(x.shape[2:], size, strict=True))
    expected = [[x[:, :, row, column].mean(axis=(2, 3)) for column in columns] for row in rows]
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy(), np.moveaxis(np.array(expected), (0, 1), (2, 3)), rtol=1e-5, atol=1e-6)
    gradcheck(lambda x: ops.adaptive_avg_pool2d(x, size), [leaf(x[:1, :2])])


def test_adaptive_averages_of_one_image_and_sizes_left_out(rng):
    x = rng.normal(size=(3, 6, 5))
    np.testing.assert_array_equal(ops.adaptive_avg_pool2d(x, None).numpy(), x)
    assert ops.adaptive_avg_pool2d(x, (None, 2)).shape == (3, 6, 2)
    np.testing.assert_allclose(ops.adaptive_avg_pool2d(x, 1).numpy(), x.mean(axis=(1, 2), keepdims=True), rtol=1e-13)
    np.testing.assert_allclose(
        ops.adaptive_avg_pool2d(x, [3, 5]).numpy(), x.reshape(3, 3, 2, 5).mean(axis=2), rtol=1e-13
    )


def test_a_nan_stays_in_its_window_where_the_sizes_divide():
    x = np.ones((1, 1, 4, 4))
    x[0, 0, 0, 3] = np.nan
    assert np.isnan(ops.adaptive_avg_pool2d(x, 2).numpy()).tolist() == [[[[False, True], [False, False]]]]
    assert np.isnan(ops.adaptive_avg_pool2d(x, 3).numpy()).all()


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (0, ValueError, "output_size is an integer of at least 1"),
        ((2, -1), ValueError, "output_size is an integer of at least 1"),
        (2.0, TypeError, "output_size is an integer"),
        ((1, 2, 3), TypeError, "output_size is an integer of at least .*, or one for height and one for width"),
    ],
)
def test_adaptive_averages_refuse(size, error, message):
    with pytest.raises(error, match=f"adaptive_avg_pool2d: {message}"):
        ops.adaptive_avg_pool2d(np.ones((1, 1, 4, 4)), size)


def test_adaptive_averages_need_images():
    with pytest.raises(ValueError, match=r"adaptive_avg_pool2d: .*got \(4, 4\)"):
        ops.adaptive_avg_pool2d(np.ones((4, 4)), 2)
    with pytest.raises(TypeError, match=r"adaptive_avg_pool2d: .*floating dtype"):
        ops.adaptive_avg_pool2d(np.ones((1, 1, 4, 4), int), 2)


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (3, 4), (2, 8), (6, 2), (6, 1)])
def test_adaptive_averages_where_the_sizes_divide(rng, size):
    x = rng.normal(size=(2, 3, 6, 8))
    blocks = x.reshape(2, 3, size[0], 6 // size[0], size[1], 8 // size[1])
    np.testing.assert_allclose(ops.adaptive_avg_pool2d(x, size).numpy(), blocks.mean(axis=(3, 5)), rtol=1e-12)


@pytest.mark.parametrize("option", ["count_include_pad", "ceil_mode"])
@pytest.mark.parametrize("value", ["no", 1, None])
def test_averages_take_true_and_false_for_flags(option, value):
    with pytest.raises(TypeError, match=f"avg_pool2d: {option} is True or False, got {value!r}"):
        ops.avg_pool2d(np.ones((1, 1, 4, 4)), 2, **{option: value})


def test_a_window_moves_by_its_own_size_and_touches_neighbours_if_nothing_is_said():
    assert check_window("op", (2, 3), None, 1) == ((2, 3), (2, 3), (1, 1), (1, 1))
    assert check_window("op", 3, 2, (0, 1), 4) == ((3, 3), (2, 2), (0, 1), (4, 4))


def test_an_image_without_a_batch_is_averaged_as_one_of_a_batch(rng):
    image = rng.normal(size=(2, 4, 6))
    options = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False}
    for more in ({}, {"divisor_override": 5}):
        (expected,) = ops.avg_pool2d(image[None], **options, **more).raw
        np.testing.assert_array_equal(ops.avg_pool2d(image, **options, **more).raw, expected)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("shape", [(2, 5, 3), (1, 4, 2, 3), (2, 1, 3), (1, 3, 2, 1, 2)])
def test_local_response_norm_in_loops(size, shape, rng):
    x = rng.normal(size=shape)
    expected = np.empty(shape)
    for channel in range(shape[1]):
        first = channel - size // 2
        around = x[:, max(first, 0) : first + size]
        expected[:, channel] = x[:, channel] / (1.5 + 0.3 * (around**2).sum(axis=1) / size) ** 0.6
    np.testing.assert_allclose(ops.local_response_norm(x, size, 0.3, 0.6, 1.5).raw, expected, rtol=1e-12)
    gradcheck(lambda x: ops.local_response_norm(x, size, 0.3, 0.6, 1.5), leaf(x), order=2)


def test_local_response_norm_of_images_with_the_channels_last_in_memory(rng):
    x = rng.normal(size=(2, 4, 3, 6)).astype(np.float32)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(ops.local_response_norm(last, 3).raw, ops.local_response_norm(x, 3).raw)


@pytest.mark.parametrize(
    ("shape", "arguments", "error", "told"),
    [
        ((2, 3), (2,), ValueError, r"local_response_norm: the input has shape \(N, C, L\), or more axes, got \(2, 3\)"),
        ((2, 3, 4), (0,), ValueError, "local_response_norm: size is an integer of at least 1, got 0"),
        ((2, 3, 4), (2.0,), TypeError, "size is an integer of at least 1, got 2.0"),
        ((2, 3, 4), (2, "1"), TypeError, "alpha is a finite number, got '1'"),
        ((2, 3, 4), (2, 1, np.inf), ValueError, "beta is a finite number, got inf"),
        ((2, 3, 4), (2, 1, 1, None), TypeError, "k is a finite number, got None"),
    ],
)
def test_what_local_response_norm_refuses(shape, arguments, error, told):
    with pytest.raises(error, match=told):
        ops.local_response_norm(np.ones(shape, np.float32), *arguments)
    with pytest.raises(TypeError, match="one floating dtype"):
        ops.local_response_norm(np.ones((2, 3, 4), int), 2)
