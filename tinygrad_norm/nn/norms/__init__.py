"""The norms of the literature: one file for each idea, with its definition, and the layer of the op derived from it."""

from tinygrad_norm.nn.norms.conditional import SPADE, AdaIN, ConditionalBatchNorm1D, ConditionalBatchNorm2D, FiLM
from tinygrad_norm.nn.norms.deviation import L1Norm, LInfNorm
from tinygrad_norm.nn.norms.dynamic import DynamicErf, DynamicTanh
from tinygrad_norm.nn.norms.evonorm import EvoNormB0, EvoNormS0
from tinygrad_norm.nn.norms.renorm import BatchRenorm1D, BatchRenorm2D, Ramp
from tinygrad_norm.nn.norms.response import FilterResponseNorm2D, GlobalResponseNorm
from tinygrad_norm.nn.norms.scale import PartialRMSNorm, ScaleNorm
from tinygrad_norm.nn.norms.switchable import SwitchableNorm2D
from tinygrad_norm.nn.norms.whitening import IterNorm1D, IterNorm2D

__all__ = [
    "SPADE",
    "AdaIN",
    "BatchRenorm1D",
    "BatchRenorm2D",
    "ConditionalBatchNorm1D",
    "ConditionalBatchNorm2D",
    "DynamicErf",
    "DynamicTanh",
    "EvoNormB0",
    "EvoNormS0",
    "FiLM",
    "FilterResponseNorm2D",
    "GlobalResponseNorm",
    "IterNorm1D",
    "IterNorm2D",
    "L1Norm",
    "LInfNorm",
    "PartialRMSNorm",
    "Ramp",
    "ScaleNorm",
    "SwitchableNorm2D",
]
