"""The zoo: nets for images, each with the norm of your choice."""

from __future__ import annotations

from tinygrad_norm.models.alexnet import AlexNet
from tinygrad_norm.models.baseline_cnn import BaselineCNN
from tinygrad_norm.models.convnext import ConvNeXtTiny
from tinygrad_norm.models.efficientnet import EfficientNetB0
from tinygrad_norm.models.lenet import LeNet5
from tinygrad_norm.models.mlp import MLP
from tinygrad_norm.models.norms import Norms
from tinygrad_norm.models.parts import ImageClassifier
from tinygrad_norm.models.registry import create_model, list_models
from tinygrad_norm.models.replacement import replace_norm
from tinygrad_norm.models.resnet import ResNet18
from tinygrad_norm.models.vgg import VGG16

__all__ = [
    "MLP",
    "VGG16",
    "AlexNet",
    "BaselineCNN",
    "ConvNeXtTiny",
    "EfficientNetB0",
    "ImageClassifier",
    "LeNet5",
    "Norms",
    "ResNet18",
    "create_model",
    "list_models",
    "replace_norm",
]
