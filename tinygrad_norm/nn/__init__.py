"""Modules: layers with parameters, containers of layers, losses, and the initialization of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_norm.checks import module_getattr
from tinygrad_norm.nn import init
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
from tinygrad_norm.nn.folding import fold_activations, fold_batch_norm
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
from tinygrad_norm.nn.norms import (
    IBN,
    BatchRenorm1D,
    BatchRenorm2D,
    DynamicErf,
    DynamicTanh,
    EvoNormB0,
    EvoNormS0,
    FilterResponseNorm2D,
    GhostBatchNorm1D,
    GhostBatchNorm2D,
    GlobalResponseNorm,
    L1Norm,
    LInfNorm,
    LocalResponseNorm,
    MaskedBatchNorm1D,
    MaskedBatchNorm2D,
    MaskedGroupNorm,
    MaskedInstanceNorm1D,
    MaskedInstanceNorm2D,
    MaskedLayerNorm,
    PartialRMSNorm,
    PowerNorm,
    Ramp,
    ScaleNorm,
    SwitchableNorm2D,
)
from tinygrad_norm.nn.pooling import AdaptiveAvgPool2D, AvgPool2D, GlobalAvgPool2D, MaxPool2D, Upsample
from tinygrad_norm.nn.recalibration import recalibrate
from tinygrad_norm.nn.squeeze_excite import SqueezeExcite

__all__ = [
    "ELU",
    "GELU",
    "IBN",
    "AdaptiveAvgPool2D",
    "AvgPool2D",
    "BCEWithLogitsLoss",
    "BatchNorm1D",
    "BatchNorm2D",
    "BatchNorm3D",
    "BatchRenorm1D",
    "BatchRenorm2D",
    "Conv2D",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2D",
    "DynamicErf",
    "DynamicTanh",
    "EvoNormB0",
    "EvoNormS0",
    "FilterResponseNorm2D",
    "Flatten",
    "GhostBatchNorm1D",
    "GhostBatchNorm2D",
    "GlobalAvgPool2D",
    "GlobalResponseNorm",
    "GroupNorm",
    "Hardswish",
    "HuberLoss",
    "Identity",
    "InstanceNorm1D",
    "InstanceNorm2D",
    "InstanceNorm3D",
    "L1Loss",
    "L1Norm",
    "LInfNorm",
    "LayerNorm",
    "LayerNorm2D",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSoftmax",
    "MSELoss",
    "MaskedBatchNorm1D",
    "MaskedBatchNorm2D",
    "MaskedGroupNorm",
    "MaskedInstanceNorm1D",
    "MaskedInstanceNorm2D",
    "MaskedLayerNorm",
    "MaxPool2D",
    "Mish",
    "Module",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "PartialRMSNorm",
    "PowerNorm",
    "RMSNorm",
    "RMSNorm2D",
    "Ramp",
    "ReLU",
    "ScaleNorm",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SqueezeExcite",
    "StochasticDepth",
    "SwitchableNorm2D",
    "Tanh",
    "Upsample",
    "fold_activations",
    "fold_batch_norm",
    "init",
    "recalibrate",
]

if not TYPE_CHECKING:  # a type checker that saw this would take any name for a good one
    __getattr__ = module_getattr(__name__, __all__)
