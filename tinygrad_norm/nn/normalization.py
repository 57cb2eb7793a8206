"""Norm layers: each is a choice of axes, with PyTorch's arguments, defaults and state_dict keys.

Every layer takes by name: `activation`, applied in the same kernel (the name of one, or (name, parameter));
`fused=False`, to be built from primitives, with the same state and the same results; `dtype`; and, unless it never has
a bias, `bias=False`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from tinygrad_norm import modes, ops
from tinygrad_norm.checks import FRACTION, NOT_NEGATIVE, Range, check_integer, check_number, refuse_unknown
from tinygrad_norm.modes import composed, no_grad
from tinygrad_norm.nn.checks import shape_of
from tinygrad_norm.nn.module import Module, Parameter, float_dtype
from tinygrad_norm.ops.activation import fusible
from tinygrad_norm.tensor import Tensor

_MOMENTUM = Range("a number from 0 to 1, the weight of the new value, or None", FRACTION.test)


class Options(TypedDict, total=False):
    """What every norm layer takes by name."""

    activation: str | tuple[str, float] | None
    fused: bool
    dtype: npt.DTypeLike | None


class BiasOptions(Options, total=False):
    """What every norm layer of channels takes by name."""

    bias: bool


class Normalization(Module):
    """What all norm layers share: weight and bias (also called gamma and beta), eps, activation, fused or not."""

    weight: Parameter | None
    bias: Parameter | None
    layouts: ClassVar[tuple[str, ...]] = ()
    """The shapes of input that fit, one letter for each axis; none where the op checks it all."""

    def __init__(
        self,
        shape: tuple[int, ...],
        eps: float,
        affine: bool,
        *,
        bias: bool = True,
        activation: str | tuple[str, float] | None = None,
        fused: bool = True,
        dtype: npt.DTypeLike | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if unknown:
            known = {*inspect.signature(type(self)).parameters, *BiasOptions.__annotations__} - {"options"}
            refuse_unknown(name, unknown, known)
        check_number(f"{name}: eps", eps, NOT_NEGATIVE)
        fusible(activation)  # refuses an unknown one here rather than at the first call
        dtype = float_dtype(dtype)
        self.eps: Any = eps
        self.activation = activation
        self.fused = fused
        self._shape = shape
        self.weight = Parameter(np.ones(shape), dtype=dtype) if affine else None
        self.bias = Parameter(np.zeros(shape), dtype=dtype) if affine and bias else None

    @property
    def gamma(self) -> Parameter | None:
        """The weight, by its name in the papers."""
        return self.weight

    @property
    def beta(self) -> Parameter | None:
        """The bias, by its name in the papers."""
        return self.bias

    def reset_parameters(self) -> None:
        """Set weight to 1 and bias to 0."""
        if self.weight is not None:
            self.weight.replace(np.ones_like(self.weight.raw))
        if self.bias is not None:
            self.bias.replace(np.zeros_like(self.bias.raw))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x."""
        self._check_input(shape_of(self, x))
        if self.fused:
            return self.normalize(x)
        with composed():
            return self.normalize(x)

    def normalize(self, x: Tensor) -> Tensor:
        """Call the op; each layer defines its own."""
        raise TypeError(f"{type(self).__name__} defines no normalize(x)")

    def _check_input(self, shape: tuple[int, ...]) -> None:
        for axes in self.layouts:
            if len(shape) == len(axes) and shape[axes.index("C")] == self._shape[0]:
                return
        if self.layouts:
            path = modes.current_scope()
            wanted = " or ".join(f"({', '.join(axes)})" for axes in self.layouts)
            raise ValueError(
                f"{type(self).__name__}{f' in {path}' if path else ''}: the input should have shape {wanted} "
                f"with C = {self._shape[0]}, got {shape}"
            )

    def _options(self) -> str:
        """The end of the repr."""
        activation = "" if self.activation is None else f", activation={self.activation!r}"
        return activation if self.fused else f"{activation}, fused=False"


