"""The pointwise functions: how each is computed, what its derivative is, and how it is written.

Where a function has no derivative, these are those of `ops`, as `derive` tells.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm.definitions import special
from tinygrad_norm.derivation.expression import Expression, number, pointwise

ZERO, ONE, MINUS, HALF = map(number, (0, 1, -1, 0.5))


def plus(x: Expression, y: Expression) -> Expression:
    """x + y; a difference where y has a minus in front."""
    return x - y.inputs[0] if y.op == "negative" else x + y


def over(x: Expression, y: Expression) -> Expression:
    """x / y, with a minus and a number in front of all of it."""
    if x.op == "negative":
        return -over(x.inputs[0], y)
    return x / y


def times(*factors: Expression) -> Expression:
    """The product, with one number, and its sign, in front; what is written as a product stays one."""
    scale, others = 1.0, []
    for factor in factors:
        sign = -1.0 if factor.op == "negative" else 1.0
        bare = factor.inputs[0] if sign < 0 else factor
        if bare.op == "multiply" and bare.inputs[0].op == "number":
            number_in_front, bare = bare.inputs
            sign *= number_in_front.value
        if bare.op == "number":
            scale *= sign * bare.value
        else:
            scale *= sign
            others.append(bare)
    product = others[0] if others else ONE
    for factor in others[1:]:
        product = product * factor
    if abs(scale) != 1:
        product = number(abs(scale)) * product if others else number(abs(scale))
    return -product if scale < 0 else product


def factors(x: Expression) -> list[tuple[Expression, bool]]:
    """What is multiplied in x, and what it is divided by: each part, and whether it is a divisor."""
    if x.op == "multiply":
        return [part for each in x.inputs for part in factors(each)]
    if x.op == "divide":
        return [*factors(x.inputs[0]), (x.inputs[1], True)]
    return [(x, False)]


def product(parts: list[tuple[Expression, bool]]) -> Expression:
    """The factors, divided by each divisor."""
    product = times(*(part for part, divides in parts if not divides))
    return functools.reduce(over, (part for part, divides in parts if divides), product)


def is_centred(x: Expression, axes: frozenset[str]) -> bool:
    """Whether x is e - mean(e), so that its mean over these axes is 0."""
    if x.op != "subtract":
        return False
    e, mean = x.inputs
    return mean.op == "mean" and mean.inputs[0] is e and mean.value == axes


class Rule(NamedTuple):
    """One pointwise function."""

    function: Callable[..., Any]
    """On arrays."""
    back: Callable[..., tuple[Expression | None, ...]]
    """From the gradient of the result, the result and the inputs to the gradient of each input; None for 0."""
    text: str = ""
    """How it is written: {0} and {1} are its inputs. Its name, and they in brackets, unless said."""
    latex: str = ""
    binds: int = 9
    """How closely: a comparison 0, a sum 1, a product 2, a power 3, a function 9."""


def _where(g: Expression, y: Expression, condition: Expression, a: Expression, b: Expression) -> Any:
    return None, pointwise("where", condition, g, ZERO), pointwise("where", condition, ZERO, g)


def _extremum(worse: str) -> Callable[..., Any]:
    def back(g: Expression, y: Expression, a: Expression, b: Expression) -> Any:
        shared = pointwise("where", pointwise("equal", a, b), times(HALF, g), g)  # equal ones share it
        return tuple(pointwise("where", pointwise(worse, *pair), ZERO, shared) for pair in ((a, b), (b, a)))

    return back


def _clip(g: Expression, y: Expression, a: Expression, lowest: Expression, highest: Expression) -> Any:
    above, below = pointwise("greater", pointwise("maximum", a, lowest), highest), pointwise("less", a, lowest)
    return (
        pointwise("where", above, ZERO, pointwise("where", below, ZERO, g)),
        pointwise("where", above, ZERO, pointwise("where", below, g, ZERO)),
        pointwise("where", above, g, ZERO),
    )


def _pow(g: Expression, y: Expression, a: Expression, b: Expression) -> Any:
    """b a^(b - 1), and a^b log(a), where 0 times infinity is 0."""
    if b.op == "number":
        slope = a if b.value == 2 else a ** number(b.value - 1)
        return times(g, b, slope), None
    slope = a ** pointwise("where", pointwise("equal", b, ZERO), ONE, b - ONE)
    positive = pointwise("where", pointwise("greater_equal", b, ZERO), ONE, a)
    log = pointwise("log", pointwise("where", pointwise("equal", a, ZERO), positive, a))
    return times(g, b, slope), times(g, y, log)


def _constant(g: Expression, y: Expression, *inputs: Expression) -> tuple[None, ...]:
    return (None,) * len(inputs)


call = pointwise
RULES: dict[str, Rule] = {
    "add": Rule(np.add, lambda g, y, a, b: (g, g), "{0} + {1}", "{0} + {1}", 1),
    "subtract": Rule(np.subtract, lambda g, y, a, b: (g, times(MINUS, g)), "{0} − {1}", "{0} - {1}", 1),
    "multiply": Rule(np.multiply, lambda g, y, a, b: (times(g, b), times(g, a)), "{0} · {1}", r"{0}\,{1}", 2),
    "divide": Rule(
        np.true_divide,
        lambda g, y, a, b: (over(g, b), times(MINUS, over(times(g, y), b))),
        "{0} / {1}",
        r"\frac{{{0}}}{{{1}}}",
        2,
    ),
    "negative": Rule(np.negative, lambda g, y, a: (times(MINUS, g),), "−{0}", "-{0}", 2),
    "square": Rule(np.square, lambda g, y, a: (times(number(2), g, a),), "{0}²", "{0}^2", 3),
    "pow": Rule(np.power, _pow, "{0}^{1}", "{0}^{{{1}}}", 3),
    "sqrt": Rule(np.sqrt, lambda g, y, a: (over(times(HALF, g), y),), "√({0})", r"\sqrt{{{0}}}"),
    "rsqrt": Rule(
        special.rsqrt,
        lambda g, y, a: (times(number(-0.5), g, y ** number(3)),),
        "1/√({0})",
        r"\frac{{1}}{{\sqrt{{{0}}}}}",
        2,
    ),
    "exp": Rule(np.exp, lambda g, y, a: (times(g, y),), latex=r"\exp\left({0}\right)"),
    "expm1": Rule(np.expm1, lambda g, y, a: (times(g, y + ONE),)),
    "log": Rule(np.log, lambda g, y, a: (over(g, a),)),
    "log1p": Rule(np.log1p, lambda g, y, a: (over(g, a + ONE),)),
    "abs": Rule(np.abs, lambda g, y, a: (times(g, call("sign", a)),), "|{0}|", r"\left|{0}\right|"),
    "sign": Rule(np.sign, _constant),
    "tanh": Rule(np.tanh, lambda g, y, a: (times(g, ONE - call("square", y)),)),
    "sigmoid": Rule(special.sigmoid, lambda g, y, a: (times(g, y, ONE - y),), latex=r"\sigma({0})"),
    "softplus": Rule(special.softplus, lambda g, y, a: (times(g, call("sigmoid", a)),)),
    "erf": Rule(
        special.erf,
        lambda g, y, a: (times(number(2 / math.sqrt(math.pi)), g, call("exp", -call("square", a))),),
    ),
    "ndtr": Rule(
        special.ndtr,
        lambda g, y, a: (
            times(number(1 / math.sqrt(2 * math.pi)), g, call("exp", times(number(-0.5), call("square", a)))),
        ),
        "Φ({0})",
        r"\Phi({0})",
    ),
    "gated": Rule(
        special.gated,
        lambda g, y, a, gate: (times(g, gate), times(g, call("maximum", a, -special.FAR))),
        "{0} · {1}",
        r"{0}\,{1}",
        2,
    ),
    "relu": Rule(special.relu, lambda g, y, a: (call("where", call("less_equal", a, ZERO), ZERO, g),)),
    "maximum": Rule(np.maximum, _extremum("less"), "max({0}, {1})", r"\max({0}, {1})"),
    "minimum": Rule(np.minimum, _extremum("greater"), "min({0}, {1})", r"\min({0}, {1})"),
    "clip": Rule(np.clip, _clip, "clip({0}, {1}, {2})"),
    "where": Rule(np.where, _where),
    "stop_gradient": Rule(special.stop_gradient, lambda g, y, a: (None,), "constant({0})", r"\overline{{{0}}}"),
    **{
        name: Rule(getattr(np, name), _constant, f"{{0}} {sign} {{1}}", f"{{0}} {latex} {{1}}", 0)
        for name, sign, latex in (
            ("equal", "=", "="),
            ("less", "<", "<"),
            ("less_equal", "≤", r"\le"),
            ("greater", ">", ">"),
            ("greater_equal", "≥", r"\ge"),
        )
    },
}
