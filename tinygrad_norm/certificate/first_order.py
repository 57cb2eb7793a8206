"""First derivatives in other memory layouts, for subsets of the inputs, repeated, and of larger inputs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np

from tinygrad_norm import modes, tape
from tinygrad_norm.certificate.case import Case
from tinygrad_norm.certificate.memory_layouts import BROADCAST, LAYOUTS, Rearrangement, broadcast
from tinygrad_norm.dtypes import Array
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.testing import Errors, GradientError, compare, compare_with_composition

PRECISIONS = {"float64": (1e-9, 1e-11), "float32": (1e-5, 1e-6)}
"""What is tolerated between two ways to compute the same in a dtype: relative to the largest element, and besides."""
STEP = 1e-7
"""That of a difference; the smaller it is, the fewer of many elements it takes across the kink of a ReLU."""


def gradients(case: Case, inputs: list[Any], layout: Rearrangement = np.array) -> tuple[Tensor, list[Array]]:
    """Return the output, and the gradients of inputs that want one, under a random cotangent in that layout."""
    output = case.call(*inputs)
    return output, go_back(output, inputs, Tensor.wrap(layout(random_cotangent(output))))


def random_cotangent(output: Tensor) -> Array:
    """Return a new array with the same numbers for the same shape."""
    return _numbers(output.shape).astype(np.result_type(output.dtype, np.float32))


@lru_cache(maxsize=4)
def _numbers(shape: tuple[int, ...]) -> Array:
    return np.asarray(np.random.default_rng([1, 7919]).standard_normal(shape))


def go_back(output: Tensor, inputs: list[Any], cotangent: Tensor, retain_graph: bool = False) -> list[Array]:
    """Return the gradients of the inputs that want one, 0 where there is none."""
    leaves = [given for given in inputs if isinstance(given, Tensor) and given.requires_grad]
    found: Iterable[Tensor | None] = [None] * len(leaves)
    if output.requires_grad:
        found = tape.grad(output, leaves, cotangent, allow_unused=True, retain_graph=retain_graph)
    return [np.zeros_like(x.raw) if g is None else g.raw for x, g in zip(leaves, found, strict=True)]


def compare_all(
    found: Iterable[Array], expected: Iterable[Array], rtol: float, atol: float, errors: Errors, how: str = ""
) -> None:
    """Compare the gradients of the inputs; `how` says how they were taken."""
    for i, (one, other) in enumerate(zip(found, expected, strict=True)):
        compare(f"derivative 1 of input {i}{how}", one, other, rtol, atol, errors)


def in_layouts(case: Case, errors: Errors) -> None:
    """Compare the gradients of inputs and cotangents in any memory layout with those of contiguous ones."""
    for dtype, tolerated in PRECISIONS.items():
        plain = gradients(case, case.leaves(dtype))[1]
        for name, other in LAYOUTS.items():
            ways = ("inputs and cotangent", other, other), ("inputs", other, np.array), ("cotangent", np.array, other)
            for what, of_x, of_dy in ways[: 1 if case.larger else 3]:
                found = gradients(case, case.leaves(dtype, of_x), of_dy)[1]
                compare_all(found, plain, *tolerated, errors, f", {what} {name}")
        same = gradients(case, case.leaves(dtype), lambda dy: broadcast(dy).copy())[1]
        found = gradients(case, case.leaves(dtype), broadcast)[1]
        compare_all(found, same, *tolerated, errors, f", cotangent {BROADCAST}")


def subsets(case: Case, errors: Errors) -> None:
    """Compare the gradients of inputs, if only some want one, with those that they get if all do."""
    whole = gradients(case, case.leaves())[1]
    places = range(len(whole))
    counts = [1] if case.larger else places[1:] if len(whole) <= 4 else [1, len(whole) - 1]
    for wanted in (chosen for count in counts if len(whole) > 1 for chosen in combinations(places, count)):
        leaves = case.leaves()
        for i, leaf in enumerate(given for given in leaves if isinstance(given, Tensor)):
            leaf.requires_grad_(i in wanted)
        found = dict(zip(wanted, gradients(case, leaves)[1], strict=True))
        for i, gradient in found.items():
            others = " and ".join(str(j) for j in wanted if j != i)
            how = f"wanted with {others}" if others else "wanted alone"
            compare(f"derivative 1 of input {i}, {how}", gradient, whole[i], *PRECISIONS["float64"], errors)


def repeated(case: Case, errors: Errors) -> None:
    """Compare the second way back with the first, and refuse one that changes its cotangent or the inputs."""
    leaves = case.leaves()
    output = case.call(*leaves)
    cotangent = Tensor.wrap(random_cotangent(output))
    with modes.hooks(_Unchanged()):
        once, twice = [go_back(output, leaves, cotangent, retain_graph=True) for _ in range(2)]
    compare_all(twice, once, *PRECISIONS["float64"], errors, ", the second way back")
    for i, (leaf, before) in enumerate(zip(leaves, case.leaves(), strict=True)):
        if isinstance(leaf, Tensor) and not np.array_equal(leaf.raw, before.raw):
            raise GradientError(f"input {i} was changed in place")


class _Unchanged(modes.Hook):
    """Raises if an op writes into the gradient that it takes back: others may hold the same array."""

    def before_backward(self, op: tape.Op, grad: Tensor) -> None:
        self.before = grad.raw.copy()

    def after_backward(self, op: tape.Op, grad: Tensor, grads: tuple[Tensor | None, ...]) -> None:
        if not np.array_equal(grad.raw, self.before, equal_nan=True):
            raise GradientError(f"{type(op).__name__} changed the gradient that it was given")


def at_size(case: Case, errors: Errors) -> None:
    """Compare fused with composed; without a fused op, the slope in a random direction, which takes two calls."""
    if case.is_fused:
        compare_with_composition(case.call, case.leaves(), order=1, errors=errors)
        return
    leaves = case.leaves()
    output, found = gradients(case, leaves)
    rng = np.random.default_rng([2, 7919])
    tensors = [given for given in leaves if isinstance(given, Tensor)]
    directions = [rng.standard_normal(tensor.shape) for tensor in tensors]
    sides = []
    for step in (STEP, -STEP):
        moved = iter([Tensor.wrap(x.raw + step * along) for x, along in zip(tensors, directions, strict=True)])
        with modes.no_grad():
            sides.append(case.call(*[next(moved) if isinstance(given, Tensor) else given for given in leaves]).raw)
    slope = ((sides[0] - sides[1]) * random_cotangent(output)).sum() / (2 * STEP)
    parts = np.concatenate([(gradient * along).ravel() for gradient, along in zip(found, directions, strict=True)])
    # A sum of random signs is about as large as the root of the sum of squares, and may happen to be 0.
    tolerated = 1e-8 + 1e-5 * float(np.linalg.norm(parts))
    compare("the slope in a random direction", parts.sum(), slope, 0.0, tolerated, errors)
