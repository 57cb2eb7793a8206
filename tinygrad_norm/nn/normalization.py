"""Norm layers: each is a choice of axes, with PyTorch's arguments, defaults and state_dict keys.

Every layer takes by name: `activation`, applied in the same kernel (the name of one, or (name, parameter));
`fused=False`, to be built from primitives, with the same state and the same results; `dtype`, of the parameters,
float32 unless given; and, unless it never has a bias, `bias=False`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, Field, InitVar, fields
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from tinygrad_norm import modes, ops
from tinygrad_norm.checks import FRACTION, NOT_NEGATIVE, Range, check_flag, check_integer, check_number
from tinygrad_norm.derivation import builtin
from tinygrad_norm.dtypes import Array, DTypeOrNone, Shape
from tinygrad_norm.launch import late, launch
from tinygrad_norm.modes import composed, no_grad
from tinygrad_norm.nn.checks import input_shape
from tinygrad_norm.nn.dataclass_module import DataclassModule
from tinygrad_norm.nn.documented import documented
from tinygrad_norm.nn.module import Parameter, float_dtype
from tinygrad_norm.ops.activation import ActivationSpec, fusible
from tinygrad_norm.ops.arguments import label
from tinygrad_norm.tensor import Tensor

_COMPUTES = {"forward", "run", "normalize", "compute", "op"}
"""What a norm computes by: where a derived class has one of its own, it may be something else than before."""

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

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if (
            cls.__doc__ and hasattr(cls, "definition") and any(map(_is_size, fields(cls)))
        ):  # python -OO has no docstrings
            cls.__doc__ = documented(cls)

    def _make(self, shape: Shape, affine: bool, bias: bool, dtype: DTypeOrNone) -> None:
        """Check what all norms take, and make weight and bias."""
        if self.eps is not None or getattr(type(self), "eps", None) is not None:  # where None is not what it is anyway
            check_number(f"{type(self).__name__}: eps", self.eps, NOT_NEGATIVE)
        fusible(self.activation)  # refuses an unknown one here rather than at the first call
        float_dtype(dtype)  # refuses another one though there be no parameter
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
        entered = modes.enter_layer(type(self).__name__)
        try:
            if self.fused:
                return normalize(x, *given)
            with composed():
                return normalize(x, *given)
        finally:
            modes.leave_layer(entered)

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

    def infers_affinely(self) -> bool:
        """Return whether inference is x · a + b, then the activation, with numbers a and b for each channel.

        What a class says of that in `_infers_affinely` does not hold for a class derived from it that computes in its
        own way, unless that says it again.
        """
        said = next(vars(kind) for kind in type(self).__mro__ if {"_infers_affinely", *_COMPUTES} & vars(kind).keys())
        return "_infers_affinely" in said and self._infers_affinely()

    def _infers_affinely(self) -> bool:
        return False

    def inference_moments(self) -> tuple[Array, Array] | None:
        """Return the mean and the deviation of each channel, (C,), by which inference normalizes whatever it is given.

        They are in float64; None where there are none.
        """
        return None

    def inference_affine(self) -> tuple[Array, Array]:
        """Return a and b, shape (C,), in float64, of a norm that infers affinely.

        Raises:
            TypeError: it has no `inference_moments`.
        """
        moments = self.inference_moments()
        if moments is None:
            raise TypeError(f"{type(self).__name__} is no x · a + b in inference")
        gamma, beta = (
            np.full(self.shape, start) if parameter is None else parameter.raw.astype(np.float64)
            for parameter, start in ((self.weight, 1.0), (self.bias, 0.0))
        )
        mean, deviation = moments
        return gamma / deviation, beta - mean * (gamma / deviation)


class TrailingNorm(Normalization):
    """A norm over the trailing axes, with a weight for each place in them."""

    normalized_shape: int | Sequence[int]

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = False) -> None:
        name, given = f"{type(self).__name__}: normalized_shape", self.normalized_shape
        lengths = tuple(given) if isinstance(given, Sequence) and not isinstance(given, bytes) else (given,)
        if not lengths:
            raise ValueError(f"{name} names at least one axis, got {given!r}")
        self.normalized_shape = shape = tuple(check_integer(name, length, 1) for length in lengths)
        self._make(shape, self.elementwise_affine, bias, dtype)


def _share(batches: Array) -> float:
    """The weight of the next batch in an average over this one and those before it."""
    return float(1 / (int(batches) + 1))


def _check_finite(name: str, running: Array, cure: str, reads: bool) -> None:
    if reads and (infinite := np.isinf(running)).any():
        what = "channels" if running.ndim == 1 else "numbers"
        raise ValueError(
            f"{name} is infinite in {infinite.sum()} of {infinite.size} {what}, where no output would depend on the "
            f"input; the layer was given values too large for {running.dtype}: scale them, then {cure}"
        )


class RunningNorm(ChannelNorm):
    """A norm that keeps running statistics.

    Two switches, each None unless set, then overriding what `train()` and `eval()` say:
    `use_batch_statistics` (normalize with the statistics of what is given, or with the running ones) and
    `update_running_statistics`. `frozen = True` uses the running ones and leaves them alone, in training too.
    Without running statistics (`track_running_stats=False`: the buffers are None) none of them means anything.

    Running statistics move by `momentum`, the weight of the new value; None: they are plain averages. Those that are
    infinite are refused where the output depends on them.
    """

    begins_with: ClassVar[Mapping[str, float]]
    """The running statistics, each with the number that it begins with."""
    unread: ClassVar[frozenset[str]] = frozenset()
    """Those of them that no output depends on."""
    keeps_variance: ClassVar[bool] = False
    """Whether the running statistics are the mean and the variance of all that it is given, and nothing else."""
    track_running_stats = True  # where it is no argument
    refuses_infinity = True

    def _make(self, shape: Shape, affine: bool, bias: bool, dtype: DTypeOrNone) -> None:
        super()._make(shape, affine, bias, dtype)
        if self.momentum is not None:
            check_number(f"{type(self).__name__}: momentum", self.momentum, _MOMENTUM)
        check_flag(f"{type(self).__name__}: track_running_stats", self.track_running_stats)
        self.frozen = False
        self.ranks: set[int] = set()  # how many axes its inputs had so far: folding asks which they were
        self.use_batch_statistics: bool | None = None
        self.update_running_statistics: bool | None = None
        starts = {name: self.first_statistic(name).astype(float_dtype(dtype)) for name in self.begins_with}
        for name, start in {**starts, "num_batches_tracked": 0}.items():
            self.register_buffer(name, Tensor(start) if self.track_running_stats else None)

    def first_statistic(self, name: str) -> Array:
        """Return what a running statistic begins with."""
        return np.full(self.shape, self.begins_with[name])

    @property
    def keeps_statistics(self) -> bool:
        """Whether there are running statistics."""
        return self.num_batches_tracked is not None

    def reset_running_stats(self) -> None:
        """Reset the running statistics to what they began with, of no batches."""
        if self.keeps_statistics:
            for name in self.begins_with:
                buffer = getattr(self, name)
                buffer.replace(self.first_statistic(name).astype(buffer.dtype))
            self.num_batches_tracked.replace(np.array(0))

    def reset_parameters(self) -> None:
        """Set weight to 1 and bias to 0, and reset the running statistics."""
        super().reset_parameters()
        self.reset_running_stats()

    def uses_batch_statistics(self) -> bool:
        """Return whether the next call normalizes with the statistics of what it is given."""
        wanted = self.training if self.use_batch_statistics is None else self.use_batch_statistics
        return not self.keeps_statistics or (wanted and not self.frozen)

    def updates_running_statistics(self) -> bool:
        """Return whether the next call moves the running statistics."""
        wanted = self.training if self.update_running_statistics is None else self.update_running_statistics
        return self.keeps_statistics and wanted and not self.frozen

    def reads_running_statistics(self) -> bool:
        """Return whether the output of the next call depends on the running statistics."""
        return not self.uses_batch_statistics()

    def normalize(self, x: Tensor, *given: Any) -> Tensor:
        """Normalize with the statistics that the switches choose; then the running ones move, if they are to."""
        self.ranks.add(len(x.shape))
        use, update = self.uses_batch_statistics(), self.updates_running_statistics()
        if self.refuses_infinity and (reads := self.reads_running_statistics()):
            self.check_statistics(reads=reads)
        y = self._call(x, use, update, *given)
        if update and not use:  # this batch did not normalize itself: it is looked at all the same
            with no_grad():
                self._call(x, True, True, *given)
        if update and (self.momentum is not None or 0 not in x.shape):  # a batch of nothing is none in an average
            batches = self.batches_in(x, *given)
            self.num_batches_tracked.raw = np.asarray(launch(np.add, self.num_batches_tracked.raw, batches))
        return y

    def batches_in(self, x: Tensor, *given: Any) -> Any:
        """Return how many batches are counted of x, which is not of nothing: 1, unless what is given says otherwise."""
        return 1

    def check_statistics(self, path: str | None = None, reads: bool = True) -> None:
        """Raise a ValueError that names the path given, or else the call's, if running statistics are infinite.

        Nothing is checked where they are not read; a plan asks that anew each time.
        """
        for name in (each for each in self.begins_with if each not in self.unread):
            path = modes.current_scope() if path is None else path
            cure = "nn.recalibrate(model, loader)" if self.keeps_variance else "reset_running_stats() and train on"
            launch(
                _check_finite,
                f"{type(self).__name__}{f' in {path}' if path else ''}: {name}",
                getattr(self, name).raw,
                cure,
                reads,
            )

    def _fill_in(self, state: dict[str, Any], prefix: str) -> None:
        """Add a count of 0 to running statistics that were saved without one, as by PyTorch before 0.4.1."""
        if self.keeps_statistics and all(f"{prefix}{name}" in state for name in self.begins_with):
            state.setdefault(f"{prefix}num_batches_tracked", 0)

    def _call(self, x: Tensor, use_batch: bool, update: bool, *given: Any) -> Tensor:
        known = update or not use_batch
        running = [getattr(self, name) if known else None for name in self.begins_with]
        momentum = self.momentum
        if momentum is None:  # cumulative: each batch weighs the same
            momentum = late(_share, self.num_batches_tracked.raw) if update else 0.0
        return self.compute(x, running, use_batch, momentum, *given)

    def compute(self, x: Tensor, running: Sequence[Tensor | None], own: bool, momentum: float) -> Tensor:
        """Normalize by x's own statistics, which move the running ones given, or by those; each layer its own way.

        Args:
            x: the input.
            running: the running statistics in the order of `begins_with`, or None for each, where they stay as they
                are and are not looked at.
            own: whether x is normalized by statistics of its own.
            momentum: the weight of the new value.
        """
        raise TypeError(f"{type(self).__name__} defines no compute(x, running, own, momentum)")

    def extra_repr(self) -> str:
        return super().extra_repr() + ", frozen=True" * self.frozen


class RunningMoments(RunningNorm):
    """A norm that keeps the running mean and variance of channels: batch and instance norm."""

    op: ClassVar[Callable[..., Tensor]]
    begins_with: ClassVar[Mapping[str, float]] = MappingProxyType({"running_mean": 0.0, "running_var": 1.0})
    keeps_variance: ClassVar[bool] = True
    num_features: int
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    track_running_stats: bool = True
    _: KW_ONLY
    bias: InitVar[bool] = True

    def inference_moments(self) -> tuple[Array, Array] | None:
        mean, var = (getattr(self, name).raw.astype(np.float64) for name in self.begins_with)
        return mean, np.sqrt(var + self.eps)

    def compute(self, x: Tensor, running: Sequence[Tensor | None], own: bool, momentum: float) -> Tensor:
        """Call the op."""
        return type(self).op(x, *running, self.weight, self.bias, own, momentum, self.eps, self.activation)


class BatchNorm(RunningMoments):
    """Normalize each channel over the batch and all positions; the running statistics serve for inference.

    `norm.frozen = True` uses the running ones in training too, and leaves them alone; `use_batch_statistics` and
    `update_running_statistics`, unless None, override what `train()` and `eval()` say.

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

    def _infers_affinely(self) -> bool:
        return True


