"""Modules: layers with parameters, containers of layers, losses, and the initialization of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_norm.checks import module_getattr
from tinygrad_norm.nn import init, norms, parametrizations, parametrize
from tinygrad_norm.nn.activation import (
    ELU,
    GELU,
    Hardswish,
    LeakyReLU,
    LogSoftmax,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from tinygrad_norm.nn.containers import ModuleList, Sequential
from tinygrad_norm.nn.convolution import Conv2D
from tinygrad_norm.nn.dropout import Dropout, Dropout2D, StochasticDepth
from tinygrad_norm.nn.folding import fold_activations, fold_batch_norm, fold_parametrizations
from tinygrad_norm.nn.linear import Flatten, Identity, Linear
from tinygrad_norm.nn.loss import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss, NLLLoss
from tinygrad_norm.nn.module import Module, Parameter
from tinygrad_norm.nn.normalization import (
    BatchNorm1D,
    BatchNorm2D,
    BatchNorm3D,
    GroupNorm,
    InstanceNorm1D,
    InstanceNorm2D,
    InstanceNorm3D,
    LayerNorm,
    LayerNorm2D,
    RMSNorm,
    RMSNorm2D,
)
from tinygrad_norm.nn.norms import *  # noqa: F403 (their names are listed there)
from tinygrad_norm.nn.pooling import AdaptiveAvgPool2D, AvgPool2D, GlobalAvgPool2D, MaxPool2D, Upsample
from tinygrad_norm.nn.recalibration import recalibrate
from tinygrad_norm.nn.squeeze_excite import SqueezeExcite

__all__ = [
    "ELU",
    "GELU",
    "AdaptiveAvgPool2D",
    "AvgPool2D",
    "BCEWithLogitsLoss",
    "BatchNorm1D",
    "BatchNorm2D",
    "BatchNorm3D",
    "Conv2D",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2D",
    "Flatten",
    "GlobalAvgPool2D",
    "GroupNorm",
    "Hardswish",
    "HuberLoss",
    "Identity",
    "InstanceNorm1D",
    "InstanceNorm2D",
    "InstanceNorm3D",
    "L1Loss",
    "LayerNorm",
    "LayerNorm2D",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2D",
    "Mish",
    "Module",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "RMSNorm",
    "RMSNorm2D",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SqueezeExcite",
    "StochasticDepth",
    "Tanh",
    "Upsample",
    "fold_activations",
    "fold_batch_norm",
    "fold_parametrizations",
    "init",
    "parametrizations",
    "parametrize",
    "recalibrate",
]
__all__ += norms.__all__

if not TYPE_CHECKING:  # a type checker that saw this would take any name for a good one
    __getattr__ = module_getattr(__name__, __all__)
