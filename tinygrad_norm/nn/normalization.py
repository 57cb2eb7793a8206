"""Norm layers: each is a choice of axes, with PyTorch's arguments, defaults and state_dict keys.

Every layer takes `activation=` (applied in the same kernel) and `fused=False` (built from primitives; same state, same
results).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_norm import ops
from tinygrad_norm.nn.module import Module, Parameter, float_dtype
from tinygrad_norm.ops.activation import fusible
from tinygrad_norm.tape import composed, no_grad
from tinygrad_norm.tensor import Tensor

Activation = str | tuple[str, float] | None


class Normalization(Module):
    """What all norm layers share: weight and bias (also called gamma and beta), eps, activation, fused or not."""

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        shape: tuple[int, ...],
        eps: float | None,
        weight: bool,
        bias: bool,
        activation: Activation,
        fused: bool,
        dtype: npt.DTypeLike | None,
    ) -> None:
        super().__init__()
        if eps is not None and not (eps >= 0 and math.isfinite(eps)):
            raise ValueError(f"{type(self).__name__}: eps should be 0 or a positive number, got {eps}")
        fusible(activation)  # refuses an unknown one here rather than at the first call
        self.eps = eps
        self.activation = activation
        self.fused = fused
        self._dtype = float_dtype(dtype)
        self.weight = Parameter(np.ones(shape, self._dtype)) if weight else None
        self.bias = Parameter(np.zeros(shape, self._dtype)) if bias else None

    @property
    def gamma(self) -> Parameter | None:
        """The weight, by the name of the papers."""
        return self.weight

    @property
    def beta(self) -> Parameter | None:
        """The bias, by the name of the papers."""
        return self.bias

    def reset_parameters(self) -> None:
        """Set weight to 1 and bias to 0."""
        if self.weight is not None:
            self.weight.raw = np.ones_like(self.weight.raw)
        if self.bias is not None:
            self.bias.raw = np.zeros_like(self.bias.raw)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x."""
        if self.fused:
            return self.normalize(x)
        with composed():
            return self.normalize(x)

    def normalize(self, x: Tensor) -> Tensor:
        """Call the op; each layer defines its own."""
        raise TypeError(f"{type(self).__name__} defines no normalize(x)")

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return ", ".join(part for part in (self.facts(), self._options()) if part)

    def facts(self) -> str:
        """The arguments that are this layer's own."""
        return ""

    def _options(self) -> str:
        options = [] if self.activation is None else [f"activation={self.activation!r}"]
        return ", ".join(options if self.fused else [*options, "fused=False"])


class RunningNorm(Normalization):
    """A norm that can keep running statistics: batch and instance norm.

    Two switches, each None unless set, then overriding what `train()` and `eval()` say:
    `use_batch_statistics` (normalize with the statistics of what is given, or with the running ones) and
    `update_running_statistics`. `frozen = True` uses the running ones and leaves them alone, in training too.
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    ranks: tuple[int, ...] = ()
    layout = ""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        activation: Activation = None,
        fused: bool = True,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        name = type(self).__name__
        self_features = _count(name, "num_features", num_features)
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(
                f"{name}: momentum is the weight of the new value, between 0 and 1 (None: cumulative), got {momentum}"
            )
        super().__init__((self_features,), eps, affine, affine, activation, fused, dtype)
        self.num_features = self_features
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.frozen = False
        self.use_batch_statistics: bool | None = None
        self.update_running_statistics: bool | None = None
        for buffer in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(buffer, None)
        if track_running_stats:
            self.running_mean = Tensor(np.zeros(num_features, self._dtype))
            self.running_var = Tensor(np.ones(num_features, self._dtype))
            self.num_batches_tracked = Tensor(np.array(0))

    def reset_running_stats(self) -> None:
        """Begin the running statistics anew: mean 0, variance 1, no batches."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean.raw = np.zeros_like(self.running_mean.raw)
            self.running_var.raw = np.ones_like(self.running_var.raw)
            self.num_batches_tracked.raw = np.array(0)

    def freeze(self, frozen: bool = True) -> RunningNorm:
        """Use the running statistics and leave them alone, also after `train()`. Returns the layer."""
        if frozen and self.running_mean is None:
            raise ValueError(f"{type(self).__name__}: without running statistics there is nothing to freeze")
        self.frozen = frozen
        return self

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize with the statistics that the switches choose, and move the running ones if they say so."""
        self._check_input(x.shape)
        tracked = self.running_mean is not None
        use = self.training if self.use_batch_statistics is None else self.use_batch_statistics
        update = self.training if self.update_running_statistics is None else self.update_running_statistics
        use = not tracked or (use and not self.frozen)
        update = tracked and update and not self.frozen
        factor = self._factor() if update else 0.0
        if use:
            y = self._call(x, True, factor, update)
        else:
            if update:  # the batch is looked at, but does not normalize itself
                with no_grad():
                    self._call(x, True, factor, True)
            y = self._call(x, False, factor, True)
        if update and self.num_batches_tracked is not None:
            self.num_batches_tracked.raw = self.num_batches_tracked.raw + 1
        return y

    def _factor(self) -> float:
        """How much the new statistics weigh: momentum, or one over the number of batches seen."""
        if self.momentum is not None or self.num_batches_tracked is None:
            return float(self.momentum or 0.0)
        return 1 / (int(self.num_batches_tracked.raw) + 1)

    def _call(self, x: Tensor, use_batch: bool, momentum: float, running: bool) -> Tensor:
        raise TypeError(f"{type(self).__name__} defines no _call")

    def _check_input(self, shape: tuple[int, ...]) -> None:
        if len(shape) not in self.ranks or shape[self._channel_axis(shape)] != self.num_features:
            raise ValueError(
                f"{type(self).__name__}({self.num_features}): the input should have shape {self.layout} with "
                f"C = {self.num_features}, got {shape}"
            )

    def _channel_axis(self, shape: tuple[int, ...]) -> int:
        return 1

    def facts(self) -> str:
        """The arguments that are this layer's own."""
        frozen = ", frozen=True" if self.frozen else ""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}{frozen}"
        )


