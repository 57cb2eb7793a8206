"""Mutants: mistakes that somebody who writes a gradient by hand might make, made on purpose, for the checks to kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_norm import modes, tape
from tinygrad_norm.certificate.norm_mutants import norm_mutants
from tinygrad_norm.dtypes import Array
from tinygrad_norm.tape import Op
from tinygrad_norm.tensor import Tensor

Grads = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Call:
    """One way back: of what op, with what gradient of its output, to what gradients of its inputs, which are right."""

    op: Op
    grad: Tensor
    grads: Grads
    backward: Callable[[Op, Tensor], Any]
    """As the op's class defines it."""

    def back(self, grad: Array) -> Grads:
        """Return what the op hands back for another gradient of its output."""
        return _tuple(self.backward(self.op, Tensor.wrap(grad)))


Change = Callable[[Call], Grads]
"""Gives wrong gradients, or the right ones where it has nothing to change."""


@contextmanager
def mutated(kind: type[Op], change: Change) -> Iterator[None]:
    """Let every op of this class make the change on its way back.

    The composition that a fused op differentiates for higher derivatives is not touched: nobody wrote that gradient.
    """
    right, own = kind.backward, vars(kind).get("backward")

    def backward(op: Op, grad: Tensor) -> Grads:
        grads = _tuple(right(op, grad))
        if isinstance(op, tape.FusedOp) and modes.is_recording():
            return grads
        return change(Call(op, grad, grads, right))

    kind.backward = backward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        if own is None:
            del kind.backward
        else:
            kind.backward = own  # type: ignore[method-assign]


def mutants_of(kind: type[Op], inputs: int) -> dict[str, Change]:
    """Return all mutants of ops of a class with so many inputs, by what is wrong."""
    mutants: dict[str, Change] = {
        "the cotangent forgotten": lambda call: call.back(np.ones_like(call.grad.raw)),
        "the cotangent changed in place": _changed_in_place,
        "the cotangent taken for contiguous": _taken_for_contiguous,
        "the activation's derivative forgotten": _activation_forgotten,
    }
    for i in range(inputs):
        mutants |= {f"gradient {i} {what}": _on(i, wrong) for what, wrong in CHANGES.items()}
        mutants |= {f"gradients {j} and {i} swapped": _swapped(j, i) for j in range(i)}
    return mutants | {name: _by(backward) for name, backward in norm_mutants(kind).items()}


def _tuple(found: Any) -> Grads:
    return found if isinstance(found, tuple) else (found,)


# On one gradient, whatever the op

CHANGES: dict[str, Callable[[Tensor], Tensor | None]] = {
    "dropped": lambda g: None,
    "zero": lambda g: g * 0.0,
    "negated": lambda g: -g,
    "times 1.01": lambda g: g * 1.01,
    "divided by its size": lambda g: g / g.size,
    "without its mean": lambda g: g - g.mean(),
    "in reverse order": lambda g: g.reshape(-1)[::-1].reshape(g.shape),
    "transposed": lambda g: g.mT if g.ndim > 1 and g.shape[-1] == g.shape[-2] else g,
    "of the first element alone": lambda g: g * (np.arange(g.size) == 0).reshape(g.shape).astype(g.dtype),
}


def _on(index: int, wrong: Callable[[Tensor], Tensor | None]) -> Change:
    def change(call: Call) -> Grads:
        found = call.grads[index] if index < len(call.grads) else None
        if found is None:
            return call.grads
        return (*call.grads[:index], wrong(found), *call.grads[index + 1 :])

    return change


def _swapped(i: int, j: int) -> Change:
    def change(call: Call) -> Grads:
        grads = list(call.grads)
        one, other = [grads[k] if k < len(grads) else None for k in (i, j)]
        if one is None or other is None or one.shape != other.shape:
            return call.grads
        grads[i], grads[j] = other, one
        return tuple(grads)

    return change


def _changed_in_place(call: Call) -> Grads:
    if call.grad.raw.flags.writeable:
        call.grad.raw[...] *= 2
    return call.grads


def _taken_for_contiguous(call: Call) -> Grads:
    return call.back(call.grad.raw.ravel(order="K").reshape(call.grad.shape))


def _activation_forgotten(call: Call) -> Grads:
    if call.op.params.get("activation") is None:
        return call.grads
    before, call.op.params = call.op.params, {**call.op.params, "activation": None}
    try:
        return call.back(call.grad.raw)
    finally:
        call.op.params = before


def _by(backward: Callable[[Op, Any], Grads]) -> Change:
    return lambda call: backward(call.op, call.grad.raw)
