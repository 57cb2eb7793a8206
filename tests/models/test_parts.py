from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.models.norms import Norms
from tinygrad_norm.models.parts import (
    ImageClassifier,
    SmallClassifier,
    conv_norm,
    draw_weights,
    numbered,
    widened,
)


class Average(ImageClassifier):
    """The classes are the channels."""

    in_order = ("average",)

    def __post_init__(self):
        self.norms, self.size = self.prepare(4)
        self.average = nn.GlobalAvgPool2D()


def test_modules_in_order_make_the_logits(rng):
    x = rng.normal(size=(2, 3, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(Average()(x).raw, x.mean((2, 3)), rtol=1e-5, atol=1e-6)


def test_the_size_is_that_of_the_form_unless_given():
    assert (Average().size, Average(small_images=False).size, Average(image_size=9).size) == (32, 224, 9)


@pytest.mark.parametrize("shape", [(2, 3, 3, 5), (2, 4, 5, 5), (3, 5, 5), (5,), ()])
def test_images_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match=r"Average: images are \(N, 3, H, W\) of 4 pixels or more, got \("):
        Average()(np.zeros(shape, np.float32))


def test_a_net_for_small_images_has_no_other_form():
    class Small(SmallClassifier):
        def __post_init__(self):
            self.prepare(1)

    assert Small().image_size == 32
    with pytest.raises(TypeError, match="small_images"):
        Small(small_images=False)


def test_a_convolution_leaves_the_place_of_its_activation_empty():
    layers = conv_norm(3, 4, 3, Norms("batch"))
    assert [type(layer) for layer in layers] == [nn.Conv2D, nn.BatchNorm2D, type(None)]
    assert [name for name, _ in numbered(*layers, nn.Flatten()).named_children()] == ["0", "1", "3"]
    assert [type(layer) for layer in conv_norm(3, 4, 3, Norms("none"))] == [nn.Conv2D, nn.ReLU]
    assert [type(layer) for layer in conv_norm(3, 4, 3, Norms("batch"), None)] == [nn.Conv2D, nn.BatchNorm2D]


def test_the_padding_keeps_the_size_unless_given():
    assert [conv_norm(1, 1, kernel, Norms("none"))[0].padding for kernel in (1, 3, 5)] == [(0, 0), (1, 1), (2, 2)]
    assert conv_norm(1, 1, 5, Norms("none"), padding=0)[0].padding == (0, 0)


def test_weights_of_one_kind_are_drawn_and_their_biases_zero():
    net = nn.Sequential(nn.Linear(2, 3), nn.Conv2D(1, 1, 1), nn.Linear(3, 1, bias=False))
    before = net[1].weight.raw.copy()
    draw_weights(net, nn.Linear, nn.init.ones_)
    assert (net[0].weight.raw == 1).all()
    assert (net[2].weight.raw == 1).all()
    assert not net[0].bias.raw.any()
    np.testing.assert_array_equal(net[1].weight.raw, before)


@pytest.mark.parametrize(("channels", "width", "wanted"), [(64, 1, 64), (64, 0.5, 32), (3, 0.1, 1), (5, 0.5, 2)])
def test_scaled(channels, width, wanted):
    assert widened(channels, width) == wanted


@pytest.mark.parametrize(
    ("width", "error"), [(0, ValueError), (float("inf"), ValueError), ("1", TypeError), (True, TypeError)]
)
def test_a_width_is_a_number_above_0(width, error):
    with pytest.raises(error, match="width is a finite number above 0, got"):
        widened(8, width)