class BatchNorm(RunningNorm):
    """Normalize each channel over the batch and all positions; the running statistics serve for inference.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: the weight of the new value in the running statistics; None: their plain average.
        affine: whether there are weight and bias, shape (C,).
        track_running_stats: whether running statistics are kept; without, inference uses the batch's too.
        activation: the name of an activation applied in the same kernel, or (name, parameter).
        fused: False builds the layer from primitives.
        dtype: float32 or float64.

    Raises:
        ValueError: an argument is out of range; in the call: the shape does not fit, or training sees one value per
            channel.

    Source: Ioffe and Szegedy 2015.
    """

    def _call(self, x: Tensor, use_batch: bool, momentum: float, running: bool) -> Tensor:
        mean, var = (self.running_mean, self.running_var) if running else (None, None)
        return ops.batch_norm(
            x, mean, var, self.weight, self.bias, use_batch, momentum, self.eps or 0.0, self.activation
        )


class BatchNorm1D(BatchNorm):
    """`BatchNorm` of (N, C) or (N, C, L)."""

    ranks, layout = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2D(BatchNorm):
    """`BatchNorm` of (N, C, H, W)."""

    ranks, layout = (4,), "(N, C, H, W)"


class BatchNorm3D(BatchNorm):
    """`BatchNorm` of (N, C, D, H, W)."""

    ranks, layout = (5,), "(N, C, D, H, W)"


class InstanceNorm(RunningNorm):
    """Normalize each channel of each image over its positions. Arguments as `BatchNorm`, other defaults.

    Source: Ulyanov, Vedaldi and Lempitsky 2016.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        activation: Activation = None,
        fused: bool = True,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, activation=activation, fused=fused, dtype=dtype
        )

    def _call(self, x: Tensor, use_batch: bool, momentum: float, running: bool) -> Tensor:
        mean, var = (self.running_mean, self.running_var) if running else (None, None)
        batch = x if len(x.shape) == self.ranks[-1] else ops.expand_dims(x, 0)
        y = ops.instance_norm(
            batch, mean, var, self.weight, self.bias, use_batch, momentum, self.eps or 0.0, self.activation
        )
        return y if batch is x else y.squeeze(0)

    def _channel_axis(self, shape: tuple[int, ...]) -> int:
        return len(shape) - self.ranks[0]


class InstanceNorm1D(InstanceNorm):
    """`InstanceNorm` of (N, C, L) or (C, L)."""

    ranks, layout = (2, 3), "(N, C, L) or (C, L)"


class InstanceNorm2D(InstanceNorm):
    """`InstanceNorm` of (N, C, H, W) or (C, H, W)."""

    ranks, layout = (3, 4), "(N, C, H, W) or (C, H, W)"


class LayerNorm(Normalization):
    """Normalize over the trailing axes, for every index before them.

    Args:
        normalized_shape: the lengths of the trailing axes, or one number.
        eps: added to the variance.
        elementwise_affine: whether there is a weight, shape `normalized_shape`.
        bias: whether there is a bias too.
        activation, fused, dtype: as in `BatchNorm`.

    Source: Ba, Kiros and Hinton 2016.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        activation: Activation = None,
        fused: bool = True,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        self_shape = _lengths("LayerNorm", normalized_shape)
        super().__init__(self_shape, eps, elementwise_affine, elementwise_affine and bias, activation, fused, dtype)
        self.normalized_shape = self_shape
        self.elementwise_affine = elementwise_affine

    def normalize(self, x: Tensor) -> Tensor:
        """Call the op."""
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps or 0.0, self.activation)

    def facts(self) -> str:
        """The arguments that are this layer's own."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LayerNorm2D(Normalization):
    """Normalize over the channels at each pixel of (N, C, H, W), as in ConvNeXt.

    Args:
        num_channels: C.
        eps: added to the variance.
        affine: whether there are weight and bias, shape (C,).
        activation, fused, dtype: as in `BatchNorm`.

    Source: Liu et al. 2022.
    """

    def __init__(
        self,
        num_channels: int,
        eps: float = 1e-6,
        affine: bool = True,
        *,
        activation: Activation = None,
        fused: bool = True,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        channels = _count("LayerNorm2D", "num_channels", num_channels)
        super().__init__((channels,), eps, affine, affine, activation, fused, dtype)
        self.num_channels = channels
        self.affine = affine

    def normalize(self, x: Tensor) -> Tensor:
        """Call the op."""
        _check_channels(self, x.shape, self.num_channels, "(N, C, H, W)", at_least=4, at_most=4)
        return ops.layer_norm_2d(x, self.weight, self.bias, self.eps or 0.0, self.activation)

    def facts(self) -> str:
        """The arguments that are this layer's own."""
        return f"{self.num_channels}, eps={self.eps}, affine={self.affine}"


