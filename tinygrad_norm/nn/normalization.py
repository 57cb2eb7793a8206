"""Norm layers: each is a choice of axes, with PyTorch's arguments, defaults and state_dict keys.

Every layer takes by name: `activation`, applied in the same kernel (the name of one, or (name, parameter));
`fused=False`, to be built from primitives, with the same state and the same results; `dtype`, of the parameters,
float32 unless given; and, unless it never has a bias, `bias=False`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, MISSING, Field, InitVar, fields
from typing import Any, ClassVar

import numpy as np

from tinygrad_norm import modes, ops
from tinygrad_norm.checks import FRACTION, NOT_NEGATIVE, Range, check_flag, check_integer, check_number
from tinygrad_norm.derivation import builtin
from tinygrad_norm.dtypes import DTypeOrNone, Shape
from tinygrad_norm.modes import composed, no_grad
from tinygrad_norm.nn.checks import input_shape
from tinygrad_norm.nn.dataclass_module import DataclassModule
from tinygrad_norm.nn.module import Parameter, float_dtype
from tinygrad_norm.ops.activation import ActivationSpec, fusible
from tinygrad_norm.ops.arguments import label
from tinygrad_norm.tensor import Tensor

_MOMENTUM = Range("a number from 0 to 1, the weight of the new value, or None", FRACTION.test)


class Normalization(DataclassModule):
    """What all norm layers share: weight and bias (also called gamma and beta), eps, activation, fused or not."""

    layouts: ClassVar[tuple[str, ...]] = ()
    """The shapes of input that fit, one letter for each axis; none where the op checks it all."""
    first_weight: ClassVar[float] = 1.0
    """What each weight begins with; a bias begins with 0."""
    definition: ClassVar[Callable[..., Any]]
    """What the layer computes, as `derive` takes it."""
    underivable: ClassVar[str] = ""
    """Why `derive` does not take it, where that is so."""
    computed_by: ClassVar[Sequence[Callable[..., Any]] | str] = ()
    """The definitions of the kernels that compute it, one after the other, if not its own; or what else does."""
    _: KW_ONLY
    activation: ActivationSpec = None
    fused: bool = True
    dtype: InitVar[DTypeOrNone] = None

    def _make(self, shape: Shape, affine: bool, bias: bool, dtype: DTypeOrNone) -> None:
        """Check what all norms take, and make weight and bias."""
        if self.eps is not None or getattr(type(self), "eps", None) is not None:  # where None is not what it is anyway
            check_number(f"{type(self).__name__}: eps", self.eps, NOT_NEGATIVE)
        fusible(self.activation)  # refuses an unknown one here rather than at the first call
        for what, flag in (("affine", affine), ("bias", bias), ("fused", self.fused)):
            check_flag(f"{type(self).__name__}: {what}", flag)
        self.shape = shape
        self.starts: dict[str, float] = {}
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        if affine:
            self.add_parameter("weight", shape, self.first_weight, dtype)
        if affine and bias:
            self.add_parameter("bias", shape, 0.0, dtype)

    def add_parameter(self, name: str, shape: Shape, start: float, dtype: DTypeOrNone) -> None:
        """Make a parameter of equal numbers, to which `reset_parameters` sets it again."""
        self.starts[name] = start
        setattr(self, name, Parameter(np.full(shape, start), dtype=float_dtype(dtype)))

    @property
    def gamma(self) -> Parameter | None:
        """The weight, by its name in the papers."""
        return self.weight

    @property
    def beta(self) -> Parameter | None:
        """The bias, by its name in the papers."""
        return self.bias

    def reset_parameters(self) -> None:
        """Set each parameter to what it was made with: weight to 1, bias to 0."""
        for name, start in self.starts.items():
            if (parameter := getattr(self, name)) is not None:
                parameter.replace(np.full_like(parameter.raw, start))

    def activates(self) -> ActivationSpec:
        """Return the activation that the layer applies, or whose place it takes by one of its own."""
        return self.activation

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x."""
        return self.run(x)

    def run(self, x: Tensor, *given: Any) -> Tensor:
        """Normalize x, once its shape is checked, with what else the layer is given, fused or composed."""
        shape = input_shape(self, x)
        fit = [len(shape) == len(axes) and shape[axes.index("C")] == self.shape[0] for axes in self.layouts]
        if fit and not any(fit):
            wanted = " or ".join(f"({', '.join(axes)})" for axes in self.layouts)
            raise ValueError(
                f"{label(type(self).__name__)}: the input has shape {wanted} with C = {self.shape[0]}, got {shape}"
            )
        normalize: Callable[..., Tensor] = self.normalize
        if self.fused:
            return normalize(x, *given)
        with composed():
            return normalize(x, *given)

    def normalize(self, x: Tensor) -> Tensor:
        """Call the op; each layer defines its own."""
        raise TypeError(f"{type(self).__name__} defines no normalize(x)")

    def extra_repr(self) -> str:
        words = []
        for field in sorted(fields(self), key=lambda field: bool(field.kw_only)):
            value = self.starts.get(field.name, getattr(self, field.name))  # what a parameter of that name began with
            if _is_size(field):
                words.append(str(value))
            elif not field.kw_only or value != field.default:
                words.append(f"{field.name}={value!r}")
            if field.name.endswith("affine") and "bias" in type(self).__dataclass_fields__:
                words.append(f"bias={self.bias is not None}")
        return ", ".join(words)