class BatchNorm1D(BatchNorm):
    """Batch norm of (N, C) or (N, C, L).

    Example:
        >>> x = np.random.default_rng(0).normal(5, 3, (64, 10))
        >>> y = nn.BatchNorm1D(10, dtype="float64")(Tensor(x)).numpy()
        >>> print(np.abs(y.mean(axis=0)).max() < 1e-6, y.std(axis=0).round(3)[:3])
        True [1. 1. 1.]
    """

    layouts = ("NC", "NCL")


class BatchNorm2D(BatchNorm):
    """Batch norm of (N, C, H, W).

    Example:
        >>> norm = nn.BatchNorm2D(3, activation="relu")
        >>> norm(ops.ones((4, 3, 5, 5))).shape, norm.running_mean
        ((4, 3, 5, 5), Tensor([0.1, 0.1, 0.1]))
        >>> norm.eval()(Tensor(np.full((1, 3, 1, 1), 1.1, "float32"))).numpy().round(3).ravel()
        array([1.054, 1.054, 1.054], dtype=float32)
    """

    layouts = ("NCHW",)


class BatchNorm3D(BatchNorm):
    """Batch norm of (N, C, D, H, W).

    Example:
        >>> nn.BatchNorm3D(3)(ops.ones((2, 3, 4, 5, 5))).shape
        (2, 3, 4, 5, 5)
    """

    layouts = ("NCDHW",)


