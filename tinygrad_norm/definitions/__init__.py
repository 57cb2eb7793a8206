"""What every fused function computes, written once, in the names of the Array API standard.

A definition takes its namespace from its argument (`x.__array_namespace__()`). On arrays of NumPy, or of any module
that keeps to the standard, it is the reference; on tensors, whose namespace is `ops`, it is the composition, through
which derivatives of any order go. Gradients are closed forms on arrays, derived by hand. Finite differences, stored
results of PyTorch and values in extended precision (`tests/definitions/`) tell whether a definition is right.
"""

from tinygrad_norm.definitions.activation import ACTIVATIONS, activate, activation_gradient
from tinygrad_norm.definitions.convolution import conv2d, conv2d_gradient
from tinygrad_norm.definitions.elementwise import add, add_relu, multiply, relu_gradient, scale_gradient
from tinygrad_norm.definitions.linear import linear, linear_gradient, matmul
from tinygrad_norm.definitions.loss import (
    checked_classes,
    cross_entropy,
    cross_entropy_gradient,
    mean_loss,
    mean_loss_gradient,
)
from tinygrad_norm.definitions.normalization import (
    moved,
    normalize,
    normalize_gradient,
    normalize_inference,
    normalize_inference_gradient,
    rms_normalize,
    rms_normalize_gradient,
)
from tinygrad_norm.definitions.optimizer import adam_update, rmsprop_update, sgd_update
from tinygrad_norm.definitions.pooling import (
    avg_pool2d,
    avg_pool2d_gradient,
    local_response_norm,
    local_response_norm_gradient,
    max_pool2d,
    max_pool2d_gradient,
    mean_of_pixels,
)
from tinygrad_norm.definitions.special import erf, ndtr, relu, sigmoid, softplus

__all__ = [
    "ACTIVATIONS",
    "activate",
    "activation_gradient",
    "adam_update",
    "add",
    "add_relu",
    "avg_pool2d",
    "avg_pool2d_gradient",
    "checked_classes",
    "conv2d",
    "conv2d_gradient",
    "cross_entropy",
    "cross_entropy_gradient",
    "erf",
    "linear",
    "linear_gradient",
    "local_response_norm",
    "local_response_norm_gradient",
    "matmul",
    "max_pool2d",
    "max_pool2d_gradient",
    "mean_loss",
    "mean_loss_gradient",
    "mean_of_pixels",
    "moved",
    "multiply",
    "ndtr",
    "normalize",
    "normalize_gradient",
    "normalize_inference",
    "normalize_inference_gradient",
    "relu",
    "relu_gradient",
    "rms_normalize",
    "rms_normalize_gradient",
    "rmsprop_update",
    "scale_gradient",
    "sgd_update",
    "sigmoid",
    "softplus",
]
