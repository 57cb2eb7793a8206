"""Parametrizations of weights: by length and direction, largest singular value, statistics, or as orthogonal matrices.

Each is registered on a layer, changes it in place and returns it; `nn.parametrize` tells how, and takes it away again.
For inference and export `nn.fold_parametrizations` leaves the computed weights in the place of all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_norm import ops
from tinygrad_norm.checks import BELOW_ONE, NOT_NEGATIVE, check_choice, check_flag, check_integer, check_number
from tinygrad_norm.dtypes import Array
from tinygrad_norm.launch import launch
from tinygrad_norm.nn import init
from tinygrad_norm.nn.module import Module
from tinygrad_norm.nn.orthogonal import MAPS, Householder, Orthogonal, Trivialized
from tinygrad_norm.nn.parametrize import parameter_of, register_parametrization
from tinygrad_norm.tensor import Tensor


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Make a weight of lengths g and directions v, w = g · v / ‖v‖, and train these.

    `parametrizations.weight.original0` is g, which begins as the norms of the weight, `original1` is v, which begins as
    the weight. State that older PyTorch wrote, "weight_g" and "weight_v", is loaded too. A v of zeros makes NaN.

    Args:
        module: the layer.
        name: of the weight.
        dim: the axis along which each index has a length of its own (0: the outputs); g has length 1 along the others.
            None, or -1 as in PyTorch: one length for all, of shape ().

    Raises:
        ValueError: there is no such parameter, or it has no such axis.

    Source: Salimans and Kingma, Weight normalization: a simple reparameterization to accelerate training of deep neural
        networks, 2016.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> {name: each.shape for name, each in layer.named_parameters()}
        {'bias': (2,), 'parametrizations.weight.original0': (2, 1), 'parametrizations.weight.original1': (2, 3)}
    """
    ndim = parameter_of(module, name).ndim
    whole = dim is None or (isinstance(dim, int) and dim == -1)
    return register_parametrization(module, name, WeightNorm(None if whole else _axis("weight_norm", dim, ndim)))


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide a weight by its largest singular value, seen as a matrix with a row for each output.

    That is u · W v, where the unit vectors u and v, buffers `parametrizations.weight.0._u` and `_v`, are estimates: 15
    power iterations begin them from a random start, and each access in training goes on. They are constants on the way
    back, as published: while they still turn, the gradient is not that of the whole. A vector is divided by its norm.

    Args:
        module: the layer.
        name: of the weight, which is `parametrizations.weight.original`.
        n_power_iterations: for each access in training, at least 1.
        eps: the least norm that a vector is divided by, below 1.
        dim: the axis of the outputs; 0 unless given.

    Raises:
        TypeError, ValueError: an argument is out of range, there is no such parameter, or it has no such axis.

    Source: Miyato, Kataoka, Koyama and Yoshida, Spectral normalization for generative adversarial networks, 2018.

    Example:
        >>> layer = nn.parametrizations.spectral_norm(nn.Linear(3, 2, dtype="float64")).eval()
        >>> print(np.linalg.norm(layer.weight.numpy(), 2).round(3))
        1.0
    """
    check_integer("spectral_norm: n_power_iterations", n_power_iterations, 1)
    check_number("spectral_norm: eps", eps, BELOW_ONE)
    weight = parameter_of(module, name)
    dim = _axis("spectral_norm", 0 if dim is None else dim, weight.ndim)
    return register_parametrization(module, name, SpectralNorm(weight.raw, n_power_iterations, eps, dim))


def weight_standardization(module: Module, name: str = "weight", eps: float = 1e-10, scaled: bool = False) -> Module:
    """Standardize the weights of each output: (w - mean) / √(var + eps), over the N values that make it.

    With `scaled`, they are gain · (w - mean) / √(N (var + eps)), which keep the variance of inputs that have mean 0, as
    nets without norms want it; the trained gain, `parametrizations.weight.original0`, has a number for each output and
    begins as 1, and `original1` is w. Otherwise `original` is w. Assigning a weight that has mean 0 (and with `scaled`
    of any variance, else 1) makes just that.

    Args:
        module: the layer.
        name: of the weight, of shape (out, ...).
        eps: added to the variance; small, for drawn weights of 4608 values each have a variance of 7e-5.
        scaled: divide by √N too, and multiply by the gain.

    Raises:
        TypeError, ValueError: an argument is out of range, there is no such parameter, or one value makes each output.

    Source: Qiao et al., Micro-batch training with batch-channel normalization and weight standardization, 2019; scaled:
        Brock, De and Smith, Characterizing signal propagation to close the performance gap in unnormalized ResNets,
        2021.

    Example:
        >>> layer = nn.parametrizations.weight_standardization(nn.Conv2D(3, 4, 3))
        >>> print(np.allclose(layer.weight.numpy().mean(axis=(1, 2, 3)), 0, atol=1e-6))
        True
    """
    check_number("weight_standardization: eps", eps, NOT_NEGATIVE)
    check_flag("weight_standardization: scaled", scaled)
    kind = ScaledWeightStandardization if scaled else WeightStandardization
    register_parametrization(module, name, kind(eps))
    if scaled:
        init.ones_(getattr(module.parametrizations, name).original0)
    return module


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """Keep a weight orthogonal: its columns orthonormal, or its rows, where they are fewer.

    A weight of more than two axes is a batch of matrices (..., m, n), as in PyTorch: of a convolution, those of its
    kernels. `parametrizations.weight.original` has the shape of the weight; below its diagonal it is free, the rest
    has no part in the weight, but for the signs on the diagonal, by which "householder" scales the columns.

    Args:
        module: the layer.
        name: of the weight.
        orthogonal_map: "matrix_exp", e^A for the A = -A^T that has the original's lower triangle; "cayley",
            (I - A/2)^-1 (I + A/2); "householder", a product of reflections by the columns of the triangle. Unless
            given, the first for square matrices and the last for others.
        use_trivialization: whether the map is a rotation of the matrix that the weight was, or is assigned: an
            orthogonal one is kept, of another it is the Q of QR = W. The rotation is that of the buffer
            `parametrizations.weight.0.base`. Without, "householder" begins with the same Q; the others begin with what
            they make of the weight, and nothing is assigned.

    Raises:
        TypeError, ValueError: an argument is out of range, there is no such parameter, or it is no matrix.

    Source: Lezcano-Casado and Martínez-Rubio, Cheap orthogonal constraints in neural networks: a simple parametrization
        of the orthogonal and unitary group, 2019.

    Example:
        >>> weight = nn.parametrizations.orthogonal(nn.Linear(3, 2, dtype="float64")).weight.numpy()
        >>> np.allclose(weight @ weight.T, np.eye(2))
        True
    """
    weight = parameter_of(module, name)
    if weight.ndim < 2:
        raise ValueError(f"orthogonal: the weight is a matrix, or several, got a weight of shape {weight.shape}")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-1] == weight.shape[-2] else "householder"
    check_choice("orthogonal: orthogonal_map", orthogonal_map, MAPS)
    check_flag("orthogonal: use_trivialization", use_trivialization)
    if use_trivialization:
        return register_parametrization(module, name, Trivialized(orthogonal_map, weight))
    kind = Householder if orthogonal_map == "householder" else Orthogonal
    return register_parametrization(module, name, kind(orthogonal_map))


class WeightNorm(Module):
    """g · v / ‖v‖: see `weight_norm`.

    Example:
        >>> g, v = Tensor([[10.0]]), Tensor([[3.0, 4.0]])
        >>> nn.parametrizations.WeightNorm(dim=0)(g, v)
        Tensor([[6., 8.]])
    """

    def __init__(self, dim: int | None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        rows = _rows(v, self.dim)
        length = rows.shape[1]
        # a direction is an RMS norm, but for √length
        unit = ops.rms_norm(rows, length, eps=0.0)
        return _restored(unit, v.shape, self.dim) * (g / math.sqrt(length))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        rows = _rows(weight, self.dim).raw
        norms = np.linalg.norm(rows.astype(np.float64), axis=1).astype(rows.dtype)
        shape = [n if axis == self.dim else 1 for axis, n in enumerate(weight.shape)]
        return Tensor(norms.reshape(() if self.dim is None else shape)), weight

    def extra_repr(self) -> str:
        return f"dim={self.dim}"

    def _fill_in(self, state: dict[str, Any], prefix: str) -> None:
        """Take g and v by the names that they had before PyTorch 2.0: "weight_g" and "weight_v" of the layer."""
        own = prefix.removesuffix("0.")
        layer, _, name = own.removesuffix(".").rpartition("parametrizations.")
        before = [f"{layer}{name}_{letter}" for letter in "gv"]
        if all(key in state for key in before):
            state.update({f"{own}original{number}": state.pop(key) for number, key in enumerate(before)})


class SpectralNorm(Module):
    """A weight over its largest singular value: see `spectral_norm`.

    Example:
        >>> layer = nn.parametrizations.spectral_norm(nn.Linear(3, 2))
        >>> layer.parametrizations.weight[0]
        SpectralNorm(n_power_iterations=1, eps=1e-12, dim=0)
    """

    def __init__(self, weight: Array, n_power_iterations: int, eps: float, dim: int) -> None:
        super().__init__()
        self.dim, self.n_power_iterations, self.eps = dim, n_power_iterations, eps
        if weight.ndim > 1:
            rows = _rows(Tensor(weight), dim).raw
            for name, size in zip(("_u", "_v"), rows.shape, strict=True):
                start = init.normal_(Tensor(np.empty(size, rows.dtype))).raw
                self.register_buffer(name, Tensor(_unit(start, eps)))
            self._iterate(rows, 15)

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return weight / ops.sqrt(ops.maximum(ops.sum(ops.square(weight)), self.eps**2))
        rows = _rows(weight, self.dim)
        if self.training:
            self._iterate(rows.raw, self.n_power_iterations)
        u, v = (ops.astype(buffer, rows.dtype, copy=False).raw for buffer in (self._u, self._v))
        return weight / ops.sum(u * ops.matmul(rows, v))

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight

    def extra_repr(self) -> str:
        return f"n_power_iterations={self.n_power_iterations}, eps={self.eps}, dim={self.dim}"

    def _iterate(self, rows: Array, count: int) -> None:
        self._u.raw, self._v.raw = launch(_iterated, rows, self._v.raw, count, self.eps)


def _iterated(rows: Array, v: Array, count: int, eps: float) -> tuple[Array, Array]:
    """u and v after so many power iterations."""
    for _ in range(count):
        u = _unit(rows @ v, eps)
        v = _unit(rows.T @ u, eps)
    return u, v


def _unit(x: Array, eps: float) -> Array:
    unit: Array = x / max(np.linalg.norm(x), x.dtype.type(eps))
    return unit


class WeightStandardization(Module):
    """Weights of mean 0 and variance 1: see `weight_standardization`.

    Example:
        >>> nn.parametrizations.WeightStandardization(eps=0.0)(Tensor([[1.0, 3.0]]))
        Tensor([[-1.,  1.]])
    """

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, weight: Tensor) -> Tensor:
        if math.prod(weight.shape[1:]) == 1:
            raise ValueError(
                f"weight_standardization: several values make each output, got a weight of shape {weight.shape}, all "
                "of which would become 0"
            )
        rows = _rows(weight, 0)
        return ops.reshape(ops.layer_norm(rows, rows.shape[1], eps=self.eps), weight.shape)

    def right_inverse(self, weight: Tensor) -> Any:
        return weight

    def extra_repr(self) -> str:
        return f"eps={self.eps}"


class ScaledWeightStandardization(WeightStandardization):
    """Weights of mean 0, over √N, with a gain: see `weight_standardization`.

    Example:
        >>> gain, weight = Tensor([[2.0]]), Tensor([[1.0, 3.0]])
        >>> print(nn.parametrizations.ScaledWeightStandardization(eps=0.0)(gain, weight).numpy().round(3))
        [[-1.414  1.414]]
    """

    def forward(self, gain: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(weight) * (gain / math.sqrt(math.prod(weight.shape[1:])))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        others = tuple(range(1, weight.ndim))
        variance = weight.raw.var(axis=others, keepdims=True, dtype=np.float64) + self.eps
        return Tensor(np.sqrt(variance * math.prod(weight.shape[1:])), dtype=weight.dtype), weight


def _axis(function: str, dim: int | None, ndim: int) -> int:
    if not ndim:
        raise ValueError(f"{function}: dim is an axis of the weight, which has none, got {dim}")
    return check_integer(f"{function}: dim", dim, -ndim, ndim - 1) % ndim


def _rows(weight: Tensor, dim: int | None) -> Tensor:
    """Return a weight as a matrix: a row for each index along an axis, or one for all."""
    if dim is None:
        return ops.reshape(weight, (1, -1))
    moved = weight if dim == 0 else ops.moveaxis(weight, dim, 0)
    return ops.reshape(moved, (weight.shape[dim], -1))


def _restored(rows: Tensor, shape: tuple[int, ...], dim: int | None) -> Tensor:
    """Return what `_rows` made a matrix of."""
    if not dim:
        return ops.reshape(rows, shape)
    moved = (shape[dim], *shape[:dim], *shape[dim + 1 :])
    return ops.moveaxis(ops.reshape(rows, moved), 0, dim)
