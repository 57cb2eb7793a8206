"""Somebody's norm with the kind that it is of, as functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tinygrad_norm.certificate.targets import first_line
from tinygrad_norm.conformance import exact
from tinygrad_norm.conformance.arguments import Bound
from tinygrad_norm.conformance.frameworks import Framework, NoGradientsError
from tinygrad_norm.conformance.kinds import NORM_KINDS, NormKind
from tinygrad_norm.dtypes import Array, Shape

T = TypeVar("T")
ALIKE = 0.01
"""By how much of its largest value a norm may be off at randn, and still be taken for one of a kind."""


class RefusedError(Exception):
    """The norm raises something: the first line of it."""


class InapplicableError(Exception):
    """There is nothing to compare: why."""


class Sample(NamedTuple):
    """Numbers for a norm: x, and for each of its parameters."""

    x: Array
    parameters: dict[str, Array]

    @property
    def inputs(self) -> list[Array]:
        """All of them, x first."""
        return [self.x, *self.parameters.values()]

    def affine(self, kind: NormKind) -> tuple[Array, Array]:
        """Return weight and bias, flat, 1 and 0 where the norm has none."""
        count = math.prod(kind.affine(self.x.shape))
        weight, bias = self.parameters.get("weight", np.ones(count)), self.parameters.get("bias", np.zeros(count))
        return weight.ravel(), bias.ravel()


class ForeignNorm(NamedTuple):
    """A norm of a framework, and how it wants to be called."""

    framework: Framework
    name: str
    what: Any
    kind: NormKind
    eps: float
    ones: int = 0
    """How many axes of length 1 x has behind those of the kind's shapes."""
    columns: bool = False
    """Whether weight and bias have the shape in which they broadcast against x."""

    def shape(self, name: str) -> Shape:
        """Return one of the kind's shapes of x."""
        return (*self.kind.shapes[name], *(1 for _ in range(self.ones)))

    def bind(self, shape: Shape, eps: float | None = None, dtype: str = "float32") -> Bound:
        """Return it for an x of this shape."""
        bound = self.framework.bind(self.what, self.kind, shape, self.eps if eps is None else eps, dtype, self.columns)
        count = math.prod(self.kind.affine(shape))
        for name, given in bound.parameters.items():
            if math.prod(given) != count:
                raise ValueError(f"certify: {self.name} has {given} for its {name}, and as {self.kind.title} {count}")
        return bound

    def sample(self, x: Array, rng: np.random.Generator) -> Sample:
        """Return x with random parameters of its dtype, as the norm has them; see `values` for what it raises."""
        shapes = _told(lambda: self.bind(x.shape, dtype=x.dtype.name)).parameters
        return Sample(x, {name: rng.normal(0.7, 0.6, shape).astype(x.dtype) for name, shape in shapes.items()})

    def values(self, sample: Sample, eps: float | None = None) -> Array:
        """Return its output.

        Raises:
            RefusedError: it raises something.
        """

        def call() -> Array:
            bound = self.bind(sample.x.shape, eps, sample.x.dtype.name)
            return self.framework.array(bound.function(*map(self.framework.tensor, sample.inputs)))

        return _told(call)

    def gradients(self, sample: Sample, directions: Sequence[Sequence[Array]], eps: float | None = None) -> list[Array]:
        """Return the last of a chain of derivatives, as `exact.derivatives` does, for x and each parameter that it has.

        Raises:
            RefusedError: it raises something.
        """

        def call() -> list[Array]:
            bound = self.bind(sample.x.shape, eps, sample.x.dtype.name)
            (cotangent,), *along = [list(map(self.framework.tensor, given)) for given in directions]

            def total(*inputs: Any) -> Any:
                return (bound.function(*inputs) * cotangent).sum()

            for direction in along:
                total = _along(self.framework.gradient(total, again=True), direction)
            found = self.framework.gradient(total, again=False)(*map(self.framework.tensor, sample.inputs))
            return list(map(self.framework.array, found))

        return _told(call)


def find_norm(framework: Framework, name: str, kind: NormKind | None, eps: float) -> ForeignNorm:
    """Return a norm by its name, with the kind that is given, that its name tells, or that its values are of.

    Raises:
        ValueError: there is no such norm, it cannot be called, or its values are those of no kind.
    """
    what = framework.find(name)
    known = kind or framework.kind(name)
    problem: BaseException | None = None
    nearest: list[tuple[float, str]] = []
    for norm in _forms(framework, name, what, [known] if known else NORM_KINDS.values(), eps):
        rng = np.random.default_rng(0)
        try:
            sample = norm.sample(rng.standard_normal(norm.shape("values")).astype(np.float32), rng)
            found = norm.values(sample)
        except (RefusedError, InapplicableError) as refusal:
            problem = refusal.__cause__
            continue
        if found.shape != sample.x.shape:
            problem = ValueError(f"its output for x {sample.x.shape} is {found.shape}")
            continue
        right = exact.values(norm.kind, eps, sample.x, *sample.affine(norm.kind))
        off = float(np.abs(found - right).max() / np.abs(right).max())
        if known or off < ALIKE:
            return norm
        nearest.append((off if math.isfinite(off) else math.inf, norm.kind.name))
    if nearest:
        off, other = min(nearest)
        raise ValueError(
            f"certify: {name} is no norm that is known ({', '.join(NORM_KINDS)}); nearest is {other}, off by {off:.2g} "
            "at randn; --kind says what it is meant to be"
        )
    if problem is not None and str(problem).startswith("certify: "):
        raise ValueError(str(problem))
    title = known.title if known else "any norm that is known"
    raise ValueError(f"certify: {name} cannot be called as {title} ({first_line(problem)})")


def _forms(framework: Framework, name: str, what: Any, kinds: Iterable[NormKind], eps: float) -> Iterable[ForeignNorm]:
    for kind in kinds:
        for ones in range(3 if kind.per_channel else 1):
            for columns in (False, True):
                yield ForeignNorm(framework, name, what, kind, eps, ones, columns)


def _along(gradient: Callable[..., Sequence[Any]], direction: Sequence[Any]) -> Callable[..., Any]:
    """Return Σ d g as a function of the inputs."""

    def total(*inputs: Any) -> Any:
        first, *others = [(g * d).sum() for g, d in zip(gradient(*inputs), direction, strict=True)]
        return sum(others, first)

    return total


def _told(call: Callable[[], T]) -> T:
    try:
        return call()
    except NoGradientsError as error:
        raise InapplicableError(str(error)) from error
    except Exception as error:  # whatever a framework raises
        raise RefusedError(first_line(error)) from error
