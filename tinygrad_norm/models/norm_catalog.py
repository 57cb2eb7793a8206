"""What there is to know of each norm layer: which values share statistics, its formula, its state, what it costs."""

from __future__ import annotations

import ast
import copy
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm.certificate.norm_examples import NORMS, make_norm, norm_layers
from tinygrad_norm.derivation.program import backward, forward
from tinygrad_norm.derived import DerivedNorm, derive
from tinygrad_norm.dtypes import Array
from tinygrad_norm.models.norms import OF_IMAGES, OF_ROWS, Norms
from tinygrad_norm.modes import composed
from tinygrad_norm.nn.module import Module
from tinygrad_norm.tables import plural
from tinygrad_norm.tensor import Tensor

Labels = tuple[str, str, str]
LABELS: dict[str, Labels] = {
    "NCL": ("N", "L", "C"),
    "NCHW": ("N", "H · W", "C"),
    "NCDHW": ("N", "D · H · W", "C"),
    "NLC": ("N", "positions", "features"),
}
"""What is behind, below and beside in the picture of an input with these axes."""
SIZES = {"N": 4, "C": 6, "L": 5, "D": 2, "H": 2, "W": 2, "K": 3}
"""Those of the picture."""
TIMES = {1: "once", 2: "twice"}


class Shown(NamedTuple):
    """A norm layer as it is shown."""

    layer: Module
    inputs: list[Array]
    labels: Labels


def shown(name: str) -> Shown:
    """Return a norm layer, inputs that fit, and what their axes are called in the picture."""
    example = NORMS[name][0]
    inputs = example.draw(SIZES, np.random.default_rng(0), np.float32)
    return Shown(make_norm(name, example, SIZES, **_BATCH_ALONE.get(name, {})), inputs, LABELS[example.axes])


_BATCH_ALONE: dict[str, dict[str, Any]] = {
    "BatchRenorm1D": {"r_max": 1.0, "d_max": 0.0},
    "BatchRenorm2D": {"r_max": 1.0, "d_max": 0.0},
    "PowerNorm": {"warmup": 1000},
}
"""With what a norm goes by the batch that it is given, and not by running statistics."""


def derived_norm(name: str) -> DerivedNorm:
    """Return the norm that is derived from the definition of a layer.

    Raises:
        ValueError: it cannot be derived; the error says why.
    """
    kind: Any = norm_layers()[name]
    if kind.underivable:
        raise ValueError(
            f"derive: {name} is not derived from its definition, as {kind.underivable}; `tinygrad-norm norms {name}` "
            f"tells its formula, and `tinygrad-norm certify {name}` checks its gradient"
        )
    return derive(kind.definition)


def values_sharing(name: str, channel: int = -1, all_count: bool = False) -> Array:
    """Which values share their statistics with one of them, found by changing it: [N, positions, channels or features].

    The one is first in the batch, at the first position, of the last channel: there the three sides meet that are seen.
    Of a masked norm, those share that its example counts, or, with `all_count`, that it would share if all counted.
    """
    made, (x, *others), labels = shown(name)
    if all_count and takes_mask(name):
        others = [np.ones_like(each) for each in others]
    for parameter in [made.weight] if getattr(made, "weight", None) is not None else []:
        parameter.replace(np.ones_like(parameter.raw))  # with 0, as GRN begins, nothing would be seen
    channels, rng = -1 if labels == LABELS["NLC"] else 1, np.random.default_rng(0)
    changed = np.zeros(x.shape, bool)
    for _ in range(8):  # where one draw lies below a threshold, another does not
        x = rng.normal(size=x.shape).astype(np.float32)
        moved = x.copy()
        np.moveaxis(moved, channels, -1)[(0,) * (x.ndim - 1) + (channel,)] += 1
        with composed():  # and both times with the same running statistics
            one, other = (copy.deepcopy(made)(Tensor(each), *others).raw for each in (x, moved))
        changed |= one != other
    found: Array = np.moveaxis(changed, channels, -1)
    return found.reshape(len(found), -1, found.shape[-1])


