"""The kernels of `definitions.py`, fast on a CPU: under the same names, in Numba where that is faster than NumPy."""

from tinygrad_norm.kernels.cpu.activation import activate, activation_gradient, erf, ndtr, sigmoid, softplus
from tinygrad_norm.kernels.cpu.convolution import conv2d, conv2d_gradient
from tinygrad_norm.kernels.cpu.elementwise import add, add_relu, multiply, relu, relu_gradient, scale_gradient
from tinygrad_norm.kernels.cpu.linear import linear, linear_gradient, matmul
from tinygrad_norm.kernels.cpu.local_response import local_response_norm, local_response_norm_gradient
from tinygrad_norm.kernels.cpu.loss import (
    checked_classes,
    cross_entropy,
    cross_entropy_gradient,
    mean_loss,
    mean_loss_gradient,
)
from tinygrad_norm.kernels.cpu.normalization import (
    normalize,
    normalize_gradient,
    normalize_inference,
    normalize_inference_gradient,
    rms_normalize,
    rms_normalize_gradient,
)
from tinygrad_norm.kernels.cpu.optimizer import adam_update, rmsprop_update, sgd_update
from tinygrad_norm.kernels.cpu.pooling import (
    avg_pool2d,
    avg_pool2d_gradient,
    max_pool2d,
    max_pool2d_gradient,
    mean_of_pixels,
)
from tinygrad_norm.kernels.cpu.running import moved