def _is_size(field: Field[Any]) -> bool:
    """Whether an argument is one that has to be given, which is shown without its name."""
    return field.default is field.default_factory is MISSING and not field.kw_only


class ChannelNorm(Normalization):
    """A norm with a weight for each channel: all but those of trailing axes."""

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = False) -> None:
        for size in [field.name for field in fields(self) if _is_size(field)]:
            setattr(self, size, check_integer(f"{type(self).__name__}: {size}", getattr(self, size), 1))
        channels = self.num_channels if hasattr(self, "num_channels") else self.num_features
        self._make((channels,), self.affine, bias, dtype)


class TrailingNorm(Normalization):
    """A norm over the trailing axes, with a weight for each place in them."""

    normalized_shape: int | Sequence[int]

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = False) -> None:
        name, given = f"{type(self).__name__}: normalized_shape", self.normalized_shape
        lengths = tuple(given) if isinstance(given, Sequence) else (given,)
        if not lengths:
            raise ValueError(f"{name} names at least one axis, got {given!r}")
        self.normalized_shape = shape = tuple(check_integer(name, length, 1) for length in lengths)
        self._make(shape, self.elementwise_affine, bias, dtype)


class RunningNorm(ChannelNorm):
    """A norm that can keep running statistics: batch and instance norm.

    Two switches, each None unless set, then overriding what `train()` and `eval()` say:
    `use_batch_statistics` (normalize with the statistics of what is given, or with the running ones) and
    `update_running_statistics`. `frozen = True` uses the running ones and leaves them alone, in training too.
    Without running statistics (`track_running_stats=False`: the three buffers are None) none of them means anything.
    """

    op: ClassVar[Callable[..., Tensor]]
    refuses_infinity = True  # in the running statistics, in inference
    keeps_variance: ClassVar[bool] = True
    """Whether the running statistics are the mean and the variance of all that it is given, and nothing else."""
    num_features: int
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    track_running_stats: bool = True
    _: KW_ONLY
    bias: InitVar[bool] = True

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        super().__post_init__(dtype, bias)
        if self.momentum is not None:
            check_number(f"{type(self).__name__}: momentum", self.momentum, _MOMENTUM)
        check_flag(f"{type(self).__name__}: track_running_stats", self.track_running_stats)
        self.frozen = False
        self.ranks: set[int] = set()  # how many axes its inputs had so far: folding asks which they were
        self.use_batch_statistics: bool | None = None
        self.update_running_statistics: bool | None = None
        found = float_dtype(dtype)
        starts = {"running_mean": np.zeros(self.shape, found), "running_var": np.ones(self.shape, found)}
        for name, start in {**starts, "num_batches_tracked": 0}.items():
            self.register_buffer(name, Tensor(start) if self.track_running_stats else None)

    def reset_running_stats(self) -> None:
        """Begin the running statistics anew: mean 0, variance 1, no batches."""
        if self.running_mean is not None:
            for buffer, start in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
                buffer.replace(np.full_like(buffer.raw, start))

    def reset_parameters(self) -> None:
        """Set weight to 1 and bias to 0, and begin the running statistics anew."""
        super().reset_parameters()
        self.reset_running_stats()

    def uses_batch_statistics(self) -> bool:
        """Return whether the next call normalizes with the statistics of what it is given."""
        wanted = self.training if self.use_batch_statistics is None else self.use_batch_statistics
        return self.running_mean is None or (wanted and not self.frozen)

    def updates_running_statistics(self) -> bool:
        """Return whether the next call moves the running statistics."""
        wanted = self.training if self.update_running_statistics is None else self.update_running_statistics
        return self.running_mean is not None and wanted and not self.frozen

    def normalize(self, x: Tensor, *given: Any) -> Tensor:
        """Normalize with the statistics that the switches choose; then the running ones move, if they are to."""
        self.ranks.add(len(x.shape))
        use, update = self.uses_batch_statistics(), self.updates_running_statistics()
        if not use and self.refuses_infinity:
            self.check_statistics()
        y = self._call(x, use, update, *given)
        if update and not use:  # this batch did not normalize itself: it is looked at all the same
            with no_grad():
                self._call(x, True, True, *given)
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
        """Add a count of 0 to running statistics that were saved without one, as by PyTorch before 0.4.1."""
        if self.running_mean is not None and f"{prefix}running_mean" in state:
            state.setdefault(f"{prefix}num_batches_tracked", 0)

    def _call(self, x: Tensor, use_batch: bool, update: bool, *given: Any) -> Tensor:
        running = (self.running_mean, self.running_var) if update or not use_batch else (None, None)
        momentum = self.momentum
        if momentum is None:  # cumulative: each batch weighs the same
            momentum = 1 / (self.num_batches_tracked.item() + 1) if update else 0.0
        return self.compute(x, running, use_batch, momentum, *given)

    def compute(self, x: Tensor, running: Sequence[Tensor | None], own: bool, momentum: float) -> Tensor:
        """Call the op: normalize by x's own statistics, which move the running ones given, or by those."""
        return type(self).op(x, *running, self.weight, self.bias, own, momentum, self.eps, self.activation)

    def extra_repr(self) -> str:
        return super().extra_repr() + ", frozen=True" * self.frozen


