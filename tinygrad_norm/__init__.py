"""Normalization and autodiff that can be read, and small nets trained fast on a CPU."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import tinygrad_norm.startup  # noqa: F401 (first: it says what Ctrl-C does while a command imports the rest)
from tinygrad_norm import nn, ops, optim
from tinygrad_norm.anomaly import AnomalyError, detect_anomaly
from tinygrad_norm.derivatives import hessian, hessian_vector_product, jacobian, jvp, vjp
from tinygrad_norm.derived import derive
from tinygrad_norm.kernels.precision import fast_math
from tinygrad_norm.modes import Hook, composed, eager, enable_grad, hooks, is_recording, no_grad
from tinygrad_norm.plan import capture
from tinygrad_norm.random import manual_seed
from tinygrad_norm.tape import FusedOp, Op, grad
from tinygrad_norm.tensor import Tensor, from_dlpack

if TYPE_CHECKING:
    from tinygrad_norm import data, testing, training
    from tinygrad_norm.training import load_checkpoint, load_safetensors, save_checkpoint, save_safetensors

__version__ = "0.1.0"

__all__ = [
    "AnomalyError",
    "FusedOp",
    "Hook",
    "Op",
    "Tensor",
    "capture",
    "composed",
    "data",
    "derive",
    "detect_anomaly",
    "eager",
    "enable_grad",
    "fast_math",
    "from_dlpack",
    "grad",
    "hessian",
    "hessian_vector_product",
    "hooks",
    "is_recording",
    "jacobian",
    "jvp",
    "load_checkpoint",
    "load_safetensors",
    "manual_seed",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "save_checkpoint",
    "save_safetensors",
    "testing",
    "training",
    "vjp",
]


def __getattr__(name: str) -> Any:
    # Imported when first asked for, so that a script that only computes does not wait for them.
    if name in ("data", "testing", "training"):
        return import_module(f"{__name__}.{name}")
    if name in ("load_checkpoint", "load_safetensors", "save_checkpoint", "save_safetensors"):
        return getattr(import_module(f"{__name__}.training"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
