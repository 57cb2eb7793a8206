"""AdaIN, FiLM, conditional batch norm and SPADE: beside their formulas, and what their conditions may be."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.nn.norms.layers import IMAGES, LABELS, LAYERS, along, check_three_steps, close, gradient_of, stirred
from tinygrad_norm import Tensor, derive, grad, nn, ops

pytestmark = pytest.mark.usefixtures("plain_numpy")

CHANNELS, POSITIONS = (0, 2, 3), (2, 3)


def scale_and_shift(layer, condition):
    """What a layer of labels or vectors multiplies by and adds, (N, C, 1, 1)."""
    if condition.ndim == 1:
        condition = np.eye(layer.condition_features)[condition]
    scale = layer.weight.raw + condition @ layer.condition_weight.raw
    shift = layer.bias.raw + condition @ layer.condition_bias.raw
    return scale[:, :, None, None], shift[:, :, None, None]


def normalized(x, mean, var, eps=1e-5):
    return (x - mean) / np.sqrt(var + eps)


# Values


def test_adain_gives_x_the_mean_and_deviation_of_the_style(rng):
    x, style = rng.normal(2, 3, (3, 4, 6, 5)), rng.normal(-1, 0.5, (3, 4, 3, 2))
    y = nn.AdaIN(4, eps=0.0, dtype="float64")(x, style).raw
    close(y.mean(POSITIONS), style.mean(POSITIONS))
    close(y.std(POSITIONS), style.std(POSITIONS))
    y = nn.AdaIN(4, eps=0.3)(x, style)
    expected = normalized(x, x.mean(POSITIONS, keepdims=True), x.var(POSITIONS, keepdims=True), 0.3)
    expected = expected * np.sqrt(style.var(POSITIONS, keepdims=True) + 0.3) + style.mean(POSITIONS, keepdims=True)
    close(y, expected)
    assert nn.AdaIN(4).state_dict() == {}


@pytest.mark.parametrize("condition", [LABELS, np.random.default_rng(1).normal(size=(3, 3))], ids=["labels", "vectors"])
def test_adain_of_vectors_scales_and_shifts_by_them(condition, rng):
    layer, x = stirred(nn.AdaIN(4, 3, dtype="float64"), rng), rng.normal(size=IMAGES)
    scale, shift = scale_and_shift(layer, condition)
    mean, var = x.mean(POSITIONS, keepdims=True), x.var(POSITIONS, keepdims=True)
    close(layer(x, condition), scale * normalized(x, mean, var) + shift)


@pytest.mark.parametrize("condition", [LABELS, np.random.default_rng(1).normal(size=(3, 3))], ids=["labels", "vectors"])
def test_film_scales_and_shifts_each_channel(condition, rng):
    layer, x = stirred(nn.FiLM(4, 3, dtype="float64"), rng), rng.normal(size=IMAGES)
    scale, shift = scale_and_shift(layer, condition)
    close(layer(x, condition), scale * x + shift)
    close(layer(x[:, :, 0, 0], condition), scale[..., 0, 0] * x[:, :, 0, 0] + shift[..., 0, 0])


@pytest.mark.parametrize("labels", [True, False])
def test_conditional_batch_norm_for_three_steps_and_in_inference(labels, rng):
    layer = nn.ConditionalBatchNorm2D(4, 3, eps=1e-3, momentum=0.3, dtype="float64")

    def infer(x, condition, mean, var):
        scale, shift = scale_and_shift(layer, condition)
        return scale * normalized(x, mean[:, None, None], var[:, None, None], layer.eps) + shift

    def train(x, condition, _, __):
        mean, var = x.mean(CHANNELS), x.var(CHANNELS)
        return infer(x, condition, mean, var), mean, var

    def draw():
        condition = rng.integers(0, 3, 3) if labels else rng.normal(size=(3, 3))
        return [rng.normal(0.4, 1.2, IMAGES), condition]

    check_three_steps(layer, rng, train, infer, draw)


def test_spade_for_three_steps_and_in_inference(rng):
    layer = nn.SPADE(4, 2, 3, eps=1e-3, momentum=0.3, dtype="float64")
    rows, columns = np.array([0, 2]), np.array([0, 0, 1])  # of 4 × 2 pixels, the nearest of 2 × 3

    def convolved(x, convolution):
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        return np.einsum("ncijhw,ochw->noij", windows, convolution.weight.raw) + along(convolution.bias)

    def infer(x, condition, mean, var):
        hidden = np.maximum(convolved(condition[:, :, rows][:, :, :, columns], layer.mlp_shared[0]), 0)
        gamma, beta = convolved(hidden, layer.mlp_gamma), convolved(hidden, layer.mlp_beta)
        return (1 + gamma) * normalized(x, mean[:, None, None], var[:, None, None], layer.eps) + beta

    def train(x, condition, _, __):
        mean, var = x.mean(CHANNELS), x.var(CHANNELS)
        return infer(x, condition, mean, var), mean, var

    check_three_steps(layer, rng, train, infer, lambda: [rng.normal(size=IMAGES), rng.normal(size=(3, 2, 4, 2))])


ONE_FOR_ALL = {
    "FiLM of a label": (lambda: nn.FiLM(4, 3, dtype="float64"), np.array([2])),
    "FiLM of a vector": (lambda: nn.FiLM(4, 3, dtype="float64"), (1, 3)),
    "AdaIN of features": (lambda: nn.AdaIN(4, dtype="float64"), (1, 4, 3, 2)),
    "AdaIN of a vector": (lambda: nn.AdaIN(4, 2, dtype="float64"), (1, 2)),
    "ConditionalBatchNorm2D": (lambda: nn.ConditionalBatchNorm2D(4, 3, dtype="float64"), np.array([2])),
    "SPADE": (lambda: nn.SPADE(4, 2, 3, dtype="float64"), (1, 2, 4, 2)),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ONE_FOR_ALL)
def test_one_condition_for_the_whole_batch_is_that_of_each_image(name, training, rng):
    build, condition = ONE_FOR_ALL[name]
    layer = stirred(build(), rng).train(training)
    one = rng.normal(size=condition) if isinstance(condition, tuple) else condition
    x, dy = rng.normal(size=IMAGES), rng.normal(size=IMAGES)
    found = gradient_of(layer, [x, one], dy)
    expected = gradient_of(layer, [x, np.repeat(one, 3, axis=0)], dy)
    if one.dtype.kind == "f":
        expected[1] = expected[1].raw.sum(axis=0, keepdims=True)
    for gradient, other in zip(found, expected, strict=True):
        close(gradient, other)
    close(layer(x, one), layer(x, np.repeat(one, 3, axis=0)))
    assert layer(np.ones((0, *IMAGES[1:])), one).shape == (0, *IMAGES[1:])


# What they begin with


@pytest.mark.parametrize("condition", [LABELS, np.random.default_rng(1).normal(size=(3, 3))], ids=["labels", "vectors"])
def test_at_first_film_is_the_identity_and_conditional_batch_norm_batch_norm(condition, rng):
    x = rng.normal(size=IMAGES)
    np.testing.assert_array_equal(nn.FiLM(4, 3, dtype="float64")(x, condition).raw, x)
    layer, plain = nn.ConditionalBatchNorm2D(4, 3, dtype="float64"), stirred(nn.BatchNorm2D(4, dtype="float64"), rng)
    missing, unexpected = layer.load_state_dict(plain.state_dict(), strict=False)
    assert (missing, unexpected) == (["condition_weight", "condition_bias"], [])
    for mode in (True, False):
        close(layer.train(mode)(x, condition), plain.train(mode)(x))
    close(layer.running_var, plain.running_var)


def test_without_weight_and_bias(rng):
    x = rng.normal(size=IMAGES)
    layer = stirred(nn.FiLM(4, 3, affine=False, dtype="float64"), rng)
    assert [*layer.state_dict()] == ["condition_weight", "condition_bias"]
    scale, shift = layer.condition_weight.raw[LABELS], layer.condition_bias.raw[LABELS]
    close(layer(x, LABELS), x * (1 + scale[:, :, None, None]) + shift[:, :, None, None])
    layer = stirred(nn.FiLM(4, 3, bias=False, dtype="float64"), rng)
    assert [*layer.state_dict()] == ["weight", "condition_weight"]
    scale = layer.weight.raw + layer.condition_weight.raw[LABELS]
    close(layer(x, LABELS), x * scale[:, :, None, None])


def test_reprs_and_states():
    assert repr(nn.FiLM(4, 3)) == "FiLM(4, 3, affine=True, bias=True)"
    assert repr(nn.AdaIN(4)) == "AdaIN(4, condition_features=None, eps=1e-05)"
    assert repr(nn.ConditionalBatchNorm1D(4, 3, momentum=None)).startswith(
        "ConditionalBatchNorm1D(4, 3, eps=1e-05, mom"
    )
    assert [*nn.SPADE(4, 2, 3).state_dict()] == [
        "running_mean",
        "running_var",
        "num_batches_tracked",
        *(f"{name}.{part}" for name in ("mlp_shared.0", "mlp_gamma", "mlp_beta") for part in ("weight", "bias")),
    ]


# Gradients that finite differences of the table do not see


def test_rows_of_labels_that_are_not_there_have_a_gradient_of_0(rng):
    layer: Any = nn.ConditionalBatchNorm2D(4, 5)
    layer(rng.normal(size=IMAGES).astype("float32"), LABELS).backward(np.ones(IMAGES, np.float32))
    assert [*layer.condition_bias.grad.raw.any(axis=1)] == [True, False, True, False, False]


def test_the_gradient_reaches_the_condition(rng):
    for layer, shape in ((nn.FiLM(4, 3), (3, 3)), (nn.AdaIN(4), (3, 4, 2, 2)), (nn.SPADE(4, 2, 3), (3, 2, 2, 3))):
        stirred(layer, rng)
        condition = Tensor(rng.normal(size=shape).astype("float32"), requires_grad=True)
        layer(rng.normal(size=IMAGES).astype("float32"), condition).backward(rng.normal(size=IMAGES))
        assert condition.grad.raw.any()


# Modes


def test_frozen_and_eval_leave_the_running_statistics_alone(rng):
    layer = stirred(nn.ConditionalBatchNorm2D(4, 3), rng)
    x = rng.normal(size=IMAGES).astype("float32")
    before, expected = layer.state_dict(), layer.eval()(x, LABELS).raw
    layer.train().frozen = True
    np.testing.assert_array_equal(layer(x, LABELS).raw, expected)
    for key, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[key])
    layer.frozen = False
    layer.use_batch_statistics, layer.update_running_statistics = False, True
    np.testing.assert_array_equal(layer(x, LABELS).raw, expected)
    assert layer.num_batches_tracked.item() == 1
    with pytest.raises(ValueError, match="one value per channel has no variance"):
        nn.ConditionalBatchNorm1D(4, 3)(np.ones((1, 4), np.float32), np.array([0]))


def test_in_a_sequential_each_layer_that_takes_the_condition_gets_it(rng):
    x = rng.normal(size=IMAGES).astype("float32")
    net = nn.Sequential(
        nn.Conv2D(4, 4, 1), nn.ConditionalBatchNorm2D(4, 3), nn.ReLU(), nn.Sequential(nn.FiLM(4, 3), nn.ReLU())
    )
    stirred(net[1], rng)
    stirred(net[3][0], rng)
    expected = ops.relu(net[3][0](ops.relu(net[1](net[0](x), LABELS)), LABELS))
    np.testing.assert_array_equal(net(x, LABELS).raw, expected.raw)
    lines = net.summary(IMAGES, LABELS).splitlines()
    assert any(re.search(r"ConditionalBatchNorm2D +\(3, 4, 2, 3\) +32", line) for line in lines)
    with pytest.raises(
        TypeError, match=r"^ConditionalBatchNorm2D in 1: the inputs are x and a condition, .* got none$"
    ):
        net(x)
    with pytest.raises(
        TypeError, match=r"^Sequential: the input is x alone, as no module in it takes a condition, got"
    ):
        nn.Sequential(nn.ReLU())(x, LABELS)


# Conditions that do not fit

WANTED = "labels of shape (3,), integers from 0 to 6, or vectors of shape (3, 7)"


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (np.array([0, 7, 1]), "labels are integers from 0 to 6, got 7"),
        (np.array([0, -1, 1]), "labels are integers from 0 to 6, got -1"),
        (np.array([0, 1]), f"the condition is {WANTED}, got int64 of shape (2,)"),
        (np.ones((3, 1), int), f"the condition is {WANTED}, got int64 of shape (3, 1)"),
        (np.ones(3, np.float32), f"the condition is {WANTED}, got float32 of shape (3,)"),
        (np.ones((3, 6), np.float32), f"the condition is {WANTED}, got float32 of shape (3, 6)"),
        (np.ones((2, 7), np.float32), f"the condition is {WANTED}, got float32 of shape (2, 7)"),
        (np.ones((3, 7), bool), f"the condition is {WANTED}, got bool of shape (3, 7)"),
    ],
)
@pytest.mark.parametrize("name", ["FiLM", "ConditionalBatchNorm2D", "AdaIN"])
def test_labels_and_vectors_that_do_not_fit(name, condition, words):
    layer = getattr(nn, name)(4, 7)
    hint = "; one for the whole batch has a first axis of 1" * words.startswith("the condition")
    for given in (condition, Tensor(condition)):
        with pytest.raises(ValueError, match=f"^{name}: {re.escape(words)}{hint}$"):
            layer(np.ones(IMAGES, np.float32), given)
    assert not layer.state_dict().get("num_batches_tracked", np.zeros(())).any()


@pytest.mark.parametrize(
    ("build", "condition", "words"),
    [
        (
            lambda: nn.AdaIN(4),
            np.ones((3, 4), np.float32),
            "of several values per channel, got float32 of shape (3, 4);",
        ),
        (
            lambda: nn.AdaIN(4),
            np.ones((3, 5, 2, 2), np.float32),
            "floats of shape (3, 4, …, …), of several values per channel, got float32 of shape (3, 5",
        ),
        (lambda: nn.AdaIN(4), np.ones((3, 4, 0, 2), np.float32), "per channel, got float32 of shape (3, 4, 0, 2)"),
        (lambda: nn.AdaIN(4), np.ones((3, 4, 1, 1), np.float32), "per channel, got float32 of shape (3, 4, 1, 1)"),
        (
            lambda: nn.AdaIN(4),
            LABELS,
            "floats of shape (3, 4, …, …), of several values per channel, got int64 of shape (3,",
        ),
        (
            lambda: nn.SPADE(4, 2, 3),
            np.ones((3, 2, 0, 2), np.float32),
            "shape (3, 2, H, W), got float32 of shape (3, 2",
        ),
        (
            lambda: nn.SPADE(4, 2, 3),
            np.ones((3, 3, 2, 2), np.float32),
            "shape (3, 2, H, W), got float32 of shape (3, 3",
        ),
        (lambda: nn.SPADE(4, 2, 3), np.ones((3, 2, 2, 2), int), "images of floats of shape (3, 2, H, W), got int64"),
    ],
)
def test_images_that_do_not_fit(build, condition, words):
    with pytest.raises(ValueError, match=f"the condition is .*{re.escape(words)}"):
        build()(np.ones(IMAGES, np.float32), condition)


@pytest.mark.parametrize(
    ("others", "got"),
    [([[0, 1, 2]], "list"), ([], "none"), ([np.ndarray], "the class ndarray; did you mean ndarray(...)?")],
)
def test_what_is_no_condition(others, got):
    words = f"FiLM: the inputs are x and a condition, a Tensor or a NumPy array, got {got}"
    with pytest.raises(TypeError, match=f"^{re.escape(words)}$"):
        nn.FiLM(4, 3)(np.ones(IMAGES, np.float32), *others)


@pytest.mark.parametrize(
    ("build", "shape", "condition", "words"),
    [
        (lambda: nn.AdaIN(4), (3, 4, 1, 1), (3, 4, 2, 2), "AdaIN: one value per channel of an image has no variance"),
        (lambda: nn.AdaIN(4, 2), (3, 4, 1), (3, 2), "AdaIN: one value per channel of an image has no variance"),
        (lambda: nn.SPADE(4, 2, 3), (3, 4, 2, 0), (3, 2, 2, 2), "SPADE: the input has pixels, got shape (3, 4, 2, 0)"),
    ],
)
def test_inputs_that_have_too_little(build, shape, condition, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        build()(np.ones(shape, np.float32), np.ones(condition, np.float32))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: nn.AdaIN(4, dtype="int64"), "dtype is float32 or float64, got int64"),
        (lambda: nn.FiLM(4, 0), "FiLM: condition_features is an integer of at least 1, got 0"),
        (lambda: nn.AdaIN(4, 0), "AdaIN: condition_features is an integer of at least 1, got 0"),
        (lambda: nn.AdaIN(4, 2.5), "AdaIN: condition_features is an integer of at least 1, got 2.5 (float)"),
        (lambda: nn.ConditionalBatchNorm2D(0, 3), "ConditionalBatchNorm2D: num_features is an integer of at least 1"),
        (lambda: nn.SPADE(4, 2, 3, 4), "SPADE: kernel_size is odd, got 4"),
        (lambda: nn.SPADE(4, 2, 0), "SPADE: hidden is an integer of at least 1, got 0"),
        (lambda: nn.SPADE(4, 0), "SPADE: condition_channels is an integer of at least 1, got 0"),
    ],
)
def test_bad_arguments(build, words):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(words)}"):
        build()


@pytest.mark.parametrize("name", ["ConditionalBatchNorm1D", "ConditionalBatchNorm2D", "SPADE"])
def test_batch_norm_and_then_scale_and_shift_are_the_definition(name, rng):
    layer = stirred(LAYERS[name].build(eps=0.1, dtype="float64"), rng)
    x, given = LAYERS[name].inputs(rng)
    condition = given if given.dtype.kind == "i" else Tensor(given)
    dy = rng.normal(size=x.shape)
    parameters = dict(layer.named_parameters())
    results = []
    for by_definition in (False, True):
        leaf = Tensor(x, requires_grad=True)
        y = layer(leaf, condition)
        if by_definition:
            axes = (0, *range(2, x.ndim))
            y, *_ = derive(layer.definition)(leaf, *layer.modulation(leaf, condition), axes=axes, eps=0.1)
        results.append([y, *grad(y, [leaf, *parameters.values()], dy)])
    for key, one, other in zip(["y", "x", *parameters], *results, strict=True):
        np.testing.assert_allclose(one.raw, other.raw, rtol=1e-9, atol=1e-11, err_msg=key)
