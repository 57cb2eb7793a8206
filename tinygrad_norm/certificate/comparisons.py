"""The checks of one case: what is compared with what, by how much it differs, and how much it may."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from tinygrad_norm import modes, tape
from tinygrad_norm.certificate.case import Case, is_differentiated
from tinygrad_norm.certificate.first_order import (
    PRECISIONS,
    at_size,
    compare_all,
    gradients,
    in_layouts,
    repeated,
    subsets,
)
from tinygrad_norm.dtypes import Array
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.testing import Errors, GradientError, compare, compare_with_composition, gradcheck

VALUE, FIRST, SECOND = [
    f"fused against composed: {what}" for what in ("value", "first derivative", "second derivative")
]
DIFFERENCES = [f"against finite differences: {what} derivative" for what in ("first", "second")]
EXACT = [
    f"against extended precision: {what}"
    for what in ("value", "first derivative", "second derivative", "third derivative")
]
LARGER = "larger inputs: first derivative"
OTHER_LAYOUTS = "other memory layouts: first derivative"
SOME = "each choice of wanted gradients"
REPEATED = "going back twice, nothing changed"
FLOAT32 = "float32 against float64"
CONSTANT = "constant input, fused against composed"
LARGE_MEAN = "large mean, float32 against float64"
BY_DESIGN = "published gradient beside the derivative"
ROWS = (
    VALUE,
    FIRST,
    SECOND,
    *DIFFERENCES,
    *EXACT,
    LARGER,
    OTHER_LAYOUTS,
    SOME,
    REPEATED,
    FLOAT32,
    CONSTANT,
    LARGE_MEAN,
)
SAME, MEAN = 0.75, 1000.0  # a constant that sums up without rounding; a mean at which E[x²] - E[x]² has no digit left
FAR = 1e30

Compare = Callable[[Case, Errors], object]


@dataclass(frozen=True)
class Deviation:
    """By how much one case differs in one check, and how much it may.

    `message` says what is wrong, if anything; `skipped`, that the numbers are beyond float32 and were not compared.
    """

    row: str
    case: str
    error: float = 0.0
    bound: float = 0.0
    message: str = ""
    skipped: bool = False


class BeyondFloat32Error(Exception):
    """What is right does not fit float32."""


def findings(case: Case) -> Iterator[Deviation]:
    """Yield what all checks that make sense for a case find."""
    if case.differs_by_design:
        yield from _found(case, partial(_composition, order=0), VALUE)
        yield Deviation(BY_DESIGN, case.name, _distance(case))
        for check, row in ((in_layouts, OTHER_LAYOUTS), (subsets, SOME), (repeated, REPEATED)):
            yield from _found(case, check, row)
        return
    compared = case.is_fused and not case.larger
    if compared:
        yield from _found(case, _composition, VALUE, FIRST, SECOND)
        yield from _found(_replaced(case, lambda x: np.full_like(x, SAME)), _constant, CONSTANT)
        large_mean = partial(_compare_precisions, rtol=1e-3, atol=1e-4)
        yield from _found(_replaced(case, lambda x: x + MEAN), large_mean, LARGE_MEAN)
    if case.larger:
        yield from _found(case, at_size, LARGER)
    else:
        yield from _found(case, _differences, DIFFERENCES[0], *DIFFERENCES)
        if case.exact:
            yield from _found(case, _extended_precision, *EXACT)
    yield from _found(case, in_layouts, OTHER_LAYOUTS)
    yield from _found(case, subsets, SOME)
    yield from _found(case, repeated, REPEATED)
    yield from _found(case, partial(_compare_precisions, rtol=1e-5, atol=1e-6), FLOAT32)


def kills(case: Case) -> list[str]:
    """Return which checks of first derivatives refuse a case: "composition", "differences", both or none.

    Where these two see nothing: "layouts", "repeated", both or none.
    """
    plain: dict[str, Compare] = {"differences": partial(_differences, order=1)}
    if case.is_fused:
        plain["composition"] = partial(_composition, order=1)
    return _refusing(case, plain) or _refusing(case, {"layouts": in_layouts, "repeated": repeated})


def _refusing(case: Case, checks: dict[str, Compare]) -> list[str]:
    refusing = []
    for name, check in checks.items():
        try:
            check(case, {})
        except GradientError:
            refusing.append(name)
    return refusing


def _found(case: Case, check: Compare, *rows: str) -> Iterator[Deviation]:
    """Yield the findings of a check: one for each comparison, and one for what it raises besides.

    `rows` are those of the output and of first, second, … derivatives, or one for all.
    """
    errors: Errors = {}
    message, told, row = "", False, rows[0]
    try:
        check(case, errors)
    except BeyondFloat32Error:
        yield Deviation(row, case.name, skipped=True)
        return
    except Exception as error:  # whatever the function raises is a finding about it
        message = str(error) if isinstance(error, GradientError) else f"{type(error).__name__}: {error}"
    for what, (largest, bound) in errors.items():
        order = int(what.split()[1][0]) if what.startswith("derivative ") and len(rows) > 1 else 0
        row, wrong = rows[order], largest > bound
        yield Deviation(row, case.name, largest, bound, message if wrong else "")
        told |= wrong
    if message and not told:
        yield Deviation(row, case.name, math.inf, 0.0, message)


def _distance(case: Case) -> float:
    """Return how far gradients are from the derivatives of the composition, relative to these: that of the farthest."""
    _, found = gradients(case, case.leaves())
    with modes.composed():
        _, right = gradients(case, case.leaves())
    far = [float(np.linalg.norm(one - other)) for one, other in zip(found, right, strict=True)]
    return max(each / max(float(np.linalg.norm(other)), 1e-300) for each, other in zip(far, right, strict=True))


def _composition(case: Case, errors: Errors, order: int = 2) -> None:
    compare_with_composition(case.call, case.leaves(), order=order, errors=errors)


def _differences(case: Case, errors: Errors, order: int = 2) -> None:
    gradcheck(case.call, case.leaves(), order=order, errors=errors)


def _extended_precision(case: Case, errors: Errors) -> None:
    """Compare value and derivatives, each of a weighed one before, with those of the definition in decimals."""
    assert case.exact is not None
    leaves, rng = case.leaves(), np.random.default_rng([3, 7919])
    wanted = [i for i, given in enumerate(case.inputs) if is_differentiated(given)]
    output = case.call(*leaves)
    compare("the output", output.raw, case.exact.values(case.inputs), *PRECISIONS["float64"], errors)
    directions = [[rng.standard_normal(output.shape)]]
    total: Any = (output * directions[0][0]).sum()
    for order in range(1, len(EXACT)):
        found: Sequence[Tensor | None] = [None] * len(wanted)
        if getattr(total, "requires_grad", False):  # it is a number where no derivative is left
            found = tape.grad(total, [leaves[i] for i in wanted], create_graph=True, allow_unused=True)
        expected = case.exact.derivatives(case.inputs, directions, wanted)
        for i, one, other in zip(wanted, found, expected, strict=True):
            gradient = np.zeros_like(other) if one is None else one.raw
            compare(f"derivative {order} of input {i}", gradient, other, *PRECISIONS["float64"], errors)
        directions.append([rng.standard_normal(case.inputs[i].shape) for i in wanted])
        parts = [(one * along).sum() for one, along in zip(found, directions[-1], strict=True) if one is not None]
        total = sum(parts[1:], parts[0]) if parts else 0.0


def _constant(case: Case, errors: Errors) -> None:
    output, found = gradients(case, case.leaves())
    with modes.composed():
        defined, expected = gradients(case, case.leaves())
    if not np.isfinite(output.raw).all():
        raise GradientError("the output holds NaN or infinity")
    compare("the output", output.raw, defined.raw, 1e-9, 1e-11, errors)
    compare_all(found, expected, 1e-9, 1e-11, errors)


def _replaced(case: Case, change: Callable[[Array], Array]) -> Case:
    """Return the case with another first input."""
    first = next(i for i, given in enumerate(case.inputs) if is_differentiated(given))
    return replace(case, inputs=(*case.inputs[:first], change(case.inputs[first]), *case.inputs[first + 1 :]))


def _compare_precisions(case: Case, errors: Errors, rtol: float, atol: float) -> None:
    """Compare a case in float32 as it runs with the same in float64 as it is defined."""
    rounded = [
        given.astype(np.float32).astype(np.float64) if is_differentiated(given) else given for given in case.inputs
    ]
    same = replace(case, inputs=tuple(rounded))
    with modes.composed():
        defined, expected = gradients(same, same.leaves())
    if not all(np.isfinite(array).all() and np.abs(array).max(initial=0) < FAR for array in (defined.raw, *expected)):
        raise BeyondFloat32Error
    output, found = gradients(same, same.leaves("float32"))
    if output.dtype != np.float32:
        raise GradientError(f"the output for float32 is {output.dtype}")
    compare("the output", output.raw, defined.raw, rtol, atol, errors)
    compare_all(found, expected, rtol, atol, errors)