class RunningNorm(Normalization):
    """A norm that can keep running statistics: batch and instance norm.

    Two switches, each None unless set, then overriding what `train()` and `eval()` say:
    `use_batch_statistics` (normalize with the statistics of what is given, or with the running ones) and
    `update_running_statistics`. `frozen = True` uses the running ones and leaves them alone, in training too.
    Without running statistics (`track_running_stats=False`: the three buffers are None) none of them means anything.
    """

    op: ClassVar[Callable[..., Tensor]]
    refuses_infinity = True  # in the running statistics, in inference

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        **options: Unpack[BiasOptions],
    ) -> None:
        name = type(self).__name__
        features = check_integer(f"{name}: num_features", num_features, 1)
        if momentum is not None:
            check_number(f"{name}: momentum", momentum, _MOMENTUM)
        super().__init__((features,), eps, affine, **options)
        self.num_features = features
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.frozen = False
        self.use_batch_statistics: bool | None = None
        self.update_running_statistics: bool | None = None
        dtype, tracks = float_dtype(options.get("dtype")), track_running_stats
        self.register_buffer("running_mean", Tensor(np.zeros(features, dtype)) if tracks else None)
        self.register_buffer("running_var", Tensor(np.ones(features, dtype)) if tracks else None)
        self.register_buffer("num_batches_tracked", Tensor(0) if tracks else None)

    def reset_running_stats(self) -> None:
        """Begin the running statistics anew: mean 0, variance 1, no batches."""
        if self.running_mean is not None:
            self.running_mean.replace(np.zeros_like(self.running_mean.raw))
            self.running_var.replace(np.ones_like(self.running_var.raw))
            self.num_batches_tracked.replace(np.zeros_like(self.num_batches_tracked.raw))

    def reset_parameters(self) -> None:
        """Set weight to 1 and bias to 0, and begin the running statistics anew."""
        super().reset_parameters()
        self.reset_running_stats()

    def uses_batch_statistics(self) -> bool:
        """Whether the next call normalizes with the statistics of what it is given."""
        wanted = self.training if self.use_batch_statistics is None else self.use_batch_statistics
        return self.running_mean is None or (wanted and not self.frozen)

    def updates_running_statistics(self) -> bool:
        """Whether the next call moves the running statistics."""
        wanted = self.training if self.update_running_statistics is None else self.update_running_statistics
        return self.running_mean is not None and wanted and not self.frozen

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize with the statistics that the switches choose; then the running ones move, if they are to."""
        use, update = self.uses_batch_statistics(), self.updates_running_statistics()
        if not use and self.refuses_infinity:
            self.check_statistics()
        y = self._call(x, use, update)
        if update and not use:  # this batch did not normalize itself: it is looked at all the same
            with no_grad():
                self._call(x, True, True)
        if update:
            self.num_batches_tracked.raw = np.asarray(self.num_batches_tracked.raw + 1)
        return y

    def check_statistics(self, path: str | None = None) -> None:
        """Raise a ValueError that names the path given, or else the call's, if running statistics are infinite."""
        for name, running in (("running_mean", self.running_mean), ("running_var", self.running_var)):
            if (infinite := np.isinf(running.raw)).any():
                path = modes.current_scope() if path is None else path
                raise ValueError(
                    f"{type(self).__name__}{f' in {path}' if path else ''}: {name} is infinite in {infinite.sum()} of "
                    f"{infinite.size} channels, where no output would depend on the input; the layer was given values "
                    f"too large for {running.dtype}: scale them, then nn.recalibrate(model, loader)"
                )

    def _fill_in(self, state: dict[str, Any], prefix: str) -> None:
        """A count of 0 for running statistics that were saved without one, as by PyTorch before 0.4.1."""
        if self.running_mean is not None and f"{prefix}running_mean" in state:
            state.setdefault(f"{prefix}num_batches_tracked", 0)

    def _call(self, x: Tensor, use_batch: bool, update: bool) -> Tensor:
        running = (self.running_mean, self.running_var) if update or not use_batch else (None, None)
        momentum = self.momentum
        if momentum is None:  # cumulative: each batch weighs the same
            momentum = 1 / (self.num_batches_tracked.item() + 1) if update else 0.0
        return type(self).op(x, *running, self.weight, self.bias, use_batch, momentum, self.eps, self.activation)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
            f"{', frozen=True' if self.frozen else ''}{self._options()}"
        )


