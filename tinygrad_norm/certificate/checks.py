"""The checks of one case: what is compared with what, by how much it differs, and how much it may."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_norm import tape
from tinygrad_norm.certificate.case import Case, is_differentiated
from tinygrad_norm.tape import Array
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.testing import Errors, GradientError, compare, compare_with_composition, gradcheck

VALUE, FIRST, SECOND = [
    f"fused against composed: {what}" for what in ("value", "first derivative", "second derivative")
]
DIFFERENCES = [f"against finite differences: {what} derivative" for what in ("first", "second")]
FLOAT32 = "float32 against float64"
CONSTANT = "constant input, fused against composed"
LARGE_MEAN = "large mean, float32 against float64"
ROWS = (VALUE, FIRST, SECOND, *DIFFERENCES, FLOAT32, CONSTANT, LARGE_MEAN)
SAME, MEAN = 0.75, 1000.0  # a constant that sums up without rounding; a mean at which E[x²] - E[x]² has no digit left
FAR = 1e30


@dataclass(frozen=True)
class Finding:
    """By how much one case differs in one check, and how much it may; `message` says what is wrong, if anything."""

    row: str
    case: str
    error: float
    bound: float
    message: str = ""


def findings(case: Case) -> Iterator[Finding]:
    """What all checks that make sense for a case find."""
    fused = case.is_fused
    if fused:
        yield from _found(case, _composition, _composition_row, VALUE)
    yield from _found(case, _differences, _differences_row, DIFFERENCES[0])
    yield from _found(case, _float32, lambda _: FLOAT32, FLOAT32)
    if fused:
        yield from _found(case, _constant, lambda _: CONSTANT, CONSTANT)
        yield from _found(case, _large_mean, lambda _: LARGE_MEAN, LARGE_MEAN)


def notices(case: Case) -> list[str]:
    """Which checks of first derivatives refuse a case: "composition", "differences", both or none."""
    refusing = []
    checks: dict[str, Callable[[], object]] = {
        "differences": lambda: gradcheck(case.call, case.leaves()),
    }
    if case.is_fused:
        checks["composition"] = lambda: compare_with_composition(case.call, case.leaves(), order=1)
    for name, check in checks.items():
        try:
            check()
        except GradientError:
            refusing.append(name)
    return refusing


def gradients(case: Case, inputs: list[Any]) -> tuple[Tensor, list[Array]]:
    """The output, and the gradients of the inputs that want one, under a random cotangent."""
    output = case.call(*inputs)
    leaves = [given for given in inputs if isinstance(given, Tensor)]
    if not output.requires_grad:
        return output, [np.zeros_like(leaf.raw) for leaf in leaves]
    weights = np.random.default_rng([1, 7919]).standard_normal(output.shape).astype(output.dtype)
    found = tape.grad(output, leaves, weights, allow_unused=True)
    return output, [np.zeros_like(x.raw) if g is None else g.raw for x, g in zip(leaves, found, strict=True)]


def _found(
    case: Case, check: Callable[[Case, Errors], None], row_of: Callable[[str], str], first: str
) -> Iterator[Finding]:
    """The findings of a check: one for each comparison, and one for what it raises besides."""
    errors: Errors = {}
    message = ""
    try:
        check(case, errors)
    except Exception as error:  # whatever the function raises is a finding about it
        message = str(error) if isinstance(error, GradientError) else f"{type(error).__name__}: {error}"
    told = False
    for what, (largest, bound) in errors.items():
        wrong = largest > bound
        told |= wrong
        yield Finding(row_of(what), case.name, largest, bound, message if wrong else "")
    if message and not told:
        reached = [row_of(what) for what in errors]
        yield Finding(reached[-1] if reached else first, case.name, math.inf, 0.0, message)


def _composition(case: Case, errors: Errors) -> None:
    compare_with_composition(case.call, case.leaves(), errors=errors)


def _composition_row(what: str) -> str:
    return VALUE if what == "the output" else FIRST if what.startswith("derivative 1") else SECOND


def _differences(case: Case, errors: Errors) -> None:
    gradcheck(case.call, case.leaves(), order=2, errors=errors)


def _differences_row(what: str) -> str:
    return DIFFERENCES[not what.startswith("derivative 1")]


def _float32(case: Case, errors: Errors) -> None:
    _compare_precisions(case, case.inputs, 1e-5, 1e-6, errors)


def _constant(case: Case, errors: Errors) -> None:
    inputs = _replaced(case, lambda x: np.full_like(x, SAME)).leaves()
    found = gradients(case, inputs)
    with tape.composed():
        expected = gradients(case, inputs)
    if not np.isfinite(found[0].raw).all():
        raise GradientError("the output holds NaN or infinity")
    _compare_all(found, expected, 1e-9, 1e-11, errors)


def _large_mean(case: Case, errors: Errors) -> None:
    _compare_precisions(case, _replaced(case, lambda x: x + MEAN).inputs, 1e-3, 1e-4, errors)


def _replaced(case: Case, change: Callable[[Array], Array]) -> Case:
    """The case with another first input."""
    first = next(i for i, given in enumerate(case.inputs) if is_differentiated(given))
    inputs = (*case.inputs[:first], change(case.inputs[first]), *case.inputs[first + 1 :])
    return Case(case.name, case.function, inputs)


def _compare_precisions(case: Case, inputs: tuple[Any, ...], rtol: float, atol: float, errors: Errors) -> None:
    """In float32 as it runs, and in float64 as it is defined, on the same numbers."""
    rounded = tuple(
        given.astype(np.float32).astype(np.float64) if is_differentiated(given) else given for given in inputs
    )
    same = Case(case.name, case.function, rounded)
    with tape.composed():
        expected = gradients(same, same.leaves())
    if not all(
        np.isfinite(array).all() and np.abs(array).max(initial=0) < 1e30 for array in (expected[0].raw, *expected[1])
    ):
        return  # beyond float32
    found = gradients(same, same.leaves("float32"))
    if found[0].dtype != np.float32:
        raise GradientError(f"the output for float32 is {found[0].dtype}")
    _compare_all(found, expected, rtol, atol, errors)


def _rounded(given: Any) -> Any:
    return given.astype(np.float32).astype(np.float64) if is_differentiated(given) else given


def _compare_all(
    found: tuple[Tensor, list[Array]], expected: tuple[Tensor, list[Array]], rtol: float, atol: float, errors: Errors
) -> None:
    compare("the output", found[0].raw, expected[0].raw, rtol, atol, errors)
    for i, (one, other) in enumerate(zip(found[1], expected[1], strict=True)):
        compare(f"derivative 1 of input {i}", one, other, rtol, atol, errors)
