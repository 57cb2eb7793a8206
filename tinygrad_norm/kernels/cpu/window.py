"""Where the windows of a convolution lie: what its algorithms are told, besides arrays."""

from __future__ import annotations

from typing import NamedTuple

Pair = tuple[int, int]


class Window(NamedTuple):
    """Where the window of each pixel of the output lies."""

    size: Pair
    """The height and the width of the output."""
    kernel: Pair
    start: Pair
    """Where the first window begins."""
    stride: Pair
    dilation: Pair
