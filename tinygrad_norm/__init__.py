"""Normalization and autodiff that can be read, and small nets trained fast on a CPU."""

from tinygrad_norm import nn, ops, optim
from tinygrad_norm.anomaly import AnomalyError, detect_anomaly
from tinygrad_norm.random import manual_seed
from tinygrad_norm.tape import FusedOp, Hook, Op, composed, enable_grad, grad, hooks, is_recording, no_grad
from tinygrad_norm.tensor import Tensor, from_dlpack

__version__ = "0.1.0"

__all__ = [
    "AnomalyError",
    "FusedOp",
    "Hook",
    "Op",
    "Tensor",
    "composed",
    "detect_anomaly",
    "enable_grad",
    "from_dlpack",
    "grad",
    "hooks",
    "is_recording",
    "manual_seed",
    "nn",
    "no_grad",
    "ops",
    "optim",
]
