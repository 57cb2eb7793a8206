from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_norm import Tensor, composed, grad, kernels, nn, ops
from tinygrad_norm.ops.convolution import padding_of
from tinygrad_norm.testing import compare_with_composition, gradcheck

# input, weight, arguments
CASES = {
    "plain": ((2, 3, 5, 6), (4, 3, 3, 2), {}),
    "one pixel": ((2, 3, 1, 1), (4, 3, 1, 1), {}),
    "the kernel is the input": ((2, 3, 4, 3), (2, 3, 4, 3), {}),
    "the kernel is the padded input": ((1, 2, 1, 2), (3, 2, 5, 4), {"padding": (2, 1)}),
    "strided": ((2, 3, 7, 6), (2, 3, 3, 2), {"stride": (2, 3)}),
    "a stride over the kernel": ((2, 2, 7, 8), (3, 2, 2, 1), {"stride": 3, "padding": 1}),
    "padded over the kernel": ((1, 2, 3, 2), (2, 2, 2, 1), {"padding": (3, 2)}),
    "dilated": ((2, 2, 7, 8), (3, 2, 3, 2), {"dilation": (2, 3), "padding": 1}),
    "strided and dilated": ((2, 2, 9, 8), (3, 2, 3, 2), {"stride": (2, 4), "dilation": (4, 2), "padding": (1, 2)}),
    "grouped": ((2, 6, 4, 5), (4, 3, 3, 2), {"groups": 2, "padding": 1}),
    "depthwise": ((2, 3, 5, 6), (3, 1, 3, 2), {"groups": 3, "stride": (2, 1), "padding": (1, 0)}),
    "depthwise with a multiplier": ((2, 3, 5, 4), (6, 1, 2, 3), {"groups": 3, "dilation": (1, 2), "padding": 2}),
    "one filter a group": ((2, 6, 5, 4), (3, 2, 2, 3), {"groups": 3, "stride": 2, "padding": 1}),
    "same": ((2, 3, 4, 5), (2, 3, 3, 4), {"padding": "same"}),
    "same, dilated": ((1, 2, 4, 5), (2, 2, 2, 3), {"padding": "same", "dilation": (3, 1)}),
    "valid": ((1, 2, 4, 5), (2, 2, 3, 3), {"padding": "valid"}),
    "activated": ((2, 3, 4, 5), (2, 3, 3, 2), {"activation": "silu"}),
    "activated, with a parameter": ((2, 4, 4, 5), (4, 1, 3, 3), {"activation": ("leaky_relu", 0.3), "groups": 4}),
    "one activated image": ((3, 5, 4), (2, 3, 3, 3), {"padding": 1, "activation": "tanh"}),
    "one image": ((3, 5, 4), (2, 3, 3, 3), {"padding": 1}),
}


@pytest.fixture(params=["cpu", "reference"])
def _kernels(request, monkeypatch):
    if request.param == "reference":
        monkeypatch.setattr(kernels, "_use_cpu", False)


def draw(rng, shape, weight, bias=True, dtype=np.float64):
    shapes = (shape, weight, weight[:1]) if bias else (shape, weight)
    return [Tensor(rng.normal(size=shape).astype(dtype), requires_grad=True) for shape in shapes]


