"""Normalization: choose the axes whose values share a mean and a variance, subtract, scale, apply weight and bias.

`NORM_RULES` is the table of those choices, and `norm_spec` checks a call against it. The formulas are in
`definitions/normalization.py`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypedDict

import numpy as np

from tinygrad_norm import definitions, kernels
from tinygrad_norm.checks import FRACTION, NOT_NEGATIVE, Range, check_integer, check_number
from tinygrad_norm.dtypes import Array, Shape
from tinygrad_norm.launch import Late, Number, compute, launch, wrote
from tinygrad_norm.operands import as_tensor
from tinygrad_norm.ops.activation import ActivationSpec, activate, fusible
from tinygrad_norm.ops.arguments import ShapeDtype, cached, check_dtypes, label, shape_dtypes_of, without_gradient
from tinygrad_norm.ops.reduction import shape_of
from tinygrad_norm.ops.shape import reshape
from tinygrad_norm.tape import FusedOp

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

_MOMENTUM = Range("the weight of the new value, a number from 0 to 1", FRACTION.test)


class NormSpec(TypedDict):
    """A norm for inputs of one shape."""

    axes: Shape  # their values share a mean and a variance
    view: Shape  # the shape that x is seen in
    affine: Shape  # the shape that weight and bias are seen in, with length 1 where they are shared
    eps: float
    activation: tuple[str, float] | None


class Norm(FusedOp):
    """A definition of normalization, run in the shapes that a NormSpec tells.

    After a call, `statistics` holds the mean and the biased variance (or the mean square), kept as length 1.
    """

    definition: ClassVar[Callable[..., Any]]
    statistics: Sequence[Array]
    options: ClassVar = staticmethod(operator.itemgetter("axes", "eps", "activation"))

    def composed(self, x: Any, *others: Any, **spec: Any) -> Tensor:
        y, *statistics = self._run(definitions, x, *others, **spec)
        self.statistics = [each.raw for each in statistics]
        output: Tensor = y.reshape(x.shape)
        return output

    def forward(self, x: Array, *others: Array | None, **spec: Any) -> Array:
        y, *self.statistics = self._run(kernels.of(x), x, *others, **spec)
        self.save(*self.statistics)
        return y.reshape(x.shape)

    def _run(self, implementation: Any, x: Any, *others: Any, **spec: Any) -> tuple[Any, ...]:
        function = getattr(implementation, self.definition.__name__)
        found = function(*_seen(spec, x, *others), *self.options(spec))
        return found if isinstance(found, tuple) else (found,)

    def gradient(self, grad: Array, *saved: Any, implementation: Any = None) -> tuple[Array | None, ...]:
        """The gradients of the inputs, by the kernel, or by another `implementation` of its name."""
        count = len(self.needs_input_grad)
        function = getattr(implementation or kernels.of(grad), f"{self.definition.__name__}_gradient")
        inputs, dy = saved[:count], grad.reshape(self.params["view"])
        found = function(dy, *_seen(self.params, *inputs), *saved[count:], *self.options(self.params))
        return tuple([None if dx is None else dx.reshape(x.shape) for x, dx in zip(inputs, found, strict=True)])


class BatchNorm(Norm):
    definition = staticmethod(definitions.normalize)


class LayerNorm(Norm):
    definition = staticmethod(definitions.normalize)


class GroupNorm(Norm):
    definition = staticmethod(definitions.normalize)


class InstanceNorm(Norm):
    definition = staticmethod(definitions.normalize)


class RMSNorm(Norm):
    definition = staticmethod(definitions.rms_normalize)


class InferenceNorm(Norm):
    definition = staticmethod(definitions.normalize_inference)
    options = staticmethod(operator.itemgetter("eps", "activation"))


def _seen(spec: Any, x: Any, *others: Any) -> tuple[Any, ...]:
    """x and what goes with its channels or features, in shapes of one rank."""
    return x.reshape(spec["view"]), *[None if each is None else each.reshape(spec["affine"]) for each in others]


class NormRule(NamedTuple):
    """What tells one norm from another."""

    op: type[Norm]
    shapes: Callable[[Shape, Any], tuple[Shape, Shape, Shape]]
    """From the shape of x, and the number of groups or the normalized shape: what a NormSpec begins with."""
    fewest: int = 1  # axes of x
    most: int = 64  # NumPy's arrays have no more
    value: str = ""  # what one value is too few for, where its variance is taken
    hint: str = ""


def _over_channels(*axes: int, positions: bool = True) -> Callable[[Shape, Any], tuple[Shape, Shape, Shape]]:
    """Weight and bias belong to channels; the values along `axes`, and all `positions`, share their statistics."""

    def shapes(shape: Shape, _: Any) -> tuple[Shape, Shape, Shape]:
        others = range(2, len(shape))
        return (*axes, *(others if positions else ())), shape, (1, shape[1], *(1 for _ in others))

    return shapes


def _trailing(shape: Shape, lengths: Shape) -> tuple[Shape, Shape, Shape]:
    """The values along the last axes, which have these lengths, share their statistics."""
    before = len(shape) - len(lengths)
    if not lengths or before < 0 or shape[before:] != lengths:
        raise ValueError(f"normalized_shape is what the input's shape ends in, {shape}, got {lengths}")
    return tuple(range(before, len(shape))), shape, (1,) * before + lengths


def _grouped(shape: Shape, num_groups: int) -> tuple[Shape, Shape, Shape]:
    """The channels of each group, and all positions, share their statistics."""
    if shape[1] % num_groups:
        raise ValueError(f"num_groups is a divisor of the number of channels, {shape[1]}, got {num_groups}")
    view = (shape[0], num_groups, shape[1] // num_groups, *shape[2:])
    return tuple(range(2, len(view))), view, (1, *view[1:3], *(1 for _ in shape[2:]))


NORM_RULES = {
    "batch_norm": NormRule(
        BatchNorm,
        _over_channels(0),
        fewest=2,
        value="channel",
        hint="use a larger batch (DataLoader(drop_last=True) leaves out a short last one), or eval()",
    ),
    "layer_norm": NormRule(LayerNorm, _trailing),
    "layer_norm_2d": NormRule(LayerNorm, _over_channels(1, positions=False), fewest=4, most=4),
    "group_norm": NormRule(GroupNorm, _grouped, fewest=2, value="group", hint="use fewer groups"),
    "instance_norm": NormRule(
        InstanceNorm,
        _over_channels(),
        fewest=3,
        value="channel of an image",
        hint="use larger images, or another norm",
    ),
    "rms_norm": NormRule(RMSNorm, _trailing),
    "rms_norm_2d": NormRule(RMSNorm, _over_channels(1, positions=False), fewest=4, most=4),
}


@cached
def norm_spec(
    name: str,
    size: int | Shape | None,
    eps: float | None,
    activation: ActivationSpec,
    own: bool,
    x: ShapeDtype,
    *given: ShapeDtype | None,
) -> NormSpec:
    """The spec of a call of the norm `name`.

    Args:
        name: a key of `NORM_RULES`.
        size: the number of groups or the normalized shape, for norms that have one.
        eps: None stands for the machine epsilon of the dtype.
        activation: as it was given.
        own: whether x is normalized by statistics of its own.
        x: the shape and dtype of the input.
        given: weight, bias, running mean and running variance, as far as there are any.

    Raises:
        ValueError, TypeError: as in `batch_norm`.
    """
    rule, (shape, dtype) = NORM_RULES[name], x
    affine = dict(zip(("weight", "bias"), given[:2], strict=False))
    running = dict(zip(("running_mean", "running_var"), given[2:], strict=False))
    if not rule.fewest <= len(shape) <= rule.most:
        wanted = f"{rule.fewest}" if rule.fewest == rule.most else f"{rule.fewest} or more"
        raise ValueError(f"{label(name)}: the input has {wanted} axes, got shape {shape}")
    check_dtypes(label(name), input=x, **affine)
    eps = check_number(f"{label(name)}: eps", np.finfo(dtype).eps if eps is None else eps, NOT_NEGATIVE)
    if isinstance(size, int | float | str) or (size is None and rule.shapes is _grouped):
        check_integer(f"{label(name)}: num_groups", size, 1)
    try:
        axes, view, seen = rule.shapes(shape, size)
    except ValueError as error:
        raise ValueError(f"{label(name)}: {error}") from None
    wanted_shape = size if isinstance(size, tuple) else shape[1:2]
    for key, kind in (running | affine).items():
        if kind is not None and kind[0] != wanted_shape:
            raise ValueError(f"{label(name)}: {key} has shape {wanted_shape} beside an input of {shape}, got {kind[0]}")
    for key, kind in running.items():
        if kind is None and not own:
            raise ValueError(f"{label(name)}: inference takes running_mean and running_var, got no {key}")
        if kind is not None and getattr(kind[1], "kind", None) != "f":
            raise TypeError(f"{label(name)}: {key} is an array or a tensor of floats, got one of {kind[1]}")
    if own and rule.value and math.prod([view[axis] for axis in axes]) == 1 and 0 not in shape:
        raise ValueError(f"{label(name)}: one value per {rule.value} has no variance, got shape {shape}; {rule.hint}")
    return {"axes": axes, "view": view, "affine": seen, "eps": eps, "activation": fusible(activation)}


def _norm(name: str, x: Any, size: Any, eps: float | None, activation: ActivationSpec, *affine: Any) -> Tensor:
    """A norm without running statistics."""
    spec = norm_spec(name, size, eps, activation, True, *shape_dtypes_of(x, *affine))
    return _of_nothing(x, spec, *affine) if 0 in spec["view"] else NORM_RULES[name].op()(x, *affine, **spec)


def norm_with_running(
    name: str,
    x: Any,
    running: Sequence[Any],
    affine: Sequence[Any],
    own: bool,
    momentum: Number,
    eps: float,
    activation: ActivationSpec,
    normalize: Callable[[NormSpec], tuple[Tensor, Sequence[Array]]] | None = None,
) -> Tensor:
    """A norm by statistics of its own, which move the running ones, or by those.

    Args:
        name: a key of `NORM_RULES`, whose checks hold.
        x, running, affine, own, momentum, eps, activation: as in `batch_norm`.
        normalize: computes y and its own statistics in another way than the rule's op; or y alone, having moved the
            running statistics itself.
    """
    arrays = _checked_running(name, running, momentum)
    spec = norm_spec(name, None, eps, activation, own, *shape_dtypes_of(x, *affine, *running))
    if 0 in spec["view"]:
        return _of_nothing(x, spec, *affine)
    if not own:
        # As arrays that are nobody's tensor the tape copies them, so they may move on before the way back.
        return InferenceNorm()(x, *arrays, *affine, **spec)
    if normalize is None:
        op = NORM_RULES[name].op()
        y, statistics = op(x, *affine, **spec), op.statistics
    else:
        y, statistics = normalize(spec)
    if statistics and not (running[0] is running[1] is None):
        count = math.prod(y.shape) // statistics[0].size
        move(running, statistics, momentum, (1.0, count / (count - 1)))  # the variance becomes unbiased
    return y


def _of_nothing(x: Any, spec: NormSpec, weight: Any, bias: Any = None) -> Tensor:
    """An empty input after weight and bias alone, which get gradients of 0: of no numbers there are no statistics."""
    _, weight, bias = _seen(spec, x, *[None if each is None else as_tensor(each) for each in (weight, bias)])
    y = reshape(x, spec["view"])
    y = y if weight is None else y * weight
    y = y if bias is None else y + bias
    return activate(y.reshape(shape_of(x)), spec["activation"])


def _checked_running(name: str, running: Sequence[Any], momentum: Number) -> list[Any]:
    """The arrays of running statistics, after the checks of what may change from call to call."""
    arrays = []
    for what, each in zip(("running_mean", "running_var"), running, strict=True):
        if each is not None and not hasattr(each, "dtype"):
            raise TypeError(f"{label(name)}: {what} is an array or a tensor of floats, got {each!r}")
        arrays.append(without_gradient(name, what, each))
    if type(momentum) is not Late and (not isinstance(momentum, float | int) or not 0 <= momentum <= 1):
        check_number(f"{label(name)}: momentum", momentum, _MOMENTUM)
    return arrays


def move(
    running: Sequence[Any], own: Sequence[Array], momentum: Number, factors: Sequence[float] | None = None
) -> None:
    """running = (1 - momentum) running + momentum factor own, in `running`: arrays, or tensors, which get new arrays.

    Args:
        running: mean and variance, or others, each of which may be None.
        own: those of a batch; where there are several of each, their means count.
        momentum: the weight of the new value.
        factors: of each; 1 unless given.
    """
    moved: list[Array | None] = []
    door = launch if type(momentum) is Late else compute  # a launch finds the number anew
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond float32 becomes infinity, and that NaN
        for each, new, factor in zip(running, own, factors or (1.0,) * len(own), strict=True):
            old = np.ndarray.view(each, np.ndarray) if isinstance(each, np.ndarray) else getattr(each, "raw", None)
            moved.append(None if old is None else door(kernels.of(old).moved, old, new, momentum, factor))
    for each in running:
        if isinstance(each, np.ndarray) and not each.flags.writeable:
            raise ValueError("running statistics: the array given cannot be written, so it cannot move; give a copy")
    for each, value in zip(running, moved, strict=True):
        if isinstance(each, np.ndarray):
            launch(np.copyto, each, value)
            wrote(each)
        elif each is not None:
            each.raw = value


def _lengths(name: str, normalized_shape: Any) -> Shape:
    """One length or several, as integers."""
    lengths = normalized_shape if isinstance(normalized_shape, tuple | list) else (normalized_shape,)
    try:
        return tuple(map(operator.index, lengths))  # what equals an integer and is none would be cached as one
    except TypeError:
        raise TypeError(f"{label(name)}: normalized_shape is an integer or several, got {normalized_shape!r}") from None


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: ActivationSpec = None,
) -> Tensor:
    """Normalize each channel over the batch and all positions (training), or with the running statistics.

    Args:
        x: shape (N, C) or (N, C, d1, ...).
        running_mean, running_var: shape (C,), arrays or tensors, or None (training only). In training they move to the
            batch's mean and unbiased variance by `momentum`: running = (1 - momentum) running + momentum batch.
        weight, bias: shape (C,), or None for 1 and 0.
        training: whether to use the batch's statistics.
        momentum: the weight of the new value, 0 to 1.
        eps: added to the variance, not negative.
        activation: the name of an activation to apply in the same kernel, or (name, parameter).

    Raises:
        ValueError: shapes do not fit, a parameter is out of range, or training sees one value per channel. (Of no value
            the output is empty, and running statistics stay.)
        TypeError: the dtypes differ, or are no floats.

    Source: Ioffe and Szegedy, Batch normalization: accelerating deep network training by reducing internal covariate
    shift, 2015.

    Example:
        >>> x, mean, var = np.array([[0.0], [2.0]]), np.zeros(1), np.ones(1)
        >>> print(ops.batch_norm(x, mean, var, training=True).numpy().round(3).ravel())
        [-1.  1.]
        >>> print(mean, var)  # the variance that moved there is the unbiased one, 2
        [0.1] [1.1]
    """
    running, affine = (running_mean, running_var), (weight, bias)
    return norm_with_running("batch_norm", x, running, affine, training, momentum, eps, activation)


def layer_norm(
    x: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    activation: ActivationSpec = None,
) -> Tensor:
    """Normalize over the trailing axes of length `normalized_shape`, for every index before them.

    Args:
        x: shape (..., *normalized_shape).
        normalized_shape: the trailing lengths, or one number.
        weight, bias: shape `normalized_shape`, or None.
        eps, activation: as in `batch_norm`.

    Raises:
        ValueError, TypeError: as in `batch_norm`.

    Source: Ba, Kiros and Hinton, Layer normalization, 2016.

    Example:
        >>> print(ops.layer_norm([[0.0, 2.0], [10.0, 30.0]], 2).numpy().round(3))
        [[-1.  1.]
         [-1.  1.]]
    """
    lengths = _lengths("layer_norm", normalized_shape)
    return _norm("layer_norm", x, lengths, eps, activation, weight, bias)


def layer_norm_2d(
    x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-6, activation: ActivationSpec = None
) -> Tensor:
    """Normalize over the channels at each pixel.

    Args:
        x: shape (N, C, H, W).
        weight, bias: shape (C,), or None.
        eps, activation: as in `batch_norm`.

    Raises:
        ValueError, TypeError: as in `batch_norm`.

    Source: Liu et al., A ConvNet for the 2020s, 2022.

    Example:
        >>> x = np.array([0.0, 2.0]).reshape(1, 2, 1, 1)
        >>> print(ops.layer_norm_2d(x).numpy().round(3).ravel())
        [-1.  1.]
    """
    return _norm("layer_norm_2d", x, None, eps, activation, weight, bias)


def group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, activation: ActivationSpec = None
) -> Tensor:
    """Normalize each image over its positions and the channels of each of `num_groups` groups.

    Args:
        x: shape (N, C, ...).
        num_groups: divides C.
        weight, bias: shape (C,), or None.
        eps, activation: as in `batch_norm`.

    Raises:
        ValueError: as in `batch_norm`; a group of one value is one too (PyTorch returns the bias there if N > 1).
        TypeError: as in `batch_norm`.

    Source: Wu and He, Group normalization, 2018.

    Example:
        >>> x = np.array([[0.0, 2.0, 10.0, 30.0]])
        >>> print(ops.group_norm(x, 2).numpy().round(3))
        [[-1.  1. -1.  1.]]
    """
    return _norm("group_norm", x, num_groups, eps, activation, weight, bias)


def instance_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: ActivationSpec = None,
) -> Tensor:
    """Normalize each channel of each image over its positions, or with the running statistics.

    Args:
        x: shape (N, C, d1, ...).
        running_mean, running_var: as in `batch_norm`; they move to the averages over the batch of each image's.
        weight, bias: shape (C,), or None.
        use_input_stats: whether to use the images' own statistics.
        momentum, eps, activation: as in `batch_norm`.

    Raises:
        ValueError, TypeError: as in `batch_norm`.

    Source: Ulyanov, Vedaldi and Lempitsky, Instance normalization: the missing ingredient for fast stylization, 2016.

    Example:
        >>> x = np.array([[[0.0, 2.0], [10.0, 30.0]]])
        >>> print(ops.instance_norm(x).numpy().round(3))
        [[[-1.  1.]
          [-1.  1.]]]
    """
    running, affine = (running_mean, running_var), (weight, bias)
    return norm_with_running("instance_norm", x, running, affine, use_input_stats, momentum, eps, activation)


def rms_norm(
    x: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    eps: float | None = None,
    activation: ActivationSpec = None,
) -> Tensor:
    """Divide by the root of the mean square over the trailing axes of length `normalized_shape`.

    Args:
        x: shape (..., *normalized_shape).
        normalized_shape: the trailing lengths, or one number.
        weight: shape `normalized_shape`, or None.
        eps: added to the mean square; None: the machine epsilon of x's dtype.
        activation: as in `batch_norm`.

    Raises:
        ValueError, TypeError: as in `batch_norm`.

    Source: Zhang and Sennrich, Root mean square layer normalization, 2019.

    Example:
        >>> print(ops.rms_norm([[3.0, 4.0]], 2).numpy().round(3))  # over √12.5
        [[0.849 1.131]]
    """
    return _norm("rms_norm", x, _lengths("rms_norm", normalized_shape), eps, activation, weight)


def rms_norm_2d(x: Any, weight: Any = None, eps: float = 1e-6, activation: ActivationSpec = None) -> Tensor:
    """Divide by the root of the mean square over the channels at each pixel.

    Args:
        x: shape (N, C, H, W).
        weight: shape (C,), or None.
        eps: added to the mean square.
        activation: as in `batch_norm`.

    Raises:
        ValueError, TypeError: as in `batch_norm`.

    Source: Zhang and Sennrich, Root mean square layer normalization, 2019.

    Example:
        >>> x = np.array([3.0, 4.0]).reshape(1, 2, 1, 1)
        >>> print(ops.rms_norm_2d(x).numpy().round(3).ravel())
        [0.849 1.131]
    """
    return _norm("rms_norm_2d", x, None, eps, activation, weight)