class GroupNorm(Normalization):
    """Normalize each image over its positions and the channels of each group.

    Args:
        num_groups: divides C.
        num_channels: C.
        eps: added to the variance.
        affine: whether there are weight and bias, shape (C,).
        activation, fused, dtype: as in `BatchNorm`.

    Source: Wu and He 2018.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        activation: Activation = None,
        fused: bool = True,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        groups = _count("GroupNorm", "num_groups", num_groups)
        channels = _count("GroupNorm", "num_channels", num_channels)
        if channels % groups:
            raise ValueError(f"GroupNorm: num_channels should be a multiple of num_groups, got {channels} and {groups}")
        super().__init__((channels,), eps, affine, affine, activation, fused, dtype)
        self.num_groups = groups
        self.num_channels = channels
        self.affine = affine

    def normalize(self, x: Tensor) -> Tensor:
        """Call the op."""
        _check_channels(self, x.shape, self.num_channels, "(N, C, ...)", at_least=2)
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, self.eps or 0.0, self.activation)

    def facts(self) -> str:
        """The arguments that are this layer's own."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class RMSNorm(Normalization):
    """Divide by the root of the mean square over the trailing axes; no mean is subtracted, and there is no bias.

    Args:
        normalized_shape: the lengths of the trailing axes, or one number.
        eps: added to the mean square; None: the machine epsilon of the input's dtype.
        elementwise_affine: whether there is a weight, shape `normalized_shape`.
        activation, fused, dtype: as in `BatchNorm`.

    Source: Zhang and Sennrich 2019.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        activation: Activation = None,
        fused: bool = True,
        dtype: npt.DTypeLike | None = None,
    ) -> None:
        self_shape = _lengths("RMSNorm", normalized_shape)
        super().__init__(self_shape, eps, elementwise_affine, False, activation, fused, dtype)
        self.normalized_shape = self_shape
        self.elementwise_affine = elementwise_affine

    def normalize(self, x: Tensor) -> Tensor:
        """Call the op."""
        return ops.rms_norm(x, self.normalized_shape, self.weight, self.eps, self.activation)

    def facts(self) -> str:
        """The arguments that are this layer's own."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


def _count(layer: str, name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{layer}: {name} should be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{layer}: {name} should be 1 or more, got {value}")
    return int(value)


def _lengths(layer: str, value: int | Sequence[int]) -> tuple[int, ...]:
    lengths = (value,) if isinstance(value, int | np.integer) else tuple(value)
    if not lengths:
        raise ValueError(f"{layer}: normalized_shape should name at least one axis, got {value!r}")
    return tuple(_count(layer, "normalized_shape", length) for length in lengths)


def _check_channels(
    layer: Normalization, shape: tuple[int, ...], channels: int, layout: str, at_least: int, at_most: int = 9
) -> None:
    if not at_least <= len(shape) <= at_most or shape[1] != channels:
        raise ValueError(
            f"{type(layer).__name__}: the input should have shape {layout} with C = {channels}, got {shape}"
        )
