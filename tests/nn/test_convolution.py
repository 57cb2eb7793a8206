from __future__ import annotations

import re

import numpy as np
import pytest

from tinygrad_norm import Tensor, nn, ops, random
from tinygrad_norm.testing import gradcheck


def test_it_is_the_op_with_the_parameters_of_the_layer(rng):
    layer = nn.Conv2D(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, dtype=np.float64)
    x = Tensor(rng.normal(size=(2, 4, 5, 6)), requires_grad=True)
    y = layer(x)
    expected = ops.conv2d(x, layer.weight, layer.bias, (2, 1), (1, 0), (1, 2), 2)
    np.testing.assert_array_equal(y.numpy(), expected.numpy())
    assert layer(x.numpy()[0]).shape == y.shape[1:]
    gradcheck(layer, [x])


def test_the_activation_is_applied_to_the_output(rng):
    x = rng.normal(size=(2, 3, 5, 6)).astype(np.float32)
    layer = nn.Conv2D(3, 4, 3, activation=("leaky_relu", 0.3))
    expected = ops.leaky_relu(ops.conv2d(x, layer.weight, layer.bias), 0.3)
    np.testing.assert_array_equal(layer(x).numpy(), expected.numpy())


def test_keys_shapes_and_dtypes():
    layer = nn.Conv2D(4, 6, (3, 2), groups=2)
    assert {key: value.shape for key, value in layer.state_dict().items()} == {"weight": (6, 2, 3, 2), "bias": (6,)}
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    without = nn.Conv2D(4, 6, 3, bias=False, dtype="float64")
    assert without.bias is None
    assert list(without.state_dict()) == ["weight"]
    assert without.weight.dtype == np.float64


def test_it_starts_uniform_within_the_square_root_of_fan_in():
    layer = nn.Conv2D(40, 300, (5, 2), groups=4)
    for parameter in layer.parameters():
        values = parameter.numpy()
        assert np.abs(values).max() <= 0.1
        assert values.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.1)


def test_the_seed_decides_the_weights():
    layers = []
    for _ in range(2):
        random.manual_seed(5)
        layers.append(nn.Conv2D(3, 4, 3))
    np.testing.assert_array_equal(layers[0].weight.numpy(), layers[1].weight.numpy())
    before = layers[0].weight.numpy().copy()
    layers[0].reset_parameters()
    assert not np.any(layers[0].weight.numpy() == before)


@pytest.mark.parametrize("padding", [1, (2, 1), "same"])
@pytest.mark.parametrize(
    ("mode", "name"), [("zeros", "constant"), ("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]
)
def test_padding_modes_fill_the_border(mode, name, padding, rng):
    layer = nn.Conv2D(2, 3, (3, 4), padding=padding, padding_mode=mode, dtype=np.float64)
    sides = {1: ((1, 1), (1, 1)), (2, 1): ((2, 2), (1, 1)), "same": ((1, 1), (1, 2))}[padding]
    x = Tensor(rng.normal(size=(2, 2, 4, 5)), requires_grad=True)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), *sides), mode=name)
    np.testing.assert_allclose(layer(x).numpy(), ops.conv2d(padded, layer.weight, layer.bias).numpy(), rtol=1e-12)
    assert layer(x.numpy()[0]).shape == layer(x).shape[1:]
    gradcheck(layer, [x])


