"""Slips that somebody who writes a gradient by hand might make: each is made on purpose, and has to be noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_norm import modes, tape
from tinygrad_norm.certificate.norm_slips import norm_slips
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


Slip = Callable[[Call], Grads]
"""Gives wrong gradients, or the right ones where it has nothing to change."""


@contextmanager
def mutated(kind: type[Op], slip: Slip) -> Iterator[None]:
    """Let every op of this class make the slip on its way back.

    The composition that a fused op differentiates for higher derivatives is not touched: nobody wrote that gradient.
    """
    right, own = kind.backward, vars(kind).get("backward")

    def backward(op: Op, grad: Tensor) -> Grads:
        grads = _tuple(right(op, grad))
        if isinstance(op, tape.FusedOp) and modes.is_recording():
            return grads
        return slip(Call(op, grad, grads, right))

    kind.backward = backward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        if own is None:
            del kind.backward
        else:
            kind.backward = own  # type: ignore[method-assign]


def slips_of(kind: type[Op], inputs: int) -> dict[str, Slip]:
    """All slips for ops of a class with so many inputs, by what is wrong."""
    slips: dict[str, Slip] = {"the cotangent forgotten": _cotangent_forgotten}
    for i in range(inputs):
        slips |= {f"gradient {i} {what}": _on(i, change) for what, change in CHANGES.items()}
        slips |= {f"gradients {j} and {i} swapped": _swapped(j, i) for j in range(i)}
    slips["the activation's derivative forgotten"] = _activation_forgotten
    slips["the cotangent changed in place"] = _changed_in_place
    slips["the cotangent taken for contiguous"] = _taken_for_contiguous
    slips |= {name: _on_norm(formula) for name, formula in norm_slips(kind).items()}
    return slips


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


def _on(index: int, change: Callable[[Tensor], Tensor | None]) -> Slip:
    def slip(call: Call) -> Grads:
        found = call.grads[index] if index < len(call.grads) else None
        if found is None:
            return call.grads
        return (*call.grads[:index], change(found), *call.grads[index + 1 :])

    return slip


def _swapped(i: int, j: int) -> Slip:
    def slip(call: Call) -> Grads:
        grads = list(call.grads)
        one, other = [grads[k] if k < len(grads) else None for k in (i, j)]
        if one is None or other is None or one.shape != other.shape:
            return call.grads
        grads[i], grads[j] = other, one
        return tuple(grads)

    return slip


def _cotangent_forgotten(call: Call) -> Grads:
    return _tuple(call.backward(call.op, Tensor.wrap(np.ones_like(call.grad.raw))))


def _changed_in_place(call: Call) -> Grads:
    if call.grad.raw.flags.writeable:
        call.grad.raw[...] *= 2
    return call.grads


def _taken_for_contiguous(call: Call) -> Grads:
    in_memory = call.grad.raw.ravel(order="K").reshape(call.grad.shape)
    return _tuple(call.backward(call.op, Tensor.wrap(in_memory)))


def _activation_forgotten(call: Call) -> Grads:
    if call.op.params.get("activation") is None:
        return call.grads
    before, call.op.params = call.op.params, {**call.op.params, "activation": None}
    try:
        return _tuple(call.backward(call.op, call.grad))
    finally:
        call.op.params = before


def _on_norm(formula: Callable[[Op, Any, Grads], Grads]) -> Slip:
    return lambda call: formula(call.op, call.grad.raw, call.grads)
