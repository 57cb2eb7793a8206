"""The zoo by name."""

from __future__ import annotations

import inspect
from typing import Any

from tinygrad_norm.checks import check_choice, check_flag
from tinygrad_norm.models.alexnet import AlexNet
from tinygrad_norm.models.baseline_cnn import BaselineCNN
from tinygrad_norm.models.convnext import ConvNeXtTiny
from tinygrad_norm.models.efficientnet import EfficientNetB0
from tinygrad_norm.models.lenet import LeNet5
from tinygrad_norm.models.mlp import MLP
from tinygrad_norm.models.norms import NormChoice
from tinygrad_norm.models.parts import ImageClassifier
from tinygrad_norm.models.resnet import ResNet18
from tinygrad_norm.models.vgg import VGG16

MODELS: dict[str, type[ImageClassifier]] = {
    "mlp": MLP,
    "lenet5": LeNet5,
    "baseline_cnn": BaselineCNN,
    "alexnet": AlexNet,
    "vgg16": VGG16,
    "resnet18": ResNet18,
    "efficientnet_b0": EfficientNetB0,
    "convnext_tiny": ConvNeXtTiny,
}


def list_models() -> list[str]:
    """Return the names that `create_model` knows, the simplest net first.

    Example:
        >>> models.list_models()
        ['mlp', 'lenet5', 'baseline_cnn', 'alexnet', 'vgg16', 'resnet18', 'efficientnet_b0', 'convnext_tiny']
    """
    return list(MODELS)


def create_model(
    name: str,
    num_classes: int = 10,
    in_channels: int = 3,
    norm: NormChoice | None = None,
    small_images: bool = True,
    image_size: int | None = None,
    norm_momentum: float | None = None,
    **options: Any,
) -> ImageClassifier:
    """Make a net of the zoo, with weights drawn as its paper or torchvision draws them.

    Args:
        name: one of `list_models()`.
        num_classes, in_channels: how many logits the net gives, and how many channels the images have.
        norm: a name such as "batch", "frn" or "none" (`tinygrad-norm norms` lists them), or a function from the number
            of channels to a layer (see `models.norms.Norms`); None: the net's own, "layer" for convnext_tiny and
            "batch" for the others.
        small_images: the form for images of 28 to 64 pixels, or, with False, the one for ImageNet.
        image_size: height and width of the images; None: 32, or 224 in the ImageNet form.
        norm_momentum: the weight of the new value in the running statistics, for norms named here that keep some.
        options: what else the net takes, such as `width`, `dropout` or `norm_free`: see its class.

    Raises:
        ValueError: an unknown name or norm, images too small for the net, or no ImageNet form where that is wanted.
        TypeError: an unknown option, or a value of the wrong type.

    Example:
        >>> net = models.create_model("lenet5", num_classes=10, in_channels=1, norm="instance")
        >>> net.eval()(ops.ones((2, 1, 32, 32))).shape
        (2, 10)
    """
    check_flag("create_model: small_images", small_images)
    check_choice("create_model: name", name, MODELS)
    net = MODELS[name]
    if "small_images" in inspect.signature(net).parameters:
        options["small_images"] = small_images
    elif not small_images:
        raise ValueError(f"create_model: {name} is for small images alone; it has no ImageNet form")
    if norm is not None:
        options["norm"] = norm
    return net(num_classes, in_channels, image_size=image_size, norm_momentum=norm_momentum, **options)