class InstanceNorm(RunningMoments):
    """Normalize each channel of each image over its positions. Arguments as `BatchNorm2D`, other defaults.

    Source: Ulyanov, Vedaldi and Lempitsky, Instance normalization: the missing ingredient for fast stylization, 2016.
    """

    op = ops.instance_norm
    definition = staticmethod(builtin.normalize)

    affine: bool = False
    track_running_stats: bool = False

    def _infers_affinely(self) -> bool:
        return self.keeps_statistics

    def normalize(self, x: Tensor, *given: Any) -> Tensor:
        """Normalize a batch, or one image, which becomes a batch of one."""
        if len(x.shape) == len(self.layouts[0]):
            return super().normalize(x, *given)
        return super().normalize(ops.expand_dims(x, 0), *given).squeeze(0)


class InstanceNorm1D(InstanceNorm):
    """Instance norm of (N, C, L) or (C, L).

    Example:
        >>> print(nn.InstanceNorm1D(2)(Tensor([[[0.0, 2.0], [10.0, 30.0]]])).numpy().round(3))
        [[[-1.  1.]
          [-1.  1.]]]
    """

    layouts = ("NCL", "CL")


class InstanceNorm2D(InstanceNorm):
    """Instance norm of (N, C, H, W) or (C, H, W).

    Example:
        >>> x = np.random.default_rng(0).normal(5, 3, (2, 3, 8, 8))
        >>> y = nn.InstanceNorm2D(3)(Tensor(x)).numpy()
        >>> print(y.var(axis=(2, 3)).round(3))
        [[1. 1. 1.]
         [1. 1. 1.]]
    """

    layouts = ("NCHW", "CHW")


