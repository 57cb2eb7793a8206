"""The norms of the literature: one file for each idea, with its definition, and the layer of the op derived from it."""

from tinygrad_norm.nn.norms.conditional import SPADE, AdaIN, ConditionalBatchNorm1D, ConditionalBatchNorm2D, FiLM
from tinygrad_norm.nn.norms.deviation import L1Norm, LInfNorm
from tinygrad_norm.nn.norms.dynamic import DynamicErf, DynamicTanh
from tinygrad_norm.nn.norms.evonorm import EvoNormB0, EvoNormS0
from tinygrad_norm.nn.norms.ghost import GhostBatchNorm1D, GhostBatchNorm2D
from tinygrad_norm.nn.norms.ibn import IBN
from tinygrad_norm.nn.norms.local_response import LocalResponseNorm
from tinygrad_norm.nn.norms.masked import (
    MaskedBatchNorm1D,
    MaskedBatchNorm2D,
    MaskedGroupNorm,
    MaskedInstanceNorm1D,
    MaskedInstanceNorm2D,
    MaskedLayerNorm,
)
from tinygrad_norm.nn.norms.power import PowerNorm
from tinygrad_norm.nn.norms.renorm import BatchRenorm1D, BatchRenorm2D, Ramp
from tinygrad_norm.nn.norms.response import FilterResponseNorm2D, GlobalResponseNorm
from tinygrad_norm.nn.norms.scale import PartialRMSNorm, ScaleNorm
from tinygrad_norm.nn.norms.switchable import SwitchableNorm2D
from tinygrad_norm.nn.norms.whitening import IterNorm1D, IterNorm2D

__all__ = [
    "IBN",
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
    "GhostBatchNorm1D",
    "GhostBatchNorm2D",
    "GlobalResponseNorm",
    "IterNorm1D",
    "IterNorm2D",
    "L1Norm",
    "LInfNorm",
    "LocalResponseNorm",
    "MaskedBatchNorm1D",
    "MaskedBatchNorm2D",
    "MaskedGroupNorm",
    "MaskedInstanceNorm1D",
    "MaskedInstanceNorm2D",
    "MaskedLayerNorm",
    "PartialRMSNorm",
    "PowerNorm",
    "Ramp",
    "ScaleNorm",
    "SwitchableNorm2D",
]