class BatchNorm(RunningNorm):
    """Normalize each channel over the batch and all positions; the running statistics serve for inference.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: the weight of the new value in the running statistics; None: their plain average.
        affine: whether there are weight and bias, shape (C,).
        track_running_stats: whether running statistics are kept; without, inference uses the batch's too.
        options: `bias`, `activation`, `fused`, `dtype`.

    Raises:
        ValueError: an argument is out of range; in the call: the shape does not fit, or training sees one value per
            channel.
        TypeError: in the call: the input's dtype is not the layer's.

    Source: Ioffe and Szegedy 2015.
    """

    op = ops.batch_norm


class BatchNorm1D(BatchNorm):
    """`BatchNorm` of (N, C) or (N, C, L)."""

    layouts = ("NC", "NCL")

    @property
    def ranks(self) -> frozenset[int]:
        """How many axes its inputs had so far: 2, 3, both or, before the first call, none."""
        return frozenset(vars(self).get("_ranks", ()))

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize as every batch norm does, and note the rank."""
        vars(self).setdefault("_ranks", set()).add(len(x.shape))
        return super().normalize(x)


class BatchNorm2D(BatchNorm):
    """`BatchNorm` of (N, C, H, W)."""

    layouts = ("NCHW",)


class BatchNorm3D(BatchNorm):
    """`BatchNorm` of (N, C, D, H, W)."""

    layouts = ("NCDHW",)


class InstanceNorm(RunningNorm):
    """Normalize each channel of each image over its positions. Arguments as `BatchNorm`, other defaults.

    Source: Ulyanov, Vedaldi and Lempitsky 2016.
    """

    op = ops.instance_norm

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        **options: Unpack[BiasOptions],
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, **options)

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize a batch, or one image, which becomes a batch of one."""
        if len(x.shape) == len(self.layouts[0]):
            return super().normalize(x)
        return super().normalize(ops.expand_dims(x, 0)).squeeze(0)


class InstanceNorm1D(InstanceNorm):
    """`InstanceNorm` of (N, C, L) or (C, L)."""

    layouts = ("NCL", "CL")


class InstanceNorm2D(InstanceNorm):
    """`InstanceNorm` of (N, C, H, W) or (C, H, W)."""

    layouts = ("NCHW", "CHW")


