"""Whether kernels may take a shorter way whose rounding is a little larger: Winograd's convolution is the only one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_fast: ContextVar[bool] = ContextVar("tinygrad_norm.fast_math", default=True)


@contextmanager
def fast_math(enabled: bool = True) -> Iterator[None]:
    """Allow algorithms of fewer operations and larger rounding errors (the default), or with False none of them.

    It concerns float32 convolutions with kernels of 3×3 and a stride of 1 (Winograd's algorithm): their error is within
    2e-5 of the largest output, where the direct one's is within 3e-6.
    """
    token = _fast.set(enabled)
    try:
        yield
    finally:
        _fast.reset(token)


def is_fast() -> bool:
    """Whether such algorithms are allowed here."""
    return _fast.get()
