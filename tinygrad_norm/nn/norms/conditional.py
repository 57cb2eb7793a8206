"""Norms whose scale and shift follow from a second input: FiLM, AdaIN, conditional batch norm and SPADE."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, InitVar
from typing import Any, NamedTuple

from tinygrad_norm import ops
from tinygrad_norm.checks import check_integer, described
from tinygrad_norm.derivation import builtin
from tinygrad_norm.dtypes import Array, DTypeOrNone, Shape
from tinygrad_norm.launch import launch
from tinygrad_norm.nn.activation import ReLU
from tinygrad_norm.nn.containers import Sequential
from tinygrad_norm.nn.convolution import Conv2D
from tinygrad_norm.nn.normalization import BatchNorm, ChannelNorm, Normalization
from tinygrad_norm.nn.norms.base import FromDefinition
from tinygrad_norm.ops.arguments import check_dtypes, label, shape_dtypes_of
from tinygrad_norm.ops.normalization import norm_with_running
from tinygrad_norm.tensor import Tensor


def modulate(x: Any, scale: Any, shift: Any) -> Any:
    """scale · x + shift."""
    return scale * x + shift


def modulated_norm(x: Any, scale: Any, shift: Any, *, axes: Any, eps: Any = 1e-5) -> Any:
    """scale · (x - mean) / √(var + eps) + shift, and the mean and var."""
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=axes, keepdims=True)
    var = xp.mean(xp.square(x - mean), axis=axes, keepdims=True)
    return scale * (x - mean) / xp.sqrt(var + eps) + shift, mean, var


class Modulation(NamedTuple):
    """What x̂ is multiplied by, and what is added then; each broadcasts against x."""

    scale: Tensor
    shift: Tensor


class Conditional(Normalization):
    """A norm that is called with x and a condition, from which its scale and shift follow.

    The condition is one for each image, or one for the whole batch, whose first axis has length 1.
    """

    takes_condition = True

    def forward(self, x: Tensor, condition: Any = None) -> Tensor:
        """Normalize x, then scale and shift it as the condition says."""
        if not isinstance(getattr(condition, "shape", None), tuple):
            name, got = label(type(self).__name__), "none" if condition is None else described(condition)
            raise TypeError(f"{name}: the inputs are x and a condition, a Tensor or a NumPy array, got {got}")
        return self.run(x, condition)

    def modulation(self, x: Tensor, condition: Any) -> Modulation:
        """Return the scale and the shift of x; each layer defines its own."""
        raise TypeError(f"{type(self).__name__} defines no modulation(x, condition)")

    def check_condition(self, x: Tensor, fits: bool, wanted: str, condition: Any) -> None:
        """Raise a ValueError unless the condition fits, in all but its first axis, which is checked here."""
        if not fits or condition.shape[0] not in (1, x.shape[0]):
            got = f"{condition.dtype} of shape {condition.shape}"
            hint = "one for the whole batch has a first axis of 1"
            raise ValueError(f"{label(type(self).__name__)}: the condition is {wanted}, got {got}; {hint}")


class Labelled(Conditional):
    """The condition is a label or a vector for each image, which a matrix for the scale, and one for the shift, take.

    scale = weight + condition @ condition_weight and shift = bias + condition @ condition_bias, where a label stands
    for its row, as a vector of one 1 would. Both matrices begin with 0.
    """

    num_features: int
    condition_features: int

    def _make(self, shape: Shape, affine: bool, bias: bool, dtype: DTypeOrNone) -> None:
        super()._make(shape, affine, bias, dtype)
        self.condition_weight = self.condition_bias = None
        for name in ("condition_weight", *(["condition_bias"] if bias else [])):
            self.add_parameter(name, (self.condition_features, *shape), 0.0, dtype)

    def modulation(self, x: Tensor, condition: Any) -> Modulation:
        """Return the scale and the shift of each channel of each image, (N, C, 1, ...), or for all, (1, C, 1, ...)."""
        count, n = self.condition_features, x.shape[0]
        labels = condition.dtype.kind in "iu"
        wanted = f"labels of shape ({n},), integers from 0 to {count - 1}, or vectors of shape ({n}, {count})"
        fits = len(condition.shape) == (1 if labels else 2) and condition.shape[1:] == (() if labels else (count,))
        self.check_condition(x, fits and condition.dtype.kind in "iuf", wanted, condition)
        if labels:
            rows = getattr(condition, "raw", condition)
            launch(_check_labels, label(type(self).__name__), rows, count)
        else:
            names, given = ("condition", "condition_weight"), (condition, self.condition_weight)
            check_dtypes(label(type(self).__name__), **dict(zip(names, shape_dtypes_of(*given), strict=True)))
        seen = (condition.shape[0], self.num_features, *(1,) * (len(x.shape) - 2))

        def read(start: Any, matrix: Any) -> Any:
            if matrix is None:
                return 0.0
            found = ops.take(matrix, rows, 0) if labels else ops.matmul(condition, matrix)
            return ops.add(found, start).reshape(seen)

        return Modulation(
            read(1.0 if self.weight is None else self.weight, self.condition_weight),
            read(0.0 if self.bias is None else self.bias, self.condition_bias),
        )


def _check_labels(name: str, labels: Array, count: int) -> None:
    if outside := sorted({*labels[(labels < 0) | (labels >= count)].tolist()}):
        raise ValueError(f"{name}: labels are integers from 0 to {count - 1}, got {outside[0]}")


class FiLM(FromDefinition, ChannelNorm, Labelled):
    """Scale and shift each channel as a condition says: y = scale(c) · x + shift(c), called with x and c.

    scale(c) = weight + c @ condition_weight and shift(c) = bias + c @ condition_bias, where the matrices begin with 0,
    so that at first y is x. A label stands for its row of a matrix.

    Input (N, C, ...), and labels (N,), integers, or vectors (N, condition_features).

    Args:
        num_features: C.
        condition_features: the length of a vector, or the number of classes that labels name.
        affine: whether there are weight and bias, shape (C,); without they are 1 and 0.

    Raises:
        ValueError, TypeError: an argument is out of range; in the call: x or the condition does not fit.

    Source: Perez et al., FiLM: visual reasoning with a general conditioning layer, 2018.

    Example:
        >>> norm = nn.FiLM(2, condition_features=10)
        >>> norm.condition_bias.replace(np.arange(20.0, dtype="float32").reshape(10, 2))
        >>> norm(Tensor([[1.0, 1.0]]), np.array([3]))
        Tensor([[7., 8.]], creator=modulate)
    """

    definition = staticmethod(modulate)
    layouts = ("NC", "NCL", "NCHW", "NCDHW")
    eps = None  # there is no statistic
    num_features: int
    condition_features: int
    affine: bool = True
    _: KW_ONLY
    bias: InitVar[bool] = True

    def normalize(self, x: Tensor, condition: Any = None) -> Tensor:
        return self.derived(x, *self.modulation(x, condition))


class AdaIN(FromDefinition, ChannelNorm, Labelled):
    """Give each channel of each image another mean and deviation: y = scale · (x - mean) / √(var + eps) + shift.

    Without `condition_features`, the second input is features of the style, (N, C, ...), of which each channel gives
    x its mean as the shift and its deviation, √(var + eps), as the scale; there are no parameters. With them, it is
    a vector (N, condition_features), as StyleGAN's latent, or labels (N,), of which scale and shift come as in `FiLM`.

    Input (N, C, ...) with several positions, of which the style need not have as many.

    Args:
        num_features: C.
        condition_features: the length of a vector, or the number of classes that labels name.
        eps: added to each variance.

    Raises:
        ValueError, TypeError: an argument is out of range; in the call: x or the condition does not fit.

    Source: Huang and Belongie, Arbitrary style transfer in real-time with adaptive instance normalization, 2017;
        vectors: Karras, Laine and Aila, A style-based generator architecture for generative adversarial networks, 2019.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, style = (Tensor(rng.normal(mean, 3, (1, 2, 8, 8))) for mean in (0, 7))
        >>> y = nn.AdaIN(2)(x, style)
        >>> np.allclose(y.mean((2, 3)).numpy(), style.mean((2, 3)).numpy())
        True
    """

    definition = staticmethod(modulated_norm)
    layouts = ("NCL", "NCHW", "NCDHW")
    num_features: int
    condition_features: int | None = None  # type: ignore[assignment]
    eps: float = 1e-5

    @property
    def affine(self) -> bool:
        """Whether there are parameters."""
        return self.condition_features is not None

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        if self.affine:
            self.condition_features = check_integer("AdaIN: condition_features", self.condition_features, 1)
        super().__post_init__(dtype, bias)

    def _make(self, shape: Shape, affine: bool, bias: bool, dtype: DTypeOrNone) -> None:
        make = super()._make if affine else super(Labelled, self)._make
        make(shape, affine, bias, dtype)

    def modulation(self, x: Tensor, condition: Any) -> Modulation:
        """Return the scale and the shift of each channel of each image, (N, C, 1, ...), or for all, (1, C, 1, ...)."""
        if self.affine:
            return super().modulation(x, condition)
        n, channels, *positions = x.shape
        wanted = f"features of the style, floats of shape ({n}, {channels}, {', '.join('…' * len(positions))})"
        wanted += ", of several values per channel"
        fits = condition.shape[1:2] == (channels,) and len(condition.shape) == len(x.shape)
        fits = fits and condition.dtype.kind == "f" and math.prod(condition.shape[2:]) > 1
        self.check_condition(x, fits, wanted, condition)
        axes = tuple(range(2, len(x.shape)))
        var = ops.var(condition, axis=axes, keepdims=True)
        return Modulation(ops.sqrt(var + self.eps), ops.mean(condition, axis=axes, keepdims=True))

    def normalize(self, x: Tensor, condition: Any = None) -> Tensor:
        if math.prod(x.shape[2:]) == 1 and x.shape[0]:
            raise ValueError(
                f"{label('AdaIN')}: one value per channel of an image has no variance, got shape {x.shape}"
            )
        y, _ = self.derived_with_statistics(
            x, *self.modulation(x, condition), axes=tuple(range(2, len(x.shape))), eps=self.eps
        )
        return y


class ModulatedBatchNorm(FromDefinition, BatchNorm, Conditional):
    """A batch norm that scales and shifts by what a condition says; running statistics as `BatchNorm2D`.

    Scale and shift differ along the axes that share statistics, so batch norm without them comes first, then they do.
    """

    definition = staticmethod(modulated_norm)
    computed_by = builtin.normalize, modulate

    def normalize(self, x: Tensor, condition: Any = None) -> Tensor:
        return super().normalize(x, self.modulation(x, condition))

    def compute(self, x: Tensor, running: Any, own: bool, momentum: float, modulation: Any = None) -> Tensor:
        """Normalize by the batch's statistics, or by the running ones."""
        normal = norm_with_running("batch_norm", x, running, (None, None), own, momentum, self.eps, None)
        return self.derived(normal, *modulation, definition=modulate)


