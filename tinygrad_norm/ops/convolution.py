"""Convolution of images: at each place of the output, a weighted sum over a window of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from tinygrad_norm import definitions, kernels
from tinygrad_norm.checks import check_integer, check_pair
from tinygrad_norm.dtypes import Array, Pair, Shape
from tinygrad_norm.ops.activation import ActivationSpec, fusible
from tinygrad_norm.ops.arguments import ShapeDtype, cached, check_dtypes, label, shape_dtype_of, shape_dtypes_of
from tinygrad_norm.ops.shape import reshape
from tinygrad_norm.tape import FusedOp

if TYPE_CHECKING:
    from tinygrad_norm.tensor import Tensor

Padding = int | Pair | Literal["same", "valid"]


class ConvolutionSpec(TypedDict):
    """What tells one convolution from another, besides its weight."""

    stride: Pair
    padding: tuple[Pair, Pair]  # (top, bottom), (left, right)
    dilation: Pair
    groups: int
    activation: tuple[str, float] | None


class Conv2D(FusedOp):
    definition = staticmethod(definitions.conv2d)

    def gradient(self, grad: Array, *saved: Array | None) -> tuple[Array | None, ...]:
        return kernels.of(grad).conv2d_gradient(grad, *saved, **self.params, needs=self.needs_input_grad)


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    activation: ActivationSpec = None,
) -> Tensor:
    """Slide the filters of `weight` over images: at each place, the sum of the products of weight and input, plus bias.

    Args:
        x: shape (N, C, H, W), or (C, H, W) for one image.
        weight: shape (O, C / groups, kh, kw): O filters.
        bias: shape (O,), or None.
        stride: by how many pixels the window moves; a number, or one for height and one for width.
        padding: how many zeros on each side, also as a pair; "same": as many as keep the size (stride 1 only; an odd
            one goes to the bottom and the right); "valid": none.
        dilation: the distance in the input between neighbours in the kernel; a number or a pair.
        groups: channels are cut into that many groups, each of which has its own O / groups filters.
        activation: the name of an activation to apply in the same kernel, or (name, parameter).

    Returns:
        Shape (N, O, H', W') where H' = (H + padding - dilation (kh - 1) - 1) // stride + 1, and W' likewise.

    Raises:
        ValueError: the shapes do not fit, an argument is out of range, images are empty, the kernel is larger, or the
            activation is not known.
        TypeError: the dtypes differ, or are no floats; or an argument is of another type.

    Example:
        >>> image = np.arange(9.0).reshape(1, 1, 3, 3)
        >>> ops.conv2d(image, np.ones((1, 1, 2, 2))).numpy()[0, 0]
        array([[ 8., 12.],
               [20., 24.]])
        >>> ops.conv2d(image, np.ones((1, 1, 2, 2)), padding=1, stride=2).shape
        (1, 1, 2, 2)
    """
    given = shape_dtype_of(x)
    if len(given[0]) == 3:
        y = conv2d(reshape(x, (1, *given[0])), weight, bias, stride, padding, dilation, groups, activation)
        return y.reshape(y.shape[1:])
    weight_kind, bias_kind = shape_dtypes_of(weight, bias)
    spec = _spec(given, weight_kind, bias_kind, stride, padding, dilation, groups, activation)
    return Conv2D()(x, weight, bias, **spec)


@cached
def _spec(
    x: ShapeDtype,
    weight: ShapeDtype,
    bias: ShapeDtype | None,
    stride: int | Pair,
    padding: Padding,
    dilation: int | Pair,
    groups: int,
    activation: ActivationSpec,
) -> ConvolutionSpec:
    """Return the arguments of `conv2d`, checked."""
    name, shape, filters = label("conv2d"), x[0], weight[0]
    check_dtypes(name, input=x, weight=weight, bias=bias)
    _check_shapes(name, shape, filters, None if bias is None else bias[0], groups)
    stride, dilation = check_pair(f"{name}: stride", stride, 1), check_pair(f"{name}: dilation", dilation, 1)
    sides = padding_of(name, padding, filters[2:], stride, dilation)
    along = zip(shape[2:], filters[2:], sides, dilation, strict=True)
    if any(n + sum(ends) < d * (k - 1) + 1 for n, k, ends, d in along):
        raise ValueError(
            f"{name}: a kernel of {filters[2:]} with dilation {dilation} does not fit in an input of shape "
            f"{shape} with padding {sides}; use a smaller kernel, more padding, or larger images"
        )
    return ConvolutionSpec(
        stride=stride, padding=sides, dilation=dilation, groups=int(groups), activation=fusible(activation)
    )


def _check_shapes(name: str, shape: Shape, weight: Shape, bias: Shape | None, groups: int) -> None:
    if len(shape) != 4 or len(weight) != 4:
        raise ValueError(
            f"{name}: the input has shape (N, C, H, W) or (C, H, W), and the weight (O, C / groups, kh, kw), "
            f"got {shape} and {weight}"
        )
    if 0 in shape[1:] + weight:
        raise ValueError(f"{name}: images and weight are not empty, got shapes {shape} and {weight}")
    check_integer(f"{name}: groups", groups, 1)
    if shape[1] % groups or weight[0] % groups:
        raise ValueError(
            f"{name}: groups divide the channels of the input and those of the output, got groups={groups} "
            f"for {shape[1]} and {weight[0]}"
        )
    if shape[1] != weight[1] * groups:
        raise ValueError(
            f"{name}: an input of shape {shape} has {shape[1]} channels; a weight of shape {weight} "
            f"with groups={groups} takes {weight[1] * groups}"
        )
    if bias is not None and bias != weight[:1]:
        raise ValueError(f"{name}: bias has shape {weight[:1]} beside a weight of shape {weight}, got {bias}")


def padding_of(name: str, padding: Any, kernel: Shape, stride: Pair, dilation: Pair) -> tuple[Pair, Pair]:
    """Return the zeros on each side, ((top, bottom), (left, right)), from any form of the argument.

    Raises:
        TypeError, ValueError: as `pair`; a word other than "same" and "valid"; "same" with a stride.
    """
    if not isinstance(padding, str):
        height, width = check_pair(f"{name}: padding", padding, 0)
        return (height, height), (width, width)
    if padding not in ("same", "valid"):
        raise ValueError(f"{name}: padding is a number, a pair, 'same' or 'valid', got {padding!r}")
    if padding == "valid":
        return (0, 0), (0, 0)
    if stride != (1, 1):
        raise ValueError(f"{name}: padding='same' keeps the size with a stride of 1, got stride={stride}")
    height, width = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return (height // 2, height - height // 2), (width // 2, width - width // 2)