class BatchNorm(RunningNorm):
    """Normalize each channel over the batch and all positions; the running statistics serve for inference.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: the weight of the new value in the running statistics; None: their plain average.
        affine: whether there are weight and bias, shape (C,).
        track_running_stats: whether running statistics are kept; without, inference uses the batch's too.

    Raises:
        ValueError: an argument is out of range; in the call: the shape does not fit, or training sees one value per
            channel.
        TypeError: in the call: the input's dtype is not the layer's.

    Source: Ioffe and Szegedy, Batch normalization: accelerating deep network training by reducing internal covariate
        shift, 2015.
    """

    op = ops.batch_norm
    definition: ClassVar[Callable[..., Any]] = staticmethod(builtin.normalize)


class BatchNorm1D(BatchNorm):
    """`BatchNorm` of (N, C) or (N, C, L)."""

    layouts = ("NC", "NCL")


class BatchNorm2D(BatchNorm):
    """`BatchNorm` of (N, C, H, W)."""

    layouts = ("NCHW",)


class BatchNorm3D(BatchNorm):
    """`BatchNorm` of (N, C, D, H, W)."""

    layouts = ("NCDHW",)


class InstanceNorm(RunningNorm):
    """Normalize each channel of each image over its positions. Arguments as `BatchNorm`, other defaults.

    Source: Ulyanov, Vedaldi and Lempitsky, Instance normalization: the missing ingredient for fast stylization, 2016.
    """

    op = ops.instance_norm
    definition = staticmethod(builtin.normalize)

    affine: bool = False
    track_running_stats: bool = False

    def normalize(self, x: Tensor, *given: Any) -> Tensor:
        """Normalize a batch, or one image, which becomes a batch of one."""
        if len(x.shape) == len(self.layouts[0]):
            return super().normalize(x, *given)
        return super().normalize(ops.expand_dims(x, 0), *given).squeeze(0)


