"""Whether kernels may take a shorter way whose rounding is a little larger: Winograd's convolution is the only one."""

from __future__ import annotations

from tinygrad_norm.launch import depends_on
from tinygrad_norm.settings import Block, Setting

_fast = Setting("tinygrad_norm.fast_math", True)
depends_on(_fast.get)


def fast_math(enabled: bool = True) -> Block:
    """Allow algorithms of fewer operations and larger rounding errors (the default), or with False none of them.

    It concerns float32 convolutions with kernels of 3×3 and a stride of 1 (Winograd's algorithm): their error is within
    2e-5 of the largest output, where the direct one's is within 3e-6.

    Example:
        >>> x, conv = ops.ones((1, 8, 16, 16)), nn.Conv2D(8, 8, 3)
        >>> with fast_math(False):
        ...     y = conv(x)
        >>> print(np.allclose(y.numpy(), conv(x).numpy(), atol=1e-5))
        True
    """
    return Block(_fast, lambda _: enabled)


def is_fast() -> bool:
    """Whether such algorithms are allowed here."""
    return _fast.get()