class ConditionalBatchNorm(ModulatedBatchNorm, Labelled):
    """Batch norm with a weight and a bias for each class, or for each vector; called with x and those.

    y = scale(c) · (x - mean) / √(var + eps) + shift(c), where scale(c) = weight + c @ condition_weight and shift(c) =
    bias + c @ condition_bias. The matrices begin with 0, so that at first it is `BatchNorm2D`, whose state it can take
    (`strict=False`). A label stands for its row of a matrix.

    The condition is labels (N,), integers, or vectors (N, condition_features).

    Args:
        num_features: C.
        condition_features: the length of a vector, or the number of classes that labels name.
        eps, momentum, affine, track_running_stats: as in `BatchNorm2D`.

    Raises:
        ValueError, TypeError: as `BatchNorm2D`; in the call: the condition does not fit.

    Source: labels: Dumoulin, Shlens and Kudlur, A learned representation for artistic style, 2017; vectors: de Vries et
        al., Modulating early visual processing by language, 2017.
    """


class ConditionalBatchNorm1D(ConditionalBatchNorm):
    """Conditional batch norm of (N, C) or (N, C, L).

    Example:
        >>> norm = nn.ConditionalBatchNorm1D(2, condition_features=10)  # ten classes
        >>> print(norm(Tensor([[0.0, 10.0], [2.0, 30.0]]), np.array([3, 7])).numpy().round(3))
        [[-1. -1.]
         [ 1.  1.]]
    """

    layouts = ("NC", "NCL")


