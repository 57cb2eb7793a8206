"""What there is to know of each norm layer: how it is made, which values share statistics, its formula, its state."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import nn
from tinygrad_norm.derivation.program import backward, forward
from tinygrad_norm.derived import DerivedNorm, derive
from tinygrad_norm.dtypes import Array, Shape
from tinygrad_norm.models.norms import OF_IMAGES, OF_ROWS, Norms
from tinygrad_norm.modes import composed
from tinygrad_norm.nn.normalization import Normalization, TrailingNorm
from tinygrad_norm.tensor import Tensor

Labels = tuple[str, str, str]
ROWS: tuple[Shape, Labels] = (4, 6, 5), ("N", "L", "C")
IMAGES: tuple[Shape, Labels] = (4, 6, 2, 2), ("N", "H · W", "C")
VOLUMES: tuple[Shape, Labels] = (4, 6, 2, 2, 1), ("N", "D · H · W", "C")
FEATURES: tuple[Shape, Labels] = (4, 5, 6), ("N", "positions", "features")


class NormExample(NamedTuple):
    """How a norm layer is made, and an input."""

    arguments: tuple[Any, ...]
    shape: Shape
    labels: Labels
    """What is behind, below and beside in the picture of the input."""
    options: Mapping[str, Any] = MappingProxyType({})
    condition: tuple[Shape, ...] = ()
    """The shape of the condition, where it is called with one."""


def _of(place: tuple[Shape, Labels], *arguments: Any, condition: tuple[Shape, ...] = (), **options: Any) -> NormExample:
    return NormExample(arguments or (6,), *place, options, condition)


EXAMPLES: dict[str, NormExample] = {
    **dict.fromkeys(("BatchNorm1D", "BatchRenorm1D", "InstanceNorm1D"), _of(ROWS)),
    **dict.fromkeys(("MaskedBatchNorm1D", "MaskedInstanceNorm1D"), _of(ROWS)),
    **dict.fromkeys(("BatchNorm3D", "InstanceNorm3D"), _of(VOLUMES)),
    "AdaIN": _of(IMAGES, 6, condition=((4, 6, 3, 3),)),
    "ConditionalBatchNorm1D": _of(ROWS, 6, 3, condition=((4, 3),)),
    **dict.fromkeys(("ConditionalBatchNorm2D", "FiLM"), _of(IMAGES, 6, 3, condition=((4, 3),))),
    "EvoNormS0": _of(IMAGES, 6, 2),
    "GhostBatchNorm1D": _of(ROWS, 6, ghost_size=2),
    "GhostBatchNorm2D": _of(IMAGES, 6, ghost_size=2),
    **dict.fromkeys(("GroupNorm", "MaskedGroupNorm"), _of(IMAGES, 2, 6)),
    **dict.fromkeys(("LayerNorm", "MaskedLayerNorm", "RMSNorm"), _of(FEATURES)),
    "PartialRMSNorm": _of(IMAGES, 6, 1.0),
    "SPADE": _of(IMAGES, 6, 3, 4, condition=((4, 3, 2, 2),)),
}
"""Those of layers that are not of images, or take more than a number of channels."""


def norm_layers() -> dict[str, type[Normalization]]:
    """Return the norm layers of `nn`, by name, but for whitening, which has no definition to derive it from."""
    kinds = {name: getattr(nn, name) for name in sorted(nn.__all__)}
    norms = {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Normalization)}
    return {name: kind for name, kind in norms.items() if hasattr(kind, "definition")}


def example_of(layer: str) -> NormExample:
    """Return how a norm layer is made, and an input."""
    return EXAMPLES.get(layer, _of(IMAGES))


def values_sharing(layer: str) -> Array:
    """Which values share their statistics with one of them, found by changing it: [N, positions, channels or features].

    The one is first in the batch, at the first position, of the last channel: there the three sides meet that are seen.
    """
    arguments, shape, _, options, condition = example_of(layer)
    made, rng = norm_layers()[layer](*arguments, **options), np.random.default_rng(0)
    others = [rng.normal(size=each).astype(np.float32) for each in condition]
    if made.weight is not None and not made.weight.raw.any():  # with 0, as GRN begins, nothing would be seen
        made.weight.replace(np.ones_like(made.weight.raw))
    channels = -1 if isinstance(made, TrailingNorm) else 1
    changed = np.zeros(shape, bool)
    for _ in range(8):  # where one draw lies below a threshold, another does not
        x = rng.normal(size=shape).astype(np.float32)
        moved = x.copy()
        np.moveaxis(moved, channels, -1)[(0,) * (x.ndim - 1) + (-1,)] += 1
        with composed():
            changed |= made(Tensor(x), *others).raw != made(Tensor(moved), *others).raw
    found: Array = np.moveaxis(changed, channels, -1)
    return found.reshape(len(found), -1, found.shape[-1])


class NormFacts(NamedTuple):
    """What a list of norms tells of one."""

    layer: str
    names: tuple[str, ...]
    """By which `create_model` knows it."""
    formula: str
    shared: str
    """Over what its statistics are taken."""
    parameters: tuple[str, ...]
    state: tuple[str, ...]
    """What it keeps from call to call."""
    passes: tuple[int, int]
    """How often its kernels read x, forward and backward; 0 where NumPy computes it."""
    lines: int
    """How many lines its definition has, without the docstring."""
    source: str


def norm_facts(layer: str) -> NormFacts:
    """Return what there is to know of a norm layer."""
    kind, (arguments, _, labels, options, _) = norm_layers()[layer], example_of(layer)
    norm, made = derive(kind.definition), kind(*arguments, **options)
    return NormFacts(
        layer,
        tuple(dict.fromkeys(name for name, other in _named() if other is kind)),
        str(norm.formula),
        _over(values_sharing(layer), labels),
        tuple(name for name, _ in made.named_parameters()),
        tuple(name for name, _ in made.named_buffers()),
        passes(norm) if kind.by_kernels else (0, 0),
        lines_of(kind.definition),
        source_of(kind),
    )


def _named() -> list[tuple[str, type]]:
    """The zoo's names, and the layers that they are of, by rows and by images."""
    known = ((OF_ROWS, True), (OF_IMAGES, False))
    return [(name, type(Norms(name, rows=rows)(8, "relu"))) for names, rows in known for name in names]