class LayerNorm(Normalization):
    """Normalize over the trailing axes, for every index before them.

    Args:
        normalized_shape: the lengths of the trailing axes, or one number.
        eps: added to the variance.
        elementwise_affine: whether there is a weight, shape `normalized_shape`.
        bias: whether there is a bias too.
        options: `activation`, `fused`, `dtype`.

    Source: Ba, Kiros and Hinton 2016.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        **options: Unpack[Options],
    ) -> None:
        lengths = _lengths("LayerNorm", normalized_shape)
        super().__init__(lengths, eps, elementwise_affine, bias=bias, **options)
        self.normalized_shape = lengths
        self.elementwise_affine = elementwise_affine

    def normalize(self, x: Tensor) -> Tensor:
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps, self.activation)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}{self._options()}"
        )


class LayerNorm2D(Normalization):
    """Normalize over the channels at each pixel of (N, C, H, W), as in ConvNeXt.

    Args:
        num_channels: C.
        eps: added to the variance.
        affine: whether there are weight and bias, shape (C,).
        options: `bias`, `activation`, `fused`, `dtype`.

    Source: Liu et al. 2022.
    """

    layouts = ("NCHW",)

    def __init__(
        self, num_channels: int, eps: float = 1e-6, affine: bool = True, **options: Unpack[BiasOptions]
    ) -> None:
        channels = check_integer("LayerNorm2D: num_channels", num_channels, 1)
        super().__init__((channels,), eps, affine, **options)
        self.num_channels = channels
        self.affine = affine

    def normalize(self, x: Tensor) -> Tensor:
        return ops.layer_norm_2d(x, self.weight, self.bias, self.eps, self.activation)

    def extra_repr(self) -> str:
        return (
            f"{self.num_channels}, eps={self.eps}, affine={self.affine}, bias={self.bias is not None}{self._options()}"
        )


class GroupNorm(Normalization):
    """Normalize each image over its positions and the channels of each group.

    Args:
        num_groups: divides C.
        num_channels: C.
        eps: added to the variance.
        affine: whether there are weight and bias, shape (C,).
        options: `bias`, `activation`, `fused`, `dtype`.

    Source: Wu and He 2018.
    """

    layouts = ("NC", "NCL", "NCHW", "NCDHW")

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        **options: Unpack[BiasOptions],
    ) -> None:
        groups = check_integer("GroupNorm: num_groups", num_groups, 1)
        channels = check_integer("GroupNorm: num_channels", num_channels, 1)
        if channels % groups:
            raise ValueError(f"GroupNorm: num_channels should be a multiple of num_groups, got {channels} and {groups}")
        super().__init__((channels,), eps, affine, **options)
        self.num_groups = groups
        self.num_channels = channels
        self.affine = affine

    def normalize(self, x: Tensor) -> Tensor:
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, self.eps, self.activation)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}{self._options()}"
        )


class RMSNorm(Normalization):
    """Divide by the root of the mean square over the trailing axes; no mean is subtracted, and there is no bias.

    Args:
        normalized_shape: the lengths of the trailing axes, or one number.
        eps: added to the mean square; None: the machine epsilon of the input's dtype.
        elementwise_affine: whether there is a weight, shape `normalized_shape`.
        options: `activation`, `fused`, `dtype`.

    Source: Zhang and Sennrich 2019.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        **options: Unpack[Options],
    ) -> None:
        lengths = _lengths("RMSNorm", normalized_shape)
        super().__init__(lengths, 0.0 if eps is None else eps, elementwise_affine, bias=False, **options)
        self.eps = eps
        self.normalized_shape = lengths
        self.elementwise_affine = elementwise_affine

    def normalize(self, x: Tensor) -> Tensor:
        return ops.rms_norm(x, self.normalized_shape, self.weight, self.eps, self.activation)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}{self._options()}"


class RMSNorm2D(Normalization):
    """Divide by the root of the mean square over the channels at each pixel of (N, C, H, W); there is no bias.

    Args:
        num_channels: C.
        eps: added to the mean square.
        affine: whether there is a weight, shape (C,).
        options: `activation`, `fused`, `dtype`.

    Source: Zhang and Sennrich 2019.
    """

    layouts = ("NCHW",)

    def __init__(self, num_channels: int, eps: float = 1e-6, affine: bool = True, **options: Unpack[Options]) -> None:
        channels = check_integer("RMSNorm2D: num_channels", num_channels, 1)
        super().__init__((channels,), eps, affine, bias=False, **options)
        self.num_channels = channels
        self.affine = affine

    def normalize(self, x: Tensor) -> Tensor:
        return ops.rms_norm_2d(x, self.weight, self.eps, self.activation)

    def extra_repr(self) -> str:
        return f"{self.num_channels}, eps={self.eps}, affine={self.affine}{self._options()}"


def _lengths(layer: str, value: int | Sequence[int]) -> tuple[int, ...]:
    lengths = tuple(value) if isinstance(value, Sequence) else (value,)
    if not lengths:
        raise ValueError(f"{layer}: normalized_shape should name at least one axis, got {value!r}")
    return tuple(check_integer(f"{layer}: normalized_shape", length, 1) for length in lengths)
