"""The writer of a norm's kernels, of one way and one kind of reduction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_norm.derivation.adjoints import gradients_of, way_back
from tinygrad_norm.derivation.expression import pointwise
from tinygrad_norm.derivation.kernels import _INNER, _OUTER
from tinygrad_norm.derivation.program import backward, forward
from tinygrad_norm.derivation.trace import trace
from tinygrad_norm.derivation.writer import Writer


def writer(
    definition: Callable[..., Any], outer: bool, back: bool, activation: bool = False, given: tuple[str, ...] = ()
) -> Writer:
    """What writes the kernel that goes there, or back, and applies an activation or none."""
    traced = trace(definition, given)
    way = way_back(traced.y, (traced.x, *traced.parameters))
    program = backward(traced, way, gradients_of(way), outer) if back else None
    if activation:
        traced = traced._replace(y=pointwise("activated", traced.y))
    program = program or forward(traced, way, outer)
    return Writer(traced, [*traced.given, *way.statistics], program, back, _OUTER if outer else _INNER)