class InstanceNorm1D(InstanceNorm):
    """`InstanceNorm` of (N, C, L) or (C, L)."""

    layouts = ("NCL", "CL")


class InstanceNorm2D(InstanceNorm):
    """`InstanceNorm` of (N, C, H, W) or (C, H, W)."""

    layouts = ("NCHW", "CHW")


class InstanceNorm3D(InstanceNorm):
    """`InstanceNorm` of (N, C, D, H, W) or (C, D, H, W)."""

    layouts = ("NCDHW", "CDHW")


class LayerNorm(TrailingNorm):
    """Normalize over the trailing axes, for every index before them.

    Args:
        normalized_shape: the lengths of the trailing axes, or one number.
        eps: added to the variance.
        elementwise_affine: whether there is a weight, shape `normalized_shape`.
        bias: whether there is a bias too.

    Source: Ba, Kiros and Hinton, Layer normalization, 2016.
    """

    definition = staticmethod(builtin.normalize)
    eps: float = 1e-5
    elementwise_affine: bool = True
    bias: InitVar[bool] = True

    def normalize(self, x: Tensor) -> Tensor:
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps, self.activation)


class LayerNorm2D(ChannelNorm):
    """Normalize over the channels at each pixel of (N, C, H, W), as in ConvNeXt.

    Args:
        num_channels: C.
        eps: added to the variance.
        affine: whether there are weight and bias, shape (C,).

    Source: Liu et al., A ConvNet for the 2020s, 2022.
    """

    layouts = ("NCHW",)
    definition = staticmethod(builtin.normalize)
    num_channels: int
    eps: float = 1e-6
    affine: bool = True
    _: KW_ONLY
    bias: InitVar[bool] = True

    def normalize(self, x: Tensor) -> Tensor:
        return ops.layer_norm_2d(x, self.weight, self.bias, self.eps, self.activation)


class GroupNorm(ChannelNorm):
    """Normalize each image over its positions and the channels of each group.

    Args:
        num_groups: divides C.
        num_channels: C.
        eps: added to the variance.
        affine: whether there are weight and bias, shape (C,).

    Source: Wu and He, Group normalization, 2018.
    """

    layouts = ("NC", "NCL", "NCHW", "NCDHW")
    definition = staticmethod(builtin.normalize)
    num_groups: int
    num_channels: int
    eps: float = 1e-5
    affine: bool = True
    _: KW_ONLY
    bias: InitVar[bool] = True

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        super().__post_init__(dtype, bias)
        if self.num_channels % self.num_groups:
            sizes = f"{self.num_channels} and {self.num_groups}"
            raise ValueError(f"GroupNorm: num_channels is a multiple of num_groups, got {sizes}")

    def normalize(self, x: Tensor) -> Tensor:
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, self.eps, self.activation)


class RMSNorm(TrailingNorm):
    """Divide by the root of the mean square over the trailing axes; no mean is subtracted, and there is no bias.

    Args:
        normalized_shape: the lengths of the trailing axes, or one number.
        eps: added to the mean square; None: the machine epsilon of the input's dtype.
        elementwise_affine: whether there is a weight, shape `normalized_shape`.

    Source: Zhang and Sennrich, Root mean square layer normalization, 2019.
    """

    definition = staticmethod(builtin.rms_normalize)
    eps: float | None = None
    elementwise_affine: bool = True

    def normalize(self, x: Tensor) -> Tensor:
        return ops.rms_norm(x, self.normalized_shape, self.weight, self.eps, self.activation)


class RMSNorm2D(ChannelNorm):
    """Divide by the root of the mean square over the channels at each pixel of (N, C, H, W); there is no bias.

    Args:
        num_channels: C.
        eps: added to the mean square.
        affine: whether there is a weight, shape (C,).

    Source: Zhang and Sennrich, Root mean square layer normalization, 2019.
    """

    layouts = ("NCHW",)
    definition = staticmethod(builtin.rms_normalize)
    num_channels: int
    eps: float = 1e-6
    affine: bool = True

    def normalize(self, x: Tensor) -> Tensor:
        return ops.rms_norm_2d(x, self.weight, self.eps, self.activation)
