"""Every op at special values, in every implementation, against its definition in extended precision.

The judge is the composed definition, differentiated by the tape, on arrays of NumPy's longdouble, in which no number of
float64 has a square beyond the range. Its results, rounded to the dtype, are what kernels in Numba (in one unit of work
and in many), kernels in plain NumPy and the composition have to give: in values, and in gradients under a random
cotangent, NaN and infinity included.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from runpy import run_path
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from tinygrad_norm import Tensor, composed, dtypes, grad, kernels, ops, random

CASES: dict[str, list[Any]] = {}
for file in ("special_cases.py", "special_norms.py"):
    CASES |= run_path(str(Path(__file__).parent / file))["CASES"]
UNTESTED = {
    "from_numpy_function": "runs the other ops: test_numpy_protocol.py",
    "from_numpy_ufunc": "runs the other ops: test_numpy_protocol.py",
    **dict.fromkeys(("arange", "ones", "ones_like", "zeros_like"), "constants, whatever the values: test_creation.py"),
    "stop_gradient": "the values as they are: test_elementwise.py",
}
IMPLEMENTATIONS = ["reference", "composed", *(["fused", "blocks"] if kernels._use_cpu else [])]
LARGEST_ERROR = 1024  # in units of the machine epsilon, beside the largest of the numbers that share their rounding


def test_every_op_has_a_case():
    public = {name for name, op in vars(ops).items() if isinstance(op, FunctionType)}
    assert public == CASES.keys() | UNTESTED.keys()


@contextmanager
def implementation(name, monkeypatch):
    """Ops run in one of the implementations, or as the judge does."""
    with ExitStack() as stack, monkeypatch.context() as patch:
        if name in ("composed", "judge"):
            stack.enter_context(composed())
        if name in ("reference", "judge"):
            patch.setattr(kernels, "_use_cpu", False)
        if name == "judge":
            patch.setattr(dtypes, "SUPPORTED", dtypes.SUPPORTED | {np.dtype(np.longdouble)})
        if name == "blocks":
            from tinygrad_norm.kernels.cpu import compiler
            from tinygrad_norm.kernels.cpu.layout import layout

            patch.setattr(compiler, "LARGE", 1)
            layout.cache_clear()
            stack.callback(layout.cache_clear)
        yield


@np.errstate(all="ignore")
def run(case, dtype, wide):
    """The output of a case and the gradients of its inputs, computed in one dtype and rounded to another."""
    random.manual_seed(0)
    arrays = [array.astype(wide) if array.dtype.kind == "f" else array for array in case.draw(dtype)]
    leaves = [Tensor.wrap(array).requires_grad_() if array.dtype.kind == "f" else array for array in arrays]
    y = case.function(*leaves)
    found = [y.raw]
    if y.requires_grad:
        cotangent = np.random.default_rng(7).uniform(-1, 1, size=y.shape).astype(dtype).astype(wide)
        wanted = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        grads = grad(y, wanted, Tensor.wrap(cotangent), allow_unused=True)
        found += [np.zeros_like(x.raw) if g is None else g.raw for x, g in zip(wanted, grads, strict=True)]
    return [array.astype(dtype) if array.dtype == wide else array for array in found]


@np.errstate(all="ignore")
def wrong(case, index, found, expected, inputs):
    """Where an output (index 0) or the gradient of an input differs by more than rounding; NaN equals NaN."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if found.dtype.kind != "f":
        return found != expected
    info = np.finfo(found.dtype)
    size, rounding = np.nan_to_num(np.abs(expected), nan=0).astype(np.longdouble), case.rounding
    if case.along and found.ndim == inputs[0].ndim:
        size = np.broadcast_to(size.max(axis=case.along, keepdims=True, initial=0), size.shape)
    if case.scale and index == 1:
        size, rounding = np.maximum(size, np.nan_to_num(case.scale(*inputs))), 0
    tolerated = info.eps * (LARGEST_ERROR * size + rounding) + info.tiny
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    return ~(same | (np.abs(found - expected.astype(np.longdouble)) <= tolerated))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("op", CASES)
def test_all_implementations_give_what_the_definition_does(op, dtype, monkeypatch):
    for case in CASES[op]:
        with implementation("judge", monkeypatch):
            expected = run(case, dtype, np.longdouble)
        for name in IMPLEMENTATIONS:
            with implementation(name, monkeypatch):
                found = run(case, dtype, dtype)
            for index, (one, other) in enumerate(zip(found, expected, strict=True)):
                places = np.argwhere(wrong(case, index, one, other, case.draw(dtype)))
                first = tuple(places[0]) if len(places) else ()
                assert not len(places), (
                    f"{name}, {case.name}: {'gradient of input ' + str(index - 1) if index else 'value'} is wrong at "
                    f"{len(places)} places, first at {tuple(map(int, first))}: {one[first]}, expected {other[first]}"
                )