class ConditionalBatchNorm2D(ConditionalBatchNorm):
    """Conditional batch norm of (N, C, H, W).

    Example:
        >>> norm = nn.ConditionalBatchNorm2D(3, condition_features=10)
        >>> norm(Tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 4)), dtype="float32"), np.array([3, 7])).shape
        (2, 3, 4, 4)
    """

    layouts = ("NCHW",)


class OfMaps(Conditional):
    """The arguments of a layer whose condition is images."""

    num_features: int
    condition_channels: int
    hidden: int = 128
    kernel_size: int = 3


class SPADE(ModulatedBatchNorm, OfMaps):
    """Batch norm with a weight and a bias for each pixel, which follow from a map of classes, or from other images.

    y = (1 + γ(c)) · (x - mean) / √(var + eps) + β(c), where γ and β are convolutions of a ReLU of a convolution of c,
    which is brought to the height and width of x by its nearest pixels. They have the names of the authors' program.

    Input (N, C, H, W) and (N, condition_channels, H', W').

    Args:
        num_features: C.
        condition_channels: those of c: one for each class, where it tells the class of each pixel.
        hidden: channels between the two convolutions.
        kernel_size: of all three, an odd number.
        eps, momentum, track_running_stats: as in `BatchNorm2D`.
        affine: whether there are a weight and a bias, (C,), in the place of 1 and 0, to which γ and β are added.

    Raises:
        ValueError, TypeError: as `BatchNorm2D` and `Conv2D`; in the call: the condition does not fit.

    Source: Park et al., Semantic image synthesis with spatially-adaptive normalization, 2019.

    Example:
        >>> x = Tensor(np.random.default_rng(0).normal(size=(2, 8, 4, 4)), dtype="float32")
        >>> nn.SPADE(8, condition_channels=3)(x, ops.ones((2, 3, 8, 8))).shape
        (2, 8, 4, 4)
    """

    layouts = ("NCHW",)
    affine: bool = False

    def __post_init__(self, dtype: DTypeOrNone, bias: bool = True) -> None:
        super().__post_init__(dtype, bias)
        self.hidden = check_integer("SPADE: hidden", self.hidden, 1)
        self.kernel_size = check_integer("SPADE: kernel_size", self.kernel_size, 1)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"SPADE: kernel_size is odd, got {self.kernel_size}")

        def convolution(inside: int, outside: int) -> Conv2D:
            return Conv2D(inside, outside, self.kernel_size, padding=self.kernel_size // 2, dtype=dtype)

        self.mlp_shared = Sequential(convolution(self.condition_channels, self.hidden), ReLU())
        self.mlp_gamma = convolution(self.hidden, self.num_features)
        self.mlp_beta = convolution(self.hidden, self.num_features)

    def reset_parameters(self) -> None:
        """Draw the convolutions again, and reset the running statistics."""
        super().reset_parameters()
        for layer in (self.mlp_shared[0], self.mlp_gamma, self.mlp_beta):
            layer.reset_parameters()

    def modulation(self, x: Tensor, condition: Any) -> Modulation:
        """Return the scale and the shift of each pixel, in the shape of x, or of one image for all."""
        n, _, height, width = x.shape
        if not height * width:
            raise ValueError(f"{label('SPADE')}: the input has pixels, got shape {x.shape}")
        shape, channels = condition.shape, self.condition_channels
        fits = len(shape) == 4 and shape[1] == channels and 0 not in shape[2:] and condition.dtype.kind == "f"
        self.check_condition(x, fits, f"images of floats of shape ({n}, {channels}, H, W)", condition)
        resized = condition if shape[2:] == (height, width) else ops.interpolate(condition, (height, width))
        hidden = self.mlp_shared(resized)
        weight, bias = self.affine_parameters()
        ones = (-1, 1, 1)
        return Modulation(
            self.mlp_gamma(hidden) + (weight if isinstance(weight, float) else weight.reshape(ones)),
            self.mlp_beta(hidden) + (bias if isinstance(bias, float) else bias.reshape(ones)),
        )
