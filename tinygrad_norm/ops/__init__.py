"""Every op, as a function that takes tensors, arrays and scalars and returns a tensor.

It is the namespace of tensors for functions written in the names of the Array API standard, as those of `definitions/`.
"""

from numpy import bool, float32, float64, inf, int32, uint8

from tinygrad_norm.ops.activation import (
    add_relu,
    elu,
    gelu,
    hardswish,
    leaky_relu,
    log_softmax,
    mish,
    relu,
    silu,
    softmax,
    softplus,
)
from tinygrad_norm.ops.convolution import conv2d
from tinygrad_norm.ops.creation import arange, ones, ones_like, zeros_like
from tinygrad_norm.ops.dropout import dropout, dropout2d, stochastic_depth
from tinygrad_norm.ops.elementwise import (
    abs,
    add,
    astype,
    ceil,
    clip,
    cos,
    divide,
    equal,
    erf,
    exp,
    expm1,
    floor,
    gated,
    greater,
    greater_equal,
    isfinite,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    ndtr,
    negative,
    not_equal,
    pow,
    round,
    rsqrt,
    scale,
    sigmoid,
    sign,
    sin,
    sqrt,
    square,
    stop_gradient,
    subtract,
    tanh,
    where,
)
from tinygrad_norm.ops.interpolation import interpolate
from tinygrad_norm.ops.loss import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
)
from tinygrad_norm.ops.matmul import einsum, linear, matmul
from tinygrad_norm.ops.normalization import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    layer_norm_2d,
    rms_norm,
    rms_norm_2d,
)
from tinygrad_norm.ops.numpy_protocol import from_numpy_function, from_numpy_ufunc
from tinygrad_norm.ops.pooling import adaptive_avg_pool2d, avg_pool2d, local_response_norm, max_pool2d
from tinygrad_norm.ops.reduction import (
    all,
    any,
    argmax,
    argmin,
    cumulative_sum,
    logsumexp,
    max,
    mean,
    min,
    prod,
    std,
    sum,
    var,
)
from tinygrad_norm.ops.shape import (
    broadcast_to,
    concat,
    expand_dims,
    flatten,
    flip,
    gather,
    getitem,
    matrix_transpose,
    moveaxis,
    pad,
    permute_dims,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    take,
    take_along_axis,
)