def by_hand(x, weight, bias, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """The textbook's sum, pixel by pixel."""
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    (n, _, *size), (out_channels, depth, *kernel) = x.shape, weight.shape
    height, width = [(m - d * (k - 1) - 1) // s + 1 for m, k, s, d in zip(size, kernel, stride, dilation, strict=True)]
    y = np.empty((n, out_channels, height, width))
    for o, h, w in np.ndindex(out_channels, height, width):
        first = o // (out_channels // groups) * depth
        rows, columns = [s * i + d * np.arange(k) for s, i, d, k in zip(stride, (h, w), dilation, kernel, strict=True)]
        window = x[:, first : first + depth][:, :, rows][:, :, :, columns]
        y[:, o, h, w] = (window * weight[o]).sum(axis=(1, 2, 3)) + bias[o]
    return y


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize(
    ("shape", "weight", "how"),
    [
        ((2, 3, 5, 6), (4, 3, 3, 2), {}),
        ((2, 4, 7, 6), (6, 2, 3, 2), {"stride": (2, 3), "dilation": (1, 2), "groups": 2}),
        ((2, 3, 4, 4), (3, 1, 3, 3), {"padding": ((1, 1), (2, 2)), "groups": 3}),
    ],
)
def test_the_sum_is_that_of_the_textbook(shape, weight, how, rng):
    x, w, b = [tensor.numpy() for tensor in draw(rng, shape, weight)]
    given = dict(how, padding=tuple(sides[0] for sides in how.get("padding", ((0, 0),) * 2)))
    np.testing.assert_allclose(ops.conv2d(x, w, b, **given).numpy(), by_hand(x, w, b, **how), rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize(("shape", "weight", "how"), CASES.values(), ids=CASES)
def test_gradients(shape, weight, how, rng):
    inputs = draw(rng, shape, weight)
    gradcheck(lambda *arrays: ops.conv2d(*arrays, **how), inputs)
    compare_with_composition(lambda *arrays: ops.conv2d(*arrays, **how), inputs)
    compare_with_composition(lambda *arrays: ops.conv2d(*arrays, **how), inputs[:2])


@pytest.mark.parametrize(
    ("shape", "weight", "how"),
    [
        ((1, 1, 3, 3), (2, 1, 2, 2), {"stride": (2, 1), "padding": (1, 0)}),
        ((1, 2, 2, 3), (2, 1, 2, 2), {"groups": 2, "dilation": (1, 2)}),
        ((2, 1, 2, 2), (1, 1, 2, 3), {"padding": "same"}),
        ((1, 1, 3, 3), (2, 1, 2, 2), {"activation": "gelu"}),
    ],
)
def test_second_gradients(shape, weight, how, rng):
    x, w, _ = draw(rng, shape, weight)
    gradcheck(lambda x, w: ops.conv2d(ops.tanh(x), w, **how), [x, w], order=2)


@st.composite
def convolutions(draw):
    """Shapes of x and of the weight, and arguments that fit them."""
    groups, depth, out_depth = [draw(st.integers(1, 3)) for _ in range(3)]
    kernel, stride, dilation, padding, spare = [draw(st.tuples(*[st.integers(low, 3)] * 2)) for low in (1, 1, 1, 0, 0)]
    size = [
        max(1, d * (k - 1) + 1 - 2 * p) + s for k, d, p, s in zip(kernel, dilation, padding, spare, strict=True)
    ]  # without spare pixels, the kernel is as large as the padded input
    how = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    return (draw(st.integers(1, 2)), groups * depth, *size), (groups * out_depth, depth, *kernel), how


@given(convolutions(), st.booleans())
def test_any_convolution_is_its_composition(case, bias):
    shape, weight, how = case
    inputs = draw(np.random.default_rng(0), shape, weight, bias)
    compare_with_composition(lambda *arrays: ops.conv2d(*arrays, **how), inputs, order=1)


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_only_wanted_gradients_are_computed(wanted, rng, monkeypatch):
    inputs = draw(rng, (2, 3, 5, 5), (4, 3, 3, 3))
    for i, tensor in enumerate(inputs):
        tensor.requires_grad = i == wanted
    home, seen = kernels.of(inputs[0].raw), []
    kernel = home.conv2d_gradient

    def watched(*arrays, **how):
        seen.extend(kernel(*arrays, **how))
        return tuple(seen)

    monkeypatch.setattr(home, "conv2d_gradient", watched)
    y = ops.conv2d(*inputs, padding=1)
    y.backward(rng.normal(size=y.shape))
    assert [array is not None for array in seen] == [i == wanted for i in range(3)]


def test_one_image_is_a_batch_without_its_axis(rng):
    x, w, b = draw(rng, (3, 5, 4), (2, 3, 3, 3))
    y = ops.conv2d(x, w, b)
    assert y.shape == (2, 3, 2)
    np.testing.assert_array_equal(y.numpy(), ops.conv2d(x.numpy()[None], w, b).numpy()[0])


def test_same_keeps_the_size_and_puts_the_odd_zero_last(rng):
    x, w, _ = draw(rng, (1, 1, 4, 5), (1, 1, 2, 4))
    y = ops.conv2d(x, w, padding="same")
    assert y.shape == x.shape
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 1), (1, 2)))
    np.testing.assert_allclose(y.numpy(), ops.conv2d(padded, w).numpy(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(dtype, rng):
    inputs = draw(rng, (2, 3, 5, 4), (2, 3, 3, 3), dtype=dtype)
    y = ops.conv2d(*inputs)
    gradients = grad(y.sum(), inputs)
    with composed():
        assert ops.conv2d(*inputs).dtype == dtype
    assert {y.dtype, *[array.dtype for array in gradients]} == {np.dtype(dtype)}


ERRORS = {
    "channels": ((1, 3, 5, 5), (4, 2, 3, 3), {}, ValueError, r"\(1, 3, 5, 5\) has 3 channels.*groups=1 takes 2"),
    "groups": ((1, 4, 5, 5), (4, 1, 3, 3), {"groups": 3}, ValueError, "groups=3 for 4 and 4"),
    "groups of outputs": ((1, 4, 5, 5), (3, 2, 3, 3), {"groups": 2}, ValueError, "groups=2 for 4 and 3"),
    "no groups": ((1, 4, 5, 5), (3, 2, 3, 3), {"groups": 0}, ValueError, "groups is an integer of at least 1, got 0"),
    "half a group": (
        (1, 4, 5, 5),
        (3, 2, 3, 3),
        {"groups": 0.5},
        TypeError,
        "groups is an integer of at least 1, got 0.5",
    ),
    "kernel": (
        (1, 2, 5, 4),
        (1, 2, 3, 7),
        {"padding": (0, 1)},
        ValueError,
        "^conv2d: a kernel of .3, 7.*larger images",
    ),
    "dilated kernel": ((1, 2, 4, 5), (1, 2, 3, 1), {"dilation": 2}, ValueError, "dilation .2, 2. does not fit"),
    "stride": (
        (1, 2, 5, 5),
        (1, 2, 3, 3),
        {"stride": 0},
        ValueError,
        "stride is an integer of at least 1, or one for height and one for width, got 0",
    ),
    "half a stride": ((1, 2, 5, 5), (1, 2, 3, 3), {"stride": 1.5}, TypeError, "stride is an integer.* got 1.5"),
    "three strides": ((1, 2, 5, 5), (1, 2, 3, 3), {"stride": (1, 1, 1)}, TypeError, "one for height and one for width"),
    "padding": (
        (1, 2, 5, 5),
        (1, 2, 3, 3),
        {"padding": (1, -1)},
        ValueError,
        r"padding is an integer of at least 0.*\(1, -1\)",
    ),
    "a word": ((1, 2, 5, 5), (1, 2, 3, 3), {"padding": "full"}, ValueError, "'same' or 'valid', got 'full'"),
    "same": ((1, 2, 5, 5), (1, 2, 3, 3), {"padding": "same", "stride": 2}, ValueError, "a stride of 1, got .*2, 2"),
    "dilation": ((1, 2, 5, 5), (1, 2, 3, 3), {"dilation": (1, 0)}, ValueError, "dilation is an integer of at least 1"),
    "axes": ((2, 5), (1, 2, 3, 3), {}, ValueError, r"\(N, C, H, W\) or \(C, H, W\).* got \(2, 5\) and"),
    "axes of the weight": ((1, 2, 5, 5), (1, 2, 3), {}, ValueError, r"got \(1, 2, 5, 5\) and \(1, 2, 3\)"),
    "activation": ((1, 2, 5, 5), (1, 2, 3, 3), {"activation": "rely"}, ValueError, "activation is .*, got 'rely'"),
    "empty": ((1, 2, 0, 5), (1, 2, 3, 3), {}, ValueError, r"are not empty, got shapes \(1, 2, 0, 5\)"),
    "bias": (
        (1, 2, 5, 5),
        (4, 2, 3, 3),
        {"bias": np.zeros(3)},
        ValueError,
        r"bias has shape \(4,\) beside a weight of shape .*, got \(3,\)",
    ),
    "dtypes": ((1, 2, 5, 5), (1, 2, 3, 3), {"bias": np.zeros(1, np.float32)}, TypeError, "bias float32"),
}


@pytest.mark.parametrize(("shape", "weight", "how", "error", "words"), ERRORS.values(), ids=ERRORS)
def test_what_does_not_fit_is_refused(shape, weight, how, error, words, rng):
    with pytest.raises(error, match=words):
        ops.conv2d(rng.normal(size=shape), rng.normal(size=weight), **how)


@pytest.mark.parametrize("face", ["fused", "composed", "reference"])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kernel", [1, 3])
def test_no_images(face, groups, kernel, rng, monkeypatch):
    if face == "reference":
        monkeypatch.setattr(kernels, "_use_cpu", False)
    x = Tensor(np.zeros((0, 4, 5, 6)), requires_grad=True)
    weight, bias = [Tensor(rng.normal(size=s), requires_grad=True) for s in ((4, 4 // groups, kernel, kernel), (4,))]
    with composed(face == "composed"):
        y = ops.conv2d(x, weight, bias, groups=groups)
    assert y.shape == (0, 4, 6 - kernel, 7 - kernel)
    dx, dweight, dbias = grad(y.sum(), [x, weight, bias])
    assert dx.shape == x.shape
    assert not dweight.numpy().any()
    assert not dbias.numpy().any()


@pytest.mark.parametrize(("inputs", "outputs"), [(8, 4), (4, 8)])
def test_no_images_for_channels_that_are_joined_or_divided(inputs, outputs):
    x, weight = np.zeros((0, inputs, 5, 5)), Tensor(np.ones((outputs, inputs // 4, 3, 3)), requires_grad=True)
    y = ops.conv2d(x, weight, groups=4)
    assert y.shape == (0, outputs, 3, 3)
    assert not grad(y.sum(), [weight])[0].numpy().any()


def test_an_error_names_the_layer(rng):
    model = nn.Sequential({"stem": nn.Conv2D(2, 3, 3), "head": nn.Conv2D(3, 1, 5)})
    with pytest.raises(ValueError, match=r"^conv2d in head: a kernel of \(5, 5\).* shape \(1, 3, 4, 4\)"):
        model(rng.normal(size=(1, 2, 6, 6)).astype(np.float32))


def test_what_is_exported(exported):
    assert exported("convolution") == {"conv2d"}


@pytest.mark.parametrize("which", ["x", "weight", "bias"])
def test_one_dtype_is_needed_throughout(which):
    given = {"x": np.ones((1, 2, 3, 3)), "weight": np.ones((4, 2, 1, 1)), "bias": np.ones(4)}
    wrong = given | {which: given[which].astype(np.float32)}
    with pytest.raises(TypeError, match="conv2d: one floating dtype is needed throughout"):
        ops.conv2d(**wrong)
    if which != "bias":
        with pytest.raises(TypeError, match="conv2d: one floating dtype is needed throughout"):
            ops.conv2d(wrong["x"], wrong["weight"])


@pytest.mark.parametrize(
    ("shape", "weight"),
    [
        ((1, 0, 3, 3), (4, 0, 1, 1)),
        ((1, 2, 0, 3), (4, 2, 1, 1)),
        ((1, 2, 3, 0), (4, 2, 1, 1)),
        ((1, 2, 3, 3), (0, 2, 1, 1)),
        ((1, 2, 3, 3), (4, 2, 0, 1)),
        ((1, 2, 3, 3), (4, 2, 1, 0)),
    ],
)
def test_images_and_weights_are_not_empty(shape, weight):
    with pytest.raises(ValueError, match="conv2d: images and weight are not empty"):
        ops.conv2d(np.ones(shape), np.ones(weight))


def test_the_window_is_plain_if_nothing_is_said(rng):
    x, weight = rng.normal(size=(1, 2, 5, 6)), rng.normal(size=(3, 2, 2, 3))
    told = ops.conv2d(x, weight, stride=1, padding=0, dilation=1, groups=1)
    np.testing.assert_array_equal(ops.conv2d(x, weight).numpy(), told.numpy())


def test_valid_padding_is_none(rng):
    x, weight = rng.normal(size=(1, 2, 4, 5)), rng.normal(size=(2, 2, 3, 3))
    expected = ops.conv2d(x, weight).raw
    assert expected.shape == (1, 2, 2, 3)
    np.testing.assert_array_equal(ops.conv2d(x, weight, padding="valid").raw, expected)
    assert padding_of("conv2d", "valid", (3, 3), (1, 1), (1, 1)) == ((0, 0), (0, 0))
