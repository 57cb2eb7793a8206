"""The definition of right: what every kernel computes, in plain NumPy, a few lines each.

Each takes its array module from its argument (`__array_namespace__`), so it runs on any that follows the Array API
standard. Gradients are closed forms, derived by hand; the tests hold each to its composed definition in `ops/`.
"""

from tinygrad_norm.definitions.activation import ACTIVATIONS, activate, activation_gradient
from tinygrad_norm.definitions.convolution import conv2d, conv2d_gradient
from tinygrad_norm.definitions.elementwise import add, add_relu, multiply, relu, relu_gradient, scale_gradient
from tinygrad_norm.definitions.linear import linear, linear_gradient, matmul
from tinygrad_norm.definitions.loss import cross_entropy, cross_entropy_gradient
from tinygrad_norm.definitions.normalization import (
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
    max_pool2d,
    max_pool2d_gradient,
    mean_of_pixels,
)
from tinygrad_norm.definitions.special import erf, sigmoid, softplus

__all__ = [
    "ACTIVATIONS",
    "activate",
    "activation_gradient",
    "adam_update",
    "add",
    "add_relu",
    "avg_pool2d",
    "avg_pool2d_gradient",
    "conv2d",
    "conv2d_gradient",
    "cross_entropy",
    "cross_entropy_gradient",
    "erf",
    "linear",
    "linear_gradient",
    "matmul",
    "max_pool2d",
    "max_pool2d_gradient",
    "mean_of_pixels",
    "multiply",
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
