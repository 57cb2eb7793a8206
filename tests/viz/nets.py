"""A net of equal blocks, and the outline of one as nested titles."""

from __future__ import annotations

from tinygrad_norm import nn
from tinygrad_norm.viz.parts import Box


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return x + self.norm(self.linear(x))


def net():
    """A layer, three equal blocks, a layer."""
    return nn.Sequential(nn.Linear(6, 4), *[Block(4) for _ in range(3)], nn.Linear(4, 2))


def parts(part):
    """Titles, nested; "× n" where several are one."""
    times = f" × {part.repeats}" if part.repeats > 1 else ""
    return (part.title + times, [parts(p) for p in part.parts]) if isinstance(part, Box) else part.title + times
