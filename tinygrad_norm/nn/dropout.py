"""Dropout of values, of channels, and of whole branches."""

from __future__ import annotations

from tinygrad_norm import ops
from tinygrad_norm.nn.checks import refuse_inplace
from tinygrad_norm.nn.module import Module
from tinygrad_norm.ops.dropout import check_mode, check_probability
from tinygrad_norm.tensor import Tensor


class Dropout(Module):
    """In training, zero each value with probability p and divide the others by 1 - p; in inference, do nothing.

    It draws from `tinygrad_norm.random.generator()`.

    Raises:
        TypeError: p is no number.
        ValueError: p is outside [0, 1], or `inplace` (there for PyTorch's sake) is True.
    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        refuse_inplace(self, inplace)
        check_probability(type(self).__name__, p)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return ops.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout2D(Dropout):
    """As Dropout, but for whole channels of images (N, C, H, W) or (C, H, W), as neighbouring pixels are alike.

    Source: Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015.
    """

    def forward(self, x: Tensor) -> Tensor:
        return ops.dropout2d(x, self.p, self.training)


class StochasticDepth(Module):
    """As Dropout, but for what a residual branch adds to each image ("row"), or to the whole batch ("batch").

    Raises:
        TypeError: p is no number.
        ValueError: p is outside [0, 1], or the mode is unknown.
    Source: Huang et al., "Deep networks with stochastic depth", ECCV 2016.
    """

    def __init__(self, p: float, mode: str = "row") -> None:
        super().__init__()
        check_mode("StochasticDepth", mode)
        check_probability("StochasticDepth", p)
        self.p, self.mode = p, mode

    def forward(self, x: Tensor) -> Tensor:
        return ops.stochastic_depth(x, self.p, self.mode, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode!r}"