def test_a_border_wider_than_the_image_is_refused(rng):
    x = rng.normal(size=(1, 1, 4, 3)).astype(np.float32)
    words = "padding_mode='reflect' has 2 pixels for the border of an input of shape (1, 1, 4, 3), not 3"
    with pytest.raises(ValueError, match=re.escape(words)):
        nn.Conv2D(1, 1, 3, padding=3, padding_mode="reflect")(x)
    with pytest.raises(ValueError, match="'circular' has 3 pixels"):
        nn.Conv2D(1, 1, 3, padding=(0, 4), padding_mode="circular")(x)
    assert nn.Conv2D(1, 1, 3, padding=3, padding_mode="circular")(x).shape == (1, 1, 8, 7)
    assert nn.Conv2D(1, 1, 3, padding=9, padding_mode="replicate")(x).shape == (1, 1, 20, 19)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((0, 3, 1), {}, ValueError, "in_channels is an integer of at least 1, got 0"),
        ((3, 2.0, 1), {}, TypeError, "out_channels is an integer of at least 1, got 2.0"),
        (
            (3, 4, 0),
            {},
            ValueError,
            "Conv2D: kernel_size is an integer of at least 1, or one for height and one for width, got 0",
        ),
        (
            (3, 4, (3, 3, 3)),
            {},
            TypeError,
            "kernel_size is an integer of at least .*, or one for height and one for width",
        ),
        (
            (3, 4, 3),
            {"stride": 0},
            ValueError,
            "stride is an integer of at least 1, or one for height and one for width, got 0",
        ),
        ((3, 4, 3), {"dilation": "2"}, TypeError, "dilation is an integer.* got '2'"),
        (
            (3, 4, 3),
            {"padding": -1},
            ValueError,
            "padding is an integer of at least 0, or one for height and one for width, got -1",
        ),
        ((3, 4, 3), {"padding": "half"}, ValueError, "padding is .*'same' or 'valid', got 'half'"),
        ((3, 4, 3), {"padding": "same", "stride": 2}, ValueError, "padding='same' keeps the size with a stride of 1"),
        ((3, 4, 3), {"groups": 0}, ValueError, "groups is an integer of at least 1, got 0"),
        ((3, 4, 3), {"groups": 2}, ValueError, "groups divide .*, got groups=2 for 3 and 4"),
        ((4, 3, 3), {"groups": 2}, ValueError, "groups divide .*, got groups=2 for 4 and 3"),
        ((3, 4, 3), {"padding_mode": "Zeros"}, ValueError, "got 'Zeros'; did you mean zeros"),
        ((3, 4, 3), {"padding_mode": ["zeros"]}, ValueError, r"padding_mode is 'zeros' or .*, got \['zeros'\]"),
        ((3, 4, 3), {"activation": "rely"}, ValueError, "got 'rely'; did you mean relu"),
        ((3, 4, 3), {"dtype": int}, TypeError, "float32 or float64"),
        ((3, 4, 3), {"strides": 2}, TypeError, "strides.*did you mean stride"),
    ],
)
def test_arguments_are_checked_at_once(arguments, options, error, words):
    with pytest.raises(error, match=words):
        nn.Conv2D(*arguments, **options)


def test_an_input_that_does_not_fit_is_refused():
    model = nn.Sequential({"stem": nn.Conv2D(3, 4, 3)})
    words = "Conv2D in stem: the input has shape (N, 3, H, W) or (3, H, W), got (2, 1, 5, 5)"
    with pytest.raises(ValueError, match=re.escape(words) + "$"):
        model(np.ones((2, 1, 5, 5), np.float32))
    with pytest.raises(ValueError, match=re.escape("got (2, 5, 5, 3); channels come before height and width")):
        model(np.ones((2, 5, 5, 3), np.float32))
    with pytest.raises(ValueError, match=re.escape("got (2, 3)")):
        model(np.ones((2, 3), np.float32))
    with pytest.raises(TypeError, match="float64"):
        model(np.ones((2, 3, 5, 5)))
    with pytest.raises(TypeError, match="Tensor or a NumPy array, got list"):
        model([[1.0]])


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (lambda: nn.Conv2D(3, 4, 3), "3, 4, kernel_size=(3, 3), stride=(1, 1)"),
        (
            lambda: nn.Conv2D(4, 4, (3, 1), 2, (1, 0), 2, 4, False, "reflect"),
            "4, 4, kernel_size=(3, 1), stride=(2, 2), padding=(1, 0), dilation=(2, 2), groups=4, bias=False, "
            "padding_mode=reflect",
        ),
        (
            lambda: nn.Conv2D(3, 4, 3, activation=("elu", 0.5)),
            "3, 4, kernel_size=(3, 3), stride=(1, 1), activation=('elu', 0.5)",
        ),
        (lambda: nn.Conv2D(3, 4, 3, padding="same"), "3, 4, kernel_size=(3, 3), stride=(1, 1), padding=same"),
    ],
)
def test_repr(layer, words):
    assert repr(layer()) == f"Conv2D({words})"


@pytest.mark.parametrize(("channels", "kernel"), [((40, 300), (5, 2)), ((3, 900), 3)])
def test_weights_and_bias_fill_the_whole_range_at_the_start(channels, kernel):
    layer = nn.Conv2D(*channels, kernel)
    bound = 1 / np.sqrt(np.prod(layer.weight.shape[1:]))
    for parameter in layer.parameters():
        assert 0.98 * bound < np.abs(parameter.numpy()).max() <= np.float32(bound)


def test_one_image_with_its_channels_last_is_refused_with_a_hint():
    with pytest.raises(ValueError, match=re.escape("got (5, 6, 3); channels come before height and width")):
        nn.Conv2D(3, 4, 3)(np.ones((5, 6, 3), np.float32))


def test_a_padding_that_is_no_pair_is_told_of_by_name():
    with pytest.raises(
        TypeError, match=r"Conv2D: padding is an integer of at least .*, or one for height and one for width"
    ):
        nn.Conv2D(3, 4, 3, padding=(1, 2, 3))
