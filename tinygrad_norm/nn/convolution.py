"""Conv2D, with PyTorch's arguments, initialization and state_dict keys."""

from __future__ import annotations

from dataclasses import InitVar
from typing import Any, Literal

import numpy as np

from tinygrad_norm import ops
from tinygrad_norm.checks import check_choice, check_integer, check_pair
from tinygrad_norm.dtypes import DTypeOrNone, Pair
from tinygrad_norm.launch import constant
from tinygrad_norm.nn.checks import input_shape
from tinygrad_norm.nn.linear import LinearLayer
from tinygrad_norm.ops.activation import ActivationSpec
from tinygrad_norm.ops.arguments import label
from tinygrad_norm.ops.convolution import Padding, padding_of
from tinygrad_norm.tensor import Tensor

PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""What the border repeats, and what NumPy calls that."""


class Conv2D(LinearLayer):
    """Slide `out_channels` filters over images: at each place, the sum of the products of weight and input, plus bias.

    Weight (out_channels, in_channels / groups, kh, kw) and bias (out_channels,) start uniform within 1 / √fan_in, where
    fan_in = in_channels / groups · kh · kw.
    Input (N, in_channels, H, W) or (in_channels, H, W); output (N, out_channels, H', W') or without the N, where
    H' = (H + padding on both sides - dilation (kh - 1) - 1) // stride + 1, and W' likewise.

    Args:
        in_channels, out_channels: channels of the input and of the output.
        kernel_size, stride, dilation: a number, or one for height and one for width.
        padding: zeros on each side, also as a pair; "same" keeps the size (stride 1 only); "valid" means none.
        groups: into how many groups, with filters of their own, the channels are cut; in_channels is depthwise.
        bias: whether there is one; a batch or instance norm right after the layer takes it out again with the mean.
        padding_mode: what the border holds: "zeros", "reflect", "replicate" or "circular".
        dtype: of the parameters, float32 unless given.
        activation: applied in the same kernel: the name of one, or (name, parameter).

    Raises:
        TypeError: an argument is of another type, or the dtype is not floating.
        ValueError: an argument is out of range, groups do not divide the channels, or the activation is not known.

    Example:
        >>> conv = nn.Conv2D(3, 8, kernel_size=3, padding=1)
        >>> conv(ops.ones((2, 3, 32, 32))).shape, conv.weight.shape
        ((2, 8, 32, 32), (8, 3, 3, 3))
    """

    in_channels: int
    out_channels: int
    kernel_size: int | Pair
    stride: int | Pair = 1
    padding: Padding = 0
    dilation: int | Pair = 1
    groups: int = 1
    bias: InitVar[bool] = True
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros"
    dtype: InitVar[DTypeOrNone] = None
    activation: ActivationSpec = None

    def __post_init__(self, bias: bool, dtype: DTypeOrNone) -> None:
        for name in ("in_channels", "out_channels", "groups"):
            setattr(self, name, check_integer(f"Conv2D: {name}", getattr(self, name), 1))
        kernel = self.kernel_size = check_pair("Conv2D: kernel_size", self.kernel_size, 1)
        stride = self.stride = check_pair("Conv2D: stride", self.stride, 1)
        dilation = self.dilation = check_pair("Conv2D: dilation", self.dilation, 1)
        self._sides = padding_of("Conv2D", self.padding, kernel, stride, dilation)
        if not isinstance(self.padding, str):
            self.padding = check_pair("Conv2D: padding", self.padding, 0)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"Conv2D: groups divide in_channels and out_channels, "
                f"got groups={self.groups} for {self.in_channels} and {self.out_channels}"
            )
        check_choice("Conv2D: padding_mode", self.padding_mode, PADDING_MODES)
        self._make((self.out_channels, self.in_channels // self.groups, *kernel), bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        shape = input_shape(self, x)
        if len(shape) not in (3, 4) or shape[-3] != self.in_channels:
            last = len(shape) in (3, 4) and shape[-1] == self.in_channels
            hint = "; channels come before height and width: x.transpose(0, 3, 1, 2)" if last else ""
            raise ValueError(
                f"{label('Conv2D')}: the input has shape (N, {self.in_channels}, H, W) or "
                f"({self.in_channels}, H, W), got {shape}{hint}"
            )
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            x, padding = self._pad(x), 0
        return ops.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups, self.activation)

    def _pad(self, x: Tensor) -> Tensor:
        """Return x within a border of its own pixels."""
        shape = x.shape
        for axis, sides in zip((-2, -1), self._sides, strict=True):
            length = shape[axis]
            most = {"reflect": length - 1, "circular": length}.get(self.padding_mode, max(sides))
            if max(sides) > most:
                raise ValueError(
                    f"{label('Conv2D')}: padding_mode={self.padding_mode!r} has {most} pixels for the border of an "
                    f"input of shape {shape}, not {max(sides)}"
                )
            if any(sides):
                pixels = np.pad(np.arange(length), sides, mode=PADDING_MODES[self.padding_mode])  # type: ignore[call-overload]
                x = ops.take(x, constant(pixels), axis)
        return x

    def extra_repr(self) -> str:
        words = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        options = {
            "padding": (self.padding, (0, 0)),
            "dilation": (self.dilation, (1, 1)),
            "groups": (self.groups, 1),
            "bias": (self.bias is not None, True),
            "padding_mode": (self.padding_mode, "zeros"),
        }
        words += "".join(f", {name}={value}" for name, (value, usual) in options.items() if value != usual)
        return self._repr(words)
