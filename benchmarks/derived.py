"""Norms that are derived from a definition: their kernels beside their composition, and PyTorch's of the same text."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from benchmarks.options import Options
from benchmarks.report import Report, milliseconds, progress, ratio
from benchmarks.timing import Team
from tests.derivation import norms

SECONDS = 2.0
OURS, COMPOSED, EAGER, COMPILED = "kernels", "composed", "PyTorch composed", "torch.compile"


class Case(NamedTuple):
    """A norm, the shapes of x and of its parameters, and its axes."""

    name: str
    shape: tuple[int, ...]
    parameters: tuple[tuple[int, ...], ...]
    options: dict[str, Any]


CASES = {
    "layer norm, 4096 × 256": Case("layer_norm", (4096, 256), ((256,), (256,)), {"axes": (1,), "eps": 1e-5}),
    "batch norm, 32768 × 64": Case("batch_norm", (32768, 64), ((64,), (64,)), {"axes": (0,), "eps": 1e-5}),
    "GRN, 16 × 256 × 384": Case(
        "grn", (16, 256, 384), ((384,), (384,)), {"pixels": (1,), "channels": (2,), "eps": 1e-6}
    ),
    "Batch Renorm, 32768 × 64": Case(
        "batch_renorm", (32768, 64), ((64,), (64,)), {"axes": (0,), "eps": 1e-5, "r_max": 3.0, "d_max": 5.0}
    ),
    "L∞ norm, 4096 × 256": Case("linf_norm", (4096, 256), (), {"axes": (1,), "eps": 1e-5}),
    "masked norm, 4096 × 256": Case("masked_norm", (4096, 256), ((4096, 256),), {"axes": (1,), "eps": 1e-5}),
}
CONSTANTS = {"batch_renorm": 2, "masked_norm": 1}
"""How many of the parameters want no gradient."""


def run(report: Report, options: Options) -> None:
    """Forward and back, of x and of the parameters."""
    report.say("## Derived norms\n\nForward and backward in float32; a ratio is the median of those of single rounds.")
    rows = []
    for title, case in CASES.items():
        progress(title)
        makers: dict[str, Callable[[], Callable[[], object]]] = {
            OURS: partial(ours, case, False),
            COMPOSED: partial(ours, case, True),
            EAGER: partial(torchs, case, False),
            COMPILED: partial(torchs, case, True),
        }
        with Team() as team:
            timings = team.time(makers, SECONDS, options.rounds)
        mine = timings[OURS]
        others = [str(ratio(mine, timings[name])) for name in (COMPOSED, EAGER, COMPILED)]
        rows.append([title, milliseconds(mine.median), *others])
    report.table(["norm", "ms", *(f"over {name}" for name in (COMPOSED, EAGER, COMPILED))], rows)


def arrays(case: Case) -> list[Any]:
    """x, and the parameters: positive, as running variances are, or 0 and 1 for a mask."""
    rng = np.random.default_rng(0)
    parameters = [rng.uniform(0.5, 2, shape) for shape in case.parameters]
    if case.name == "masked_norm":
        parameters = [np.round(array / 2) for array in parameters]
    return [array.astype(np.float32) for array in (rng.normal(size=case.shape), *parameters)]


def ours(case: Case, as_composed: bool) -> Callable[[], object]:
    """A call and its way back, by kernels or as composed."""
    from tinygrad_norm import Tensor, composed, derive, grad

    given = arrays(case)
    count = len(given) - CONSTANTS.get(case.name, 0)
    leaves = [Tensor(array, requires_grad=i < count) for i, array in enumerate(given)]
    norm, dy = derive(getattr(norms, case.name)), np.ones(case.shape, np.float32)

    def call() -> object:
        with composed(as_composed):
            found = norm(*leaves, **case.options)
            return grad(found[0] if isinstance(found, tuple) else found, leaves[:count], dy)

    return call


def torchs(case: Case, compiled: bool) -> Callable[[], object]:
    """The same definition on PyTorch's tensors."""
    import torch

    functions = SimpleNamespace(
        mean=lambda x, axis, keepdims: x.mean(axis, keepdim=keepdims),
        sum=lambda x, axis, keepdims: x.sum(axis, keepdim=keepdims),
        max=lambda x, axis, keepdims: x.amax(axis, keepdim=keepdims),
        square=torch.square,
        sqrt=torch.sqrt,
        abs=torch.abs,
        clip=torch.clip,
        stop_gradient=torch.Tensor.detach,
    )
    torch.Tensor.__array_namespace__ = lambda self: functions
    given = arrays(case)
    count = len(given) - CONSTANTS.get(case.name, 0)
    leaves = [torch.tensor(array, requires_grad=i < count) for i, array in enumerate(given)]
    definition = getattr(norms, case.name)

    def norm(*inputs: Any) -> Any:
        found = definition(*inputs, **case.options)
        return found[0] if isinstance(found, tuple) else found

    function, dy = torch.compile(norm) if compiled else norm, torch.ones(case.shape)

    def call() -> object:
        return torch.autograd.grad(function(*leaves), leaves[:count], dy)

    return call
