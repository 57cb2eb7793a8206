"""Dropout of values, of channels, and of whole branches. All draw from `tinygrad_norm.random.generator()`."""

from __future__ import annotations

from dataclasses import InitVar

from tinygrad_norm import ops
from tinygrad_norm.nn.op_module import OpModule
from tinygrad_norm.ops.dropout import check_mode, check_probability
from tinygrad_norm.tensor import Tensor


class Dropout(OpModule, op=ops.dropout):
    """In training, zero each value with probability p and divide the others by 1 - p; in inference, do nothing.

    Raises:
        TypeError: p is no number.
        ValueError: p is outside [0, 1], or `inplace` (there for PyTorch's sake) is True.

    Source: Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, JMLR 2014.

    Example:
        >>> dropout = nn.Dropout(0.5).eval()
        >>> dropout(Tensor([1.0, 2.0]))
        Tensor([1., 2.])
    """

    p: float = 0.5
    inplace: InitVar[bool] = False

    def __post_init__(self, inplace: bool) -> None:
        super().__post_init__(inplace)
        check_probability(type(self).__name__, self.p)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, training=self.training)


class Dropout2D(Dropout, op=ops.dropout2d):
    """As Dropout, but for whole channels of images (N, C, H, W) or (C, H, W), as neighbouring pixels are alike.

    Source: Tompson et al., Efficient object localization using convolutional networks, CVPR 2015.

    Example:
        >>> y = nn.Dropout2D(0.5)(ops.ones((8, 16, 2, 2)))
        >>> bool((y.numpy().std(axis=(2, 3)) == 0).all())  # a channel goes as a whole
        True
    """


class StochasticDepth(OpModule, op=ops.stochastic_depth):
    """As Dropout, but for what a residual branch adds to each image ("row"), or to the whole batch ("batch").

    Raises:
        TypeError: p is no number.
        ValueError: p is outside [0, 1], or the mode is unknown.

    Source: Huang et al., Deep networks with stochastic depth, ECCV 2016.

    Example:
        >>> y = nn.StochasticDepth(0.5)(ops.ones((64, 3)))
        >>> sorted({*map(tuple, y.tolist())})
        [(0.0, 0.0, 0.0), (2.0, 2.0, 2.0)]
    """

    p: float
    mode: str = "row"

    def __post_init__(self) -> None:
        check_mode("StochasticDepth", self.mode)
        check_probability("StochasticDepth", self.p)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, training=self.training)
