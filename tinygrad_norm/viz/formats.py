"""How figures and names are written in pictures, pages and tables: one form for each, wherever it stands."""

from __future__ import annotations

import math

from tinygrad_norm.output import printable

LONGEST = 120
"""Letters of a line in a drawing; nobody could read more, and Graphviz draws no picture as wide as some names."""


def line(text: str) -> str:
    """A name or a fact as one line of a drawing."""
    return printable(text, LONGEST)


def shape(lengths: tuple[int, ...]) -> str:
    """The lengths of a tensor: "2 × 3"."""
    return " × ".join(map(str, lengths)) or "scalar"


def gradient(norm: float) -> str:
    """The norm of a gradient, with three digits."""
    return f"{norm:.3g}"


def flops(count: float) -> str:
    """Floating-point operations with three digits: "1.23 GFLOP"."""
    return f"{scaled(count)}FLOP"


def scaled(number: float) -> str:
    """A number with three digits and a prefix: "1.23 G"."""
    return _in_units(number, ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")))


def seconds(duration: float) -> str:
    """A time with three digits."""
    return _in_units(duration, ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")))


def _in_units(value: float, units: tuple[tuple[float, str], ...]) -> str:
    """A value with three digits, in the first of some units of which it has one, or in the last."""
    rounded = float(f"{value:.3g}")
    factor, unit = next((each for each in units if rounded >= each[0]), units[-1])
    return f"{rounded / factor:.3g} {unit}"


def size(nbytes: float) -> str:
    """Bytes in a unit that leaves at most three digits before the point."""
    if round(nbytes) < 1000:
        return f"{nbytes:.0f} B"
    factor, unit = next((each for each in ((1e3, "kB"), (1e6, "MB")) if round(nbytes / each[0], 1) < 1000), (1e9, "GB"))
    return f"{nbytes / factor:,.1f} {unit}"


def width(nbytes: int) -> float:
    """The width of an arrow with so many bytes, in points: from 100 bytes on each factor of ten adds half a point."""
    return 0.8 + 0.5 * max(0.0, math.log10(max(nbytes, 1)) - 2)
