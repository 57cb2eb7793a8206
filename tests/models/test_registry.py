from __future__ import annotations

import numpy as np
import pytest

from tinygrad_norm import nn
from tinygrad_norm.models import create_model, list_models

WIDE = ["baseline_cnn", "alexnet", "vgg16", "resnet18", "efficientnet_b0", "convnext_tiny"]


def test_the_list():
    assert list_models() == ["mlp", "lenet5", *WIDE]
    list_models().clear()
    assert list_models()


@pytest.mark.parametrize("name", list_models())
def test_channels_classes_and_sizes_are_free(name, undrawn):
    narrow = {} if name in ("mlp", "lenet5") else {"width": 0.125}
    for size, channels, classes in ((28, 1, 3), (45, 5, 1), (64, 2, 20)):
        model = create_model(name, classes, channels, image_size=size, **narrow).eval()
        for parameter in model.parameters():
            parameter.raw[...] = 0.01
        assert model(np.ones((2, channels, size, size), np.float32)).shape == (2, classes)


@pytest.mark.parametrize("name", WIDE)
def test_width_multiplies_the_channels(name, undrawn, count):
    full, half = create_model(name), create_model(name, width=0.5)
    assert 0.2 < count(half) / count(full) < 0.35
    assert [*half.state_dict()] == [*full.state_dict()]


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "alexnet", "efficientnet_b0", "convnext_tiny"])
def test_weights_are_drawn_so_that_activations_keep_their_size(name, rng):
    model = create_model(name, width=0.5, **({"norm": "none"} if name != "convnext_tiny" else {}))
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2D)]
    for conv in convolutions:
        fan = conv.weight.shape[0] * np.prod(conv.weight.shape[2:])
        expected = {"convnext_tiny": 0.02, "alexnet": np.sqrt(1 / np.prod(conv.weight.shape[1:]) / 3)}
        assert np.std(conv.weight.raw) == pytest.approx(expected.get(name, np.sqrt(2 / fan)), rel=0.25)
        if name != "alexnet":
            assert not conv.bias.raw.any()


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("resnet8", {}, ValueError, "did you mean resnet18"),
        ("ResNet18", {}, ValueError, "did you mean resnet18"),
        (None, {}, ValueError, "name is 'mlp' or 'lenet5'"),
        (["mlp"], {}, ValueError, "name is 'mlp' or 'lenet5'"),
        ("lenet5", {"small_images": "no"}, TypeError, "small_images is True or False, got 'no'"),
        ("mlp", {"hidden": 5}, TypeError, r"hidden is a sequence of widths, such as .*, got int"),
        ("resnet18", {"norm": "bach"}, ValueError, "did you mean batch"),
        ("resnet18", {"norm": 3}, TypeError, "or a function"),
        (
            "mlp",
            {"norm": "instance"},
            ValueError,
            "norm of rows is one of .*, got 'instance', which would see one value",
        ),
        ("resnet18", {"widht": 2}, TypeError, "did you mean width"),
        ("resnet18", {"width": 0}, ValueError, "width"),
        ("resnet18", {"width": "wide"}, TypeError, "width"),
        ("mlp", {"width": 2}, TypeError, "hidden"),
        ("resnet18", {"num_classes": 0}, ValueError, "ResNet18: num_classes"),
        ("resnet18", {"in_channels": 1.5}, TypeError, "ResNet18: in_channels"),
        ("resnet18", {"image_size": 0}, ValueError, "ResNet18: image_size"),
        ("vgg16", {"image_size": 16}, ValueError, "of at least 17, got"),
        ("vgg16", {"image_size": 28, "small_images": False}, ValueError, "of at least 32, got"),
        ("alexnet", {"image_size": 32, "small_images": False}, ValueError, "of at least 63, got"),
        ("convnext_tiny", {"image_size": 28, "norm": "instance"}, ValueError, "of at least 32, got"),
        ("efficientnet_b0", {"image_size": 16, "norm": "instance"}, ValueError, "of at least 17, got"),
        ("resnet18", {"image_size": 8, "norm": "ibn"}, ValueError, "of at least 9, got"),
        ("lenet5", {"small_images": False}, ValueError, "no ImageNet form"),
        ("resnet18", {"norm_momentum": 1.5}, ValueError, "momentum"),
    ],
)
def test_what_is_refused(name, options, error, words):
    with pytest.raises(error, match=words):
        create_model(name, **options)