class NormFacts(NamedTuple):
    """What a list of norms tells of one."""

    layer: str
    names: tuple[str, ...]
    """By which `create_model` knows it."""
    formula: str
    underivable: str
    """Why `derive` does not take its definition, where that is so."""
    shared: str
    """Over what its statistics are taken."""
    parameters: tuple[str, ...]
    state: tuple[str, ...]
    """What it keeps from call to call."""
    cost: str
    """How often its kernels read x, or what else computes it."""
    lines: int
    """How many lines its definition has, without the docstring."""
    source: str


def norm_facts(name: str) -> NormFacts:
    """Return what there is to know of a norm layer."""
    kind: Any = norm_layers()[name]
    made = shown(name).layer
    return NormFacts(
        name,
        tuple(dict.fromkeys(known for known, other in _named() if other is kind)),
        formula_of(kind.definition) if kind.underivable else str(derive(kind.definition).formula),
        kind.underivable,
        _shared(name),
        tuple(path for path, _ in made.named_parameters()),
        tuple(path for path, _ in made.named_buffers()),
        cost_of(kind),
        lines_of(kind.definition),
        source_of(kind),
    )


def takes_mask(name: str) -> bool:
    """Return whether a norm layer is called with a mask beside x."""
    return NORMS[name][0].given.startswith("mask")


def layer_named(name: str) -> str:
    """Return the norm layer that a name of the zoo's tells, that of images; any other name as it is."""
    return type(Norms(name)(8)).__name__ if name in OF_IMAGES else name


def zoo_name(layer: str) -> str:
    """Return the name by which nets of images have a norm layer; "" where they have none."""
    return next((name for name in OF_IMAGES if type(Norms(name)(8)) is norm_layers()[layer]), "")


def why_unnamed(layer: str) -> str:
    """Return why nets of images have no name for a norm layer, in a few words."""
    (example, *_) = NORMS[layer]
    if example.given:
        return f"takes a {'mask' if takes_mask(layer) else 'condition'} beside x"
    if example.axes != "NCHW":
        return "is not of images"
    return "stands beside a norm"


def _named() -> list[tuple[str, type]]:
    """The zoo's names, and the layers that they are of, by rows and by images."""
    known = ((OF_ROWS, True), (OF_IMAGES, False))
    return [(name, type(Norms(name, rows=rows)(8))) for names, rows in known for name in names]


def sets_sharing(name: str) -> list[Array]:
    """Return the values that share their statistics with one of the last channel, or first of the first, then that.

    The first channel has a set of its own where it is taken over other axes, as in IBN.
    """
    labels = shown(name).labels
    first, last = (values_sharing(name, channel) for channel in (0, -1))
    return [last] if _over(first, labels) == _over(last, labels) else [first, last]


def _shared(name: str) -> str:
    """Over which axes values share; of the first channels and of the last ones, where that is not the same."""
    labels = shown(name).labels
    channels = range(values_sharing(name).shape[-1]) if len(sets_sharing(name)) > 1 else [-1]
    words = [_over(values_sharing(name, channel, all_count=True), labels) for channel in channels]
    first, last = words.count(words[0]), words[-1]
    told = (
        last
        if first == len(words)
        else f"{words[0]} of the first {first} of {len(words)} channels; {last} of the others"
    )
    return f"{told}, of what counts" if takes_mask(name) else told


def _over(shared: Array, labels: Labels) -> str:
    """Over which axes values share: all of an axis, or a part of it."""
    parts = []
    for axis, label in enumerate(labels):
        along = shared.any(axis=tuple(other for other in range(3) if other != axis)).sum()
        if along > 1:
            parts.append(label if along == shared.shape[axis] else f"a group of {label}")
    return ", ".join(parts) or "nothing"


def formula_of(definition: Callable[..., Any]) -> str:
    """Return the formula with which the docstring of a definition begins."""
    return f"y = {(inspect.getdoc(definition) or '').splitlines()[0].rstrip('.')}"


def cost_of(kind: Any) -> str:
    """Return how often the kernels of a norm layer read x, or what else computes it."""
    by = kind.computed_by
    if isinstance(by, str) and by:
        return by
    counts = [passes(derive(definition)) for definition in by or [kind.definition]]
    if not all(map(all, counts)):
        return "in NumPy, in float64"
    there, back = (TIMES.get(count, plural(count, "time")) for count in map(sum, zip(*counts, strict=True)))
    return f"reads x {there} forward, {back} backward"


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
