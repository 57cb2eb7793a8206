"""Expressions: what a definition computes, traced with symbols in the place of arrays.

An expression is a function of others, pointwise or a reduction over named axes. It stays as it was written: nothing is
expanded or put into another order. Two that are alike are one object, so that what is computed twice is known.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Container, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinygrad_norm.checks import described

_namespace: ModuleType

tracing: ContextVar[bool] = ContextVar("tinygrad_norm.tracing", default=False)
"""Whether a definition runs, in which == compares values."""

written: ContextVar[dict[tuple[str, int], Expression] | None] = ContextVar("tinygrad_norm.written", default=None)
"""The last function of each element that a definition being traced has made in a line of a file, while one is."""

_FOLDER = str(Path(__file__).parent)

REDUCTIONS = ("mean", "sum", "max", "min")


@dataclass(frozen=True, eq=False)
class Expression:
    """A number, a symbol, or a function of other expressions.

    Args:
        op: "number", "x", "parameter", "data", "option", "axes", a reduction, or a name of `rules.RULES`.
        inputs: what it is a function of.
        value: the number, the name of a symbol, or the names of the axes that a reduction goes over.
        reduced: the names of the axes along which it has length 1, unlike x.
    """

    op: str
    inputs: tuple[Expression, ...] = ()
    value: Any = None
    reduced: frozenset[str] = frozenset()

    dtype = np.dtype(np.float32)
    """The dtype that a definition is told: it is computed in float64 all the same."""

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return _namespace

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Expression:
        """Let numbers of NumPy's do arithmetic with it, and refuse NumPy's functions."""
        name = {"true_divide": "divide", "power": "pow"}.get(ufunc.__name__, ufunc.__name__)
        if method == "__call__" and name in ("add", "subtract", "multiply", "divide", "pow", "greater", "less"):
            return pointwise(name, *inputs)
        raise _takes_arrays(ufunc.__name__)

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> Any:
        raise _takes_arrays(function.__name__)

    def _no_array(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            "a definition's values are no arrays and no numbers yet; take functions from xp = x.__array_namespace__()"
        )

    __array__ = __float__ = __int__ = __index__ = __complex__ = __round__ = __trunc__ = __floor__ = __ceil__ = _no_array

    def _no_parts(self, *_: Any) -> Any:
        raise TypeError("a definition sees no shape of its values and takes no parts of them; it reduces over axes")

    __len__ = __getitem__ = _no_parts

    def _no_operator(self, *_: Any) -> Any:
        raise TypeError("a definition has +, -, *, /, ** and comparisons, and where() for what & and | would tell")

    __matmul__ = __rmatmul__ = __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = __divmod__ = _no_operator
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __invert__ = _no_operator

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no x.{name} in a definition; functions are those of x.__array_namespace__()")

    def __repr__(self) -> str:
        return str(self.value) if self.op in ("x", "parameter", "data", "option", "axes", "number") else f"{self.op}(…)"

    def __iter__(self) -> Iterator[Expression]:
        """The axes that an option names, as one symbol."""
        if self.op != "option":
            raise TypeError(f"{self!r} has no parts that a definition could name")
        yield symbol("axes", self.value)

    def __bool__(self) -> bool:
        raise TypeError("a definition does not branch on values; use where()")

    def __add__(self, other: Any) -> Expression:
        return pointwise("add", self, other)

    def __radd__(self, other: Any) -> Expression:
        return pointwise("add", other, self)

    def __sub__(self, other: Any) -> Expression:
        return self if other is number(0) else pointwise("subtract", self, other)

    def __rsub__(self, other: Any) -> Expression:
        return pointwise("subtract", other, self)

    def __mul__(self, other: Any) -> Expression:
        return pointwise("multiply", self, other)

    def __rmul__(self, other: Any) -> Expression:
        return pointwise("multiply", other, self)

    def __truediv__(self, other: Any) -> Expression:
        return pointwise("divide", self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return pointwise("divide", other, self)

    def __pow__(self, other: Any) -> Expression:
        return pointwise("pow", self, other)

    def __rpow__(self, other: Any) -> Expression:
        return pointwise("pow", other, self)

    def __pos__(self) -> Expression:
        return self

    def __abs__(self) -> Expression:
        return pointwise("abs", self)

    def __neg__(self) -> Expression:
        return pointwise("negative", self)

    def _changed(self, other: Any) -> Expression:
        raise TypeError("a definition writes nothing in place, which would change what it is given; write y = y + w")

    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ipow__ = _changed

    def __gt__(self, other: Any) -> Expression:
        return pointwise("greater", self, other)

    def __eq__(self, other: object) -> Any:
        return pointwise("equal", self, other) if tracing.get() else self is other

    def __ne__(self, other: object) -> Any:
        if tracing.get():
            raise TypeError("a definition has no !=; use where() of ==")
        return self is not other

    __hash__ = object.__hash__

    def __ge__(self, other: Any) -> Expression:
        return pointwise("greater_equal", self, other)

    def __le__(self, other: Any) -> Expression:
        return pointwise("less_equal", self, other)

    def __lt__(self, other: Any) -> Expression:
        return pointwise("less", self, other)


def register_namespace(namespace: ModuleType) -> None:
    """Make `namespace` what definitions find their functions in. symbols.py calls this, once."""
    global _namespace
    _namespace = namespace


def _takes_arrays(name: str) -> TypeError:
    """The error about a function of NumPy's, or of another library's, with what a definition has in its place."""
    known = {"absolute": "abs", "power": "pow", "true_divide": "divide"}.get(name, name)
    try:
        getattr(_namespace, known)
        hint = f"write xp.{known}, of xp = x.__array_namespace__()"
    except AttributeError as error:
        hint = str(error)
    return TypeError(f"{'np.' * hasattr(np, name)}{name} takes arrays; {hint}")


def number(value: Any) -> Expression:
    """A constant.

    Raises:
        TypeError: it is no number, as an array is none.
    """
    if not (isinstance(value, Real) or (isinstance(value, np.ndarray) and not value.ndim)):
        raise TypeError(f"a definition takes numbers beside its values, got {described(value)}; give it as a parameter")
    return _interned("number", (), float(value), frozenset(ALL))


ALL = ("*",)
"""Stands in `reduced` for every axis: what a number, an option or a scalar parameter has."""


def _interned(op: str, inputs: tuple[Expression, ...], value: Any, reduced: frozenset[str]) -> Expression:
    key = op, tuple(map(id, inputs)), id(value) if isinstance(value, Expression) else value, reduced
    with _lock:
        return _known.setdefault(key, Expression(op, inputs, value, reduced))


_known: dict[Any, Expression] = {}
_lock = threading.Lock()


def symbol(kind: str, name: str) -> Expression:
    """x, a parameter, or an option such as eps."""
    return _interned(kind, (), name, frozenset(ALL) if kind in ("option", "axes", "given") else frozenset())


def adjoint_of(statistic: Expression) -> Expression:
    """The symbol for what comes back to a statistic."""
    return _interned("adjoint", (), statistic, statistic.reduced)


def count(axes: frozenset[str]) -> Expression:
    """How many values lie along these axes."""
    return _interned("count", (), axes, frozenset(ALL))


def made(op: str, inputs: tuple[Expression, ...] = (), value: Any = None) -> Expression:
    """What loops make on the way to a statistic, see `lowering.py`."""
    return _interned(op, inputs, value, frozenset(ALL))


def pointwise(op: str, *inputs: Any) -> Expression:
    """A function of each element."""
    given = tuple(each if isinstance(each, Expression) else number(each) for each in inputs)
    found = _interned(op, given, None, _common(each.reduced for each in given))
    if (lines := written.get()) is not None:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_FOLDER):
            frame = frame.f_back
        lines[frame.f_code.co_filename, frame.f_lineno] = found
    return found


def _common(parts: Iterable[frozenset[str]]) -> frozenset[str]:
    """The axes along which all have length 1."""
    known = [part for part in parts if "*" not in part]
    return frozenset.intersection(*known) if known else frozenset(ALL)


def reduction(op: str, x: Expression, axes: frozenset[str]) -> Expression:
    """A reduction over axes, which keep the length 1; over those that have it already it changes nothing."""
    left = frozenset() if "*" in x.reduced else axes - x.reduced
    if not left:
        return x
    return _interned(op, (x,), left, x.reduced | left)


def walk(*roots: Expression, known: Container[Expression] = ()) -> Iterator[Expression]:
    """Every expression that the roots are made of, inputs first, each once; and nothing of what is known."""
    seen: set[Expression] = set()
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(each, False) for each in reversed(node.inputs)] if node not in known else []
