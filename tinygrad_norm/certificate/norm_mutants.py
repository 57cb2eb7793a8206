"""The mutants that are particular to norms: the text of their definitions, with one term written wrongly."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType

import numpy as np

from tinygrad_norm.dtypes import Array
from tinygrad_norm.ops.normalization import Norm
from tinygrad_norm.tape import Op
from tinygrad_norm.tensor import Tensor

_TRAINING = "normalize_gradient(dy, x, weight, bias, mean, var, shared, eps, activation)[0]"
MUTANTS = {
    "dx without the mean term": ("(g - mean_term - ", "(g - "),
    "dx without the variance term": (" - variance_term", ""),
    "dx by the inference formula": ("(g - mean_term - variance_term)", "g"),
    "dx by the training formula": (
        "dx = standard.rstd * g\n",
        f"shared = tuple(i for i, n in enumerate(mean.shape) if n == 1)\n    dx = {_TRAINING}\n",
    ),
    "dx with a mean term": ("(g - variance_term)", "(g - xp.mean(g, axis=axes, keepdims=True) - variance_term)"),
    "mean term not divided by the count": ("mean_term = xp.mean(g,", "mean_term = xp.sum(g,"),
    "variance term not divided by the count": ("xp.mean(g * standard.x,", "xp.sum(g * standard.x,"),
    "variance term of the wrong sign": ("- variance_term", "+ variance_term"),
    "dx without the weight": ("g = dy if weight is None else dy * weight", "g = dy"),
    "dx without 1/std": ("dx = standard.rstd * ", "dx = "),
    "dweight without 1/std": ("_sum_like(dy * standard.x,", "_sum_like(dy * standard.x / standard.rstd,"),
    "eps outside of the root": ("rsqrt(var + eps)", "1 / (xp.sqrt(var) + eps)"),
}
"""What is wrong: the text of the definitions that is replaced wherever it stands, and by what."""


def norm_mutants(kind: type[Op]) -> dict[str, Callable[[Op, Array], tuple[Tensor | None, ...]]]:
    """The mutants of a class of ops, none if it is no norm: from an op and dy to wrong gradients."""
    if not issubclass(kind, Norm):
        return {}
    source = sys.modules[kind.definition.__module__]
    text = inspect.getsource(source)  # of a definition of somebody's own, which may lack a term
    return {name: _backward(mutant(source, *texts)) for name, texts in MUTANTS.items() if texts[0] in text}


@cache
def mutant(source: ModuleType, right: str, wrong: str) -> ModuleType:
    """A module whose text is that of `source`, but for one term."""
    text = inspect.getsource(source)
    if right not in text:
        raise ValueError(f"mutant: {right!r} is a text of {source.__name__}, which reads otherwise now")
    made = ModuleType(source.__name__)
    exec(compile(text.replace(right, wrong), f"a mutant of {source.__name__}", "exec"), vars(made))
    return made


def _backward(definitions: ModuleType) -> Callable[[Op, Array], tuple[Tensor | None, ...]]:
    def backward(op: Op, dy: Array) -> tuple[Tensor | None, ...]:
        assert isinstance(op, Norm)
        found = op.gradient(dy, *op.saved_arrays, implementation=definitions)
        return tuple(None if array is None else Tensor.wrap(np.asarray(array)) for array in found)

    return backward
