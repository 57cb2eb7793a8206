"""The slips that are particular to norms, as formulas.

Of all norms dx = r (g - mean(g) - x̂ mean(g x̂)), with r = 1/√(var + eps), x̂ = (x - mean) r and g = weight · dy. RMS norm
lacks the first mean, and inference, whose statistics are constants, both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_norm.dtypes import Array
from tinygrad_norm.ops.normalization import InferenceNorm, Normalization, RMSNorm
from tinygrad_norm.tape import Op
from tinygrad_norm.tensor import Tensor

Grads = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Formula:
    """dx = r (g - mean_term · mean(g) - variance_term · x̂ mean(g x̂)), or what is made of it."""

    mean_term: float = 0.0
    variance_term: float = 0.0
    weight: bool = True
    rstd: bool = True
    eps_in_root: bool = True


RIGHT = {Normalization: Formula(1, 1), RMSNorm: Formula(0, 1), InferenceNorm: Formula(0, 0)}
SLIPS: dict[str, Callable[[Formula, int], Formula]] = {
    "dx without the mean term": lambda right, count: replace(right, mean_term=0),
    "dx without the variance term": lambda right, count: replace(right, variance_term=0),
    "dx by the inference formula": lambda right, count: replace(right, mean_term=0, variance_term=0),
    "dx by the training formula": lambda right, count: replace(right, mean_term=1, variance_term=1),
    "mean term not divided by the count": lambda right, count: replace(right, mean_term=count * right.mean_term),
    "variance term not divided by the count": lambda right, count: replace(
        right, variance_term=count * right.variance_term
    ),
    "variance term of the wrong sign": lambda right, count: replace(right, variance_term=-right.variance_term),
    "dx without the weight": lambda right, count: replace(right, weight=False),
    "dx without 1/std": lambda right, count: replace(right, rstd=False),
    "eps outside of the root": lambda right, count: replace(right, eps_in_root=False),
}


def norm_slips(kind: type[Op]) -> dict[str, Callable[[Op, Array, Grads], Grads]]:
    """The slips for a class of ops, none if it is no norm: from an op, dy and the right gradients to wrong ones."""
    family = next((family for family in RIGHT if issubclass(kind, family)), None)
    if family is None:
        return {}
    found = {name: _slip_in_dx(RIGHT[family], change) for name, change in SLIPS.items()}
    return {**found, "dweight without 1/std": _slip_in_dweight}


@dataclass(frozen=True)
class _Parts:
    """What a norm's gradient is made of, in the shape that the norm sees x in."""

    dy: Array
    centred: Array
    var: Array
    weight: Array | None
    eps: float
    axes: tuple[int, ...]

    @classmethod
    def of(cls, op: Op, dy: Array) -> _Parts:
        how, saved = op.params, list(op.saved_arrays)
        x = saved.pop(0).reshape(how["view"])
        if isinstance(op, InferenceNorm):
            mean, var, weight, _ = saved
            mean, var = mean.reshape(how["affine"]), var.reshape(how["affine"])
        elif isinstance(op, RMSNorm):
            (weight, var), mean = saved, 0.0
        else:
            weight, _, mean, var = saved
        weight = None if weight is None else weight.reshape(how["affine"])
        return cls(dy.reshape(how["view"]), x - mean, var, weight, how["eps"], how["axes"])

    @property
    def rstd(self) -> Array:
        return 1 / np.sqrt(self.var + self.eps)

    def dx(self, formula: Formula) -> Array:
        rstd = self.rstd if formula.eps_in_root else 1 / (np.sqrt(self.var) + self.eps)
        g = self.dy if self.weight is None or not formula.weight else self.dy * self.weight
        normal = self.centred * rstd
        mean, product = [np.mean(part, axis=self.axes, keepdims=True) for part in (g, g * normal)]
        dx = g - formula.mean_term * mean - formula.variance_term * normal * product
        return np.asarray(dx * rstd if formula.rstd else dx)


def _slip_in_dx(right: Formula, change: Callable[[Formula, int], Formula]) -> Callable[[Op, Array, Grads], Grads]:
    def slip(op: Op, dy: Array, grads: Grads) -> Grads:
        wrong = change(right, math.prod(op.params["view"][axis] for axis in op.params["axes"]))
        if op.params["activation"] is not None or grads[0] is None or wrong == right:
            return grads
        return (_tensor(_Parts.of(op, dy).dx(wrong), grads[0]), *grads[1:])

    return slip


def _slip_in_dweight(op: Op, dy: Array, grads: Grads) -> Grads:
    place = 3 if isinstance(op, InferenceNorm) else 1
    right = grads[place]
    if op.params["activation"] is not None or right is None:
        return grads
    parts, shared = _Parts.of(op, dy), op.params["affine"]
    axes = tuple(axis for axis, length in enumerate(shared) if length == 1)
    return (*grads[:place], _tensor((parts.dy * parts.centred).sum(axis=axes), right), *grads[place + 1 :])


def _tensor(array: Any, like: Tensor) -> Tensor:
    return Tensor.wrap(np.asarray(array, like.dtype).reshape(like.shape))
