"""The nets that are compared, by their names in the zoo, and what they are given."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

BATCH = 64
CLASSES = 10

LEARNING_RATE = 1e-7
"""So small that thousands of steps on one batch leave the numbers what they were, and none becomes subnormal."""


class Net(NamedTuple):
    """A title, what `create_model` is given, and the shape of an image."""

    title: str
    options: Mapping[str, Any] = MappingProxyType({})
    image: tuple[int, int, int] = (3, 32, 32)


NETS = {
    "mlp": Net("MLP 784-256-128-10", {"in_channels": 1, "image_size": 28}, (1, 28, 28)),
    "baseline_cnn": Net("BaselineCNN"),
    "alexnet": Net("AlexNet"),
    "vgg16": Net("VGG16-BN"),
    "resnet18": Net("ResNet18"),
    "efficientnet_b0": Net("EfficientNet-B0"),
    "convnext_tiny": Net("ConvNeXt-T"),
}

EFFICIENTNET = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""The stages of EfficientNet-B0: expansion, kernel, stride, channels, blocks."""


def batch(name: str, size: int, pixels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels, equal for all contenders."""
    rng = np.random.default_rng(0)
    channels, height, width = NETS[name].image
    shape = (size, channels, pixels or height, pixels or width)
    return rng.standard_normal(shape, np.float32), rng.integers(0, CLASSES, size)
