"""Dropout."""

from __future__ import annotations

from tinygrad_norm import ops
from tinygrad_norm.nn.checks import refuse_inplace
from tinygrad_norm.nn.module import Module
from tinygrad_norm.tensor import Tensor


class Dropout(Module):
    """In training, zero each value with probability p and divide the others by 1 - p; in inference, do nothing.

    It draws from `tinygrad_norm.random.generator()`.

    Raises:
        ValueError: p is outside [0, 1], or `inplace` (there for PyTorch's sake) is True.
    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        refuse_inplace(self, inplace)
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p should be in [0, 1], got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return ops.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"