class InstanceNorm3D(InstanceNorm):
    """Instance norm of (N, C, D, H, W) or (C, D, H, W).

    Example:
        >>> nn.InstanceNorm3D(3)(Tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 4, 4)))).shape
        (2, 3, 4, 4, 4)
    """

    layouts = ("NCDHW", "CDHW")


class LayerNorm(TrailingNorm):
    """Normalize over the trailing axes, for every index before them.

    Args:
        normalized_shape: the lengths of the trailing axes, or one number.
        eps: added to the variance.
        elementwise_affine: whether there is a weight, shape `normalized_shape`.
        bias: whether there is a bias too.

    Source: Ba, Kiros and Hinton, Layer normalization, 2016.

    Example:
        >>> norm = nn.LayerNorm(2)
        >>> print(norm(Tensor([[0.0, 2.0], [10.0, 30.0]])).numpy().round(3))
        [[-1.  1.]
         [-1.  1.]]
        >>> [name for name, _ in norm.named_parameters()]
        ['weight', 'bias']
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

    Example:
        >>> print(nn.LayerNorm2D(2)(Tensor([[[[0.0]], [[2.0]]]])).numpy().round(3).ravel())
        [-1.  1.]
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

    Example:
        >>> print(nn.GroupNorm(2, 4)(Tensor([[0.0, 2.0, 10.0, 30.0]])).numpy().round(3))
        [[-1.  1. -1.  1.]]
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

    Example:
        >>> print(nn.RMSNorm(2)(Tensor([[3.0, 4.0]])).numpy().round(3))  # over √12.5
        [[0.849 1.131]]
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

    Example:
        >>> print(nn.RMSNorm2D(2)(Tensor([[[[3.0]], [[4.0]]]])).numpy().round(3).ravel())
        [0.849 1.131]
    """

    layouts = ("NCHW",)
    definition = staticmethod(builtin.rms_normalize)
    num_channels: int
    eps: float = 1e-6
    affine: bool = True

    def normalize(self, x: Tensor) -> Tensor:
        return ops.rms_norm_2d(x, self.weight, self.eps, self.activation)
