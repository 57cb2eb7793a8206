"""Initialization of weights: each function fills a tensor in place and returns it.

The numbers come from `generator`, by default `tinygrad_norm.random.generator()`, and are drawn in float64, so that a
float32 and a float64 tensor get the same ones.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from tinygrad_norm import operands, random
from tinygrad_norm.checks import NOT_NEGATIVE, POSITIVE, check_choice, check_number
from tinygrad_norm.tensor import Tensor

Source = np.random.Generator | None
FanMode = Literal["fan_in", "fan_out"]

GAINS = {
    "linear": 1.0,
    **{f"conv{transpose}{n}d": 1.0 for transpose in ("", "_transpose") for n in (1, 2, 3)},
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights should be larger to make up for what a nonlinearity takes away.

    Args:
        nonlinearity: what follows the weights: a key of `GAINS`, or "leaky_relu".
        param: the negative slope of "leaky_relu", by default 0.01.

    Raises:
        ValueError: the nonlinearity is not known.

    Example:
        >>> print(round(nn.init.calculate_gain("relu"), 4))
        1.4142
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    check_choice("calculate_gain: nonlinearity", nonlinearity, [*GAINS, "leaky_relu"])
    return GAINS[nonlinearity]


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value.

    Example:
        >>> nn.init.constant_(nn.Parameter([0.0, 0.0]), 3.0)
        Tensor([3., 3.], requires_grad=True)
    """
    return _fill(tensor, Tensor(operands.constant(val), dtype=tensor.dtype).raw)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros.

    Example:
        >>> nn.init.zeros_(nn.Parameter([1.0, 2.0]))
        Tensor([0., 0.], requires_grad=True)
    """
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones.

    Example:
        >>> nn.init.ones_(nn.Parameter([1.0, 2.0]))
        Tensor([1., 1.], requires_grad=True)
    """
    return constant_(tensor, 1)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Source = None) -> Tensor:
    """Fill with draws from the uniform distribution over [a, b).

    Raises:
        ValueError: a is larger than b.

    Example:
        >>> w = nn.init.uniform_(nn.Parameter(np.zeros((3, 4))), -0.1, 0.1)
        >>> bool((np.abs(w.numpy()) <= 0.1).all())
        True
    """
    if not a <= b:
        raise ValueError(f"uniform_: a is at most b, got a={a}, b={b}")
    return _fill(tensor, _source(generator).uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Source = None) -> Tensor:
    """Fill with draws from the normal distribution.

    Example:
        >>> w = nn.init.normal_(nn.Parameter(np.zeros(10000)), std=0.02)
        >>> print(w.numpy().std().round(3))
        0.02
    """
    check_number("normal_: std", std, NOT_NEGATIVE)
    return _fill(tensor, _source(generator).normal(mean, std, tensor.shape))


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Source = None
) -> Tensor:
    """Fill with draws from the normal distribution, drawing again what falls outside [a, b].

    Raises:
        ValueError: the interval holds less than a hundredth of the distribution.

    Example:
        >>> w = nn.init.trunc_normal_(nn.Parameter(np.zeros(10000)))
        >>> bool((np.abs(w.numpy()) <= 2).all())
        True
    """
    check_number("trunc_normal_: std", std, POSITIVE)
    low, high = (math.erf((bound - mean) / std / math.sqrt(2)) / 2 for bound in (a, b))
    if not high - low >= 0.01:
        raise ValueError(
            f"trunc_normal_: [a, b] holds at least 1 % of the normal distribution of mean {mean} and "
            f"std {std}, got [{a}, {b}]"
        )
    source = _source(generator)
    draws = source.normal(mean, std, tensor.shape)
    while np.any(outside := (draws < a) | (draws > b)):
        draws[outside] = source.normal(mean, std, np.count_nonzero(outside))
    return _fill(tensor, draws)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """Fill with uniform draws of variance gain**2 * 2 / (fan_in + fan_out).

    Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.

    Example:
        >>> w = nn.init.xavier_uniform_(nn.Parameter(np.zeros((100, 200))))
        >>> print((w.numpy().var() * (100 + 200) / 2).round(1))
        1.0
    """
    bound = math.sqrt(3) * gain * math.sqrt(2 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """Fill with normal draws of variance gain**2 * 2 / (fan_in + fan_out).

    Source: as for `xavier_uniform_`.

    Example:
        >>> w = nn.init.xavier_normal_(nn.Parameter(np.zeros((100, 200))))
        >>> print((w.numpy().var() * (100 + 200) / 2).round(1))
        1.0
    """
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: FanMode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Source = None,
) -> Tensor:
    """Fill with uniform draws of variance gain**2 / fan.

    The gain is that of the nonlinearity; `a` is the negative slope of "leaky_relu". Mode "fan_in" keeps the variance
    on the way forward, "fan_out" on the way back.

    Source: He et al., Delving deep into rectifiers, 2015.

    Example:
        >>> w = nn.init.kaiming_uniform_(nn.Parameter(np.zeros((100, 200))), nonlinearity="relu")
        >>> print((w.numpy().var() * 200).round(1))
        2.0
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: FanMode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Source = None,
) -> Tensor:
    """Fill with normal draws of variance gain**2 / fan; arguments and source as for `kaiming_uniform_`.

    Example:
        >>> w = nn.init.kaiming_normal_(nn.Parameter(np.zeros((100, 200))), nonlinearity="relu")
        >>> print((w.numpy().var() * 200).round(1))
        2.0
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Source = None) -> Tensor:
    """Fill so that the rows, or if they are fewer the columns, of (shape[0], everything else) are orthogonal.

    Each has length `gain`; all such matrices are equally likely.

    Source: Saxe et al., Exact solutions to the nonlinear dynamics of learning in deep linear networks, 2014.

    Example:
        >>> w = nn.init.orthogonal_(nn.Parameter(np.zeros((2, 3)))).numpy()
        >>> np.allclose(w @ w.T, np.eye(2))
        True
    """
    _fans(tensor)
    rows, columns = tensor.shape[0], tensor.size // tensor.shape[0]
    q, r = np.linalg.qr(_source(generator).normal(size=(max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diagonal(r))  # without this, the signs that QR happens to choose
    return _fill(tensor, gain * (q.T if rows < columns else q).reshape(tensor.shape))


def _fill(tensor: Tensor, values: npt.NDArray[np.float64]) -> Tensor:
    if not isinstance(tensor, Tensor) or tensor.dtype.kind != "f":
        raise TypeError(f"init: the tensor is one of floating type, got {tensor!r}")
    if not tensor.is_leaf:
        raise ValueError(
            "init: the tensor is one that no op made, got what one made, as a parametrized weight is; fill another and "
            "assign it: layer.weight = init.zeros_(layer.weight.detach())"
        )
    tensor.raw[...] = values
    tensor.changed()
    return tensor


def _source(generator: Source) -> np.random.Generator:
    return random.generator() if generator is None else generator


def _kaiming_std(tensor: Tensor, a: float, mode: FanMode, nonlinearity: str) -> float:
    check_choice("init: mode", mode, get_args(FanMode))
    return calculate_gain(nonlinearity, a) / math.sqrt(_fans(tensor)[get_args(FanMode).index(mode)])


def _fans(tensor: Tensor) -> tuple[int, int]:
    """Return how many values each output is made of, and how many outputs each input is a part of."""
    if len(tensor.shape) < 2 or tensor.size == 0:
        raise ValueError(f"init: shape is (out, in, ...) with no axis empty, got {tensor.shape}")
    area = math.prod(tensor.shape[2:])
    return tensor.shape[1] * area, tensor.shape[0] * area
