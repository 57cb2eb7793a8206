"""Local response normalization, of AlexNet."""

from __future__ import annotations

from tinygrad_norm import definitions, ops
from tinygrad_norm.nn.op_module import OpModule
from tinygrad_norm.ops.pooling import check_response


class LocalResponseNorm(OpModule, op=ops.local_response_norm):
    """Divide each value by how strongly its neighbours in the channels respond: x / (k + alpha · mean(x²))^beta.

    Args:
        size: over how many channels around it the mean is taken, where those outside are zeros.
        alpha, beta, k: numbers.

    Raises:
        ValueError, TypeError: size is no integer of at least 1, or another is no number.

    Source: Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks, 2012.

    Example:
        >>> norm = nn.LocalResponseNorm(3, alpha=3.0, beta=1.0)
        >>> print(norm(ops.ones((1, 3, 1))).numpy().round(3).ravel())
        [0.333 0.25  0.333]
    """

    definition = staticmethod(definitions.local_response_norm)
    underivable = "the mean of a window is neither a reduction over axes nor a function of each value"
    computed_by = "reads x once forward, once backward"
    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def __post_init__(self) -> None:
        check_response("LocalResponseNorm", self.size, self.alpha, self.beta, self.k)
