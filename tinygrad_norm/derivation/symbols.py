"""The namespace of symbols: the functions that a definition finds in `x.__array_namespace__()` when it is traced."""

from __future__ import annotations

import inspect
import sys
from contextvars import ContextVar
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from tinygrad_norm.checks import did_you_mean, refuse_unknown
from tinygrad_norm.derivation.expression import REDUCTIONS, Expression, pointwise, reduction, register_namespace
from tinygrad_norm.derivation.rules import RULES, ZERO, is_centred

float32, float64 = np.dtype(np.float32), np.dtype(np.float64)


def astype(x: Expression, dtype: Any, copy: bool = True) -> Expression:
    """Return x: a derived norm is computed in float64 throughout."""
    return x


created: ContextVar[dict[Expression, tuple[str, int]]] = ContextVar("tinygrad_norm.reductions")
"""The reductions that the definition being traced has made, and the file and the line where it did."""


def _reduce(op: str, x: Expression, axis: Any = None, keepdims: bool = False, **unknown: Any) -> Expression:
    """Return a reduction over an option that names axes, or over several, as (*batch, *pixels).

    Raises:
        TypeError: the axes are no options of the definition, or would be left out.
    """
    refuse_unknown(op, unknown, ("axis", "keepdims"))
    named = axis if isinstance(axis, tuple) else (axis,)
    kind = "axes" if isinstance(axis, tuple) else "option"
    if not keepdims or not all(isinstance(each, Expression) and each.op == kind for each in named):
        raise TypeError(
            f"{op} takes axis=, an option of the definition or several, as (*batch, *pixels), and keepdims=True, got "
            f"axis={axis!r}, keepdims={keepdims}"
        )
    axes = frozenset(each.value for each in named)
    if op == "mean" and is_centred(x, axes):  # some take it all the same, for the rounding of a large mean
        return ZERO
    found, caller = reduction(op, x, axes), sys._getframe(1)
    if found is not x:
        created.get().setdefault(found, (caller.f_code.co_filename, caller.f_lineno))
    return found


def clip(x: Any, min: Any = None, max: Any = None) -> Expression:
    """Return x kept between two bounds, or one; None for no bound."""
    if max is None:
        return x if min is None else pointwise("where", pointwise("less", x, min), min, x)
    return pointwise("where", pointwise("greater", x, max), max, x) if min is None else pointwise("clip", x, min, max)


def _pointwise(name: str, *inputs: Any, **unknown: Any) -> Expression:
    """Return a function of each element.

    Raises:
        TypeError: it has another number of inputs, or one that is no value.
    """
    rule = RULES[name]
    count = getattr(rule.function, "nin", 0) or len(inspect.signature(rule.back).parameters) - 2
    if len(inputs) != count or unknown:
        told = ", ".join([*map(repr, inputs), *(f"{key}={value!r}" for key, value in unknown.items())])
        raise TypeError(f"{name} takes {count} value{'s' * (count > 1)}, got {told or 'none'}")
    for each in inputs:
        if not isinstance(each, Expression | Real):
            raise TypeError(f"{name} takes values of the definition and numbers, got {type(each).__name__}")
    return pointwise(name, *inputs)


INSTEAD = {
    "var": "take mean(square(x - mean(x)))",
    "std": "take sqrt(mean(square(x - mean(x))) + eps)",
    "amax": "take max",
    "amin": "take min",
    "norm": "take sqrt(sum(square(x)))",
    "shape": "functions of xp = x.__array_namespace__() need none",
}
"""What is taken in the place of functions that a definition does not have."""


def __getattr__(name: str) -> Any:
    if name in REDUCTIONS:
        return partial(_reduce, name)
    if name in RULES:
        return partial(_pointwise, name)
    known = sorted([*RULES, *REDUCTIONS])
    hint = f"; {INSTEAD[name]}" if name in INSTEAD else did_you_mean(name, known)
    raise AttributeError(f"a definition has no function {name!r}; it has {', '.join(known)}{hint}")


register_namespace(sys.modules[__name__])