def _over(shared: Array, labels: Labels) -> str:
    """Over which axes values share: all of an axis, or a part of it."""
    parts = []
    for axis, label in enumerate(labels):
        along = shared.any(axis=tuple(other for other in range(3) if other != axis)).sum()
        if along > 1:
            parts.append(label if along == shared.shape[axis] else f"a group of {label}")
    return ", ".join(parts) or "nothing"


def passes(norm: DerivedNorm) -> tuple[int, int]:
    """Return how often the kernels of a norm read x, forward and backward; 0 where it has none."""
    if not norm.source:
        return 0, 0
    gradients = {"x": norm.gradients[0]}
    programs = forward(norm.traced, norm.way, outer=True), backward(norm.traced, norm.way, gradients, outer=True)
    found = tuple(len(program.stages) for program in programs)
    return found[0], found[1]


def lines_of(definition: Callable[..., Any]) -> int:
    """Return how many lines a function has, from its first statement on."""
    function: Any = ast.parse(textwrap.dedent(inspect.getsource(definition))).body[0]
    first, *others = function.body
    start = others[0].lineno if others and isinstance(first, ast.Expr) else first.lineno
    return int((others or [first])[-1].end_lineno - start + 1)


def source_of(kind: type) -> str:
    """Return the paper that the docstring of a layer, or of one that it is derived from, names."""
    for each in kind.__mro__:
        if found := re.search(r"Source: (.+?)(?:\n\n|$)", inspect.cleandoc(each.__doc__ or ""), re.DOTALL):
            return " ".join(found[1].split()).rstrip(".")
    return ""
