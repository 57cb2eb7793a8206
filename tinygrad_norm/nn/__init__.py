"""Modules: layers with parameters, containers of layers, losses, and the initialization of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_norm.checks import module_getattr
from tinygrad_norm.nn import init, parametrizations, parametrize
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
    LayerNorm,
    LayerNorm2D,
    RMSNorm,
    RMSNorm2D,
)
from tinygrad_norm.nn.norms import (
    SPADE,
    AdaIN,
    BatchRenorm1D,
    BatchRenorm2D,
    ConditionalBatchNorm1D,
    ConditionalBatchNorm2D,
    DynamicErf,
    DynamicTanh,
    EvoNormB0,
    EvoNormS0,
    FiLM,
    FilterResponseNorm2D,
    GlobalResponseNorm,
    IterNorm1D,
    IterNorm2D,
    L1Norm,
    LInfNorm,
    PartialRMSNorm,
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
    "SPADE",
    "AdaIN",
    "AdaptiveAvgPool2D",
    "AvgPool2D",
    "BCEWithLogitsLoss",
    "BatchNorm1D",
    "BatchNorm2D",
    "BatchNorm3D",
    "BatchRenorm1D",
    "BatchRenorm2D",
    "ConditionalBatchNorm1D",
    "ConditionalBatchNorm2D",
    "Conv2D",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2D",
    "DynamicErf",
    "DynamicTanh",
    "EvoNormB0",
    "EvoNormS0",
    "FiLM",
    "FilterResponseNorm2D",
    "Flatten",
    "GlobalAvgPool2D",
    "GlobalResponseNorm",
    "GroupNorm",
    "Hardswish",
    "HuberLoss",
    "Identity",
    "InstanceNorm1D",
    "InstanceNorm2D",
    "IterNorm1D",
    "IterNorm2D",
    "L1Loss",
    "L1Norm",
    "LInfNorm",
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
    "PartialRMSNorm",
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
    "fold_parametrizations",
    "init",
    "parametrizations",
    "parametrize",
    "recalibrate",
]

if not TYPE_CHECKING:  # a type checker that saw this would take any name for a good one
    __getattr__ = module_getattr(__name__, __all__)
