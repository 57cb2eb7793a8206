"""Tensors as Python's and NumPy's objects: what PyTorch's give, warn of or refuse, ours do."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_norm

CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "int": int,
    "bool": bool,
    "complex": complex,
    "math.exp": math.exp,
    "math.floor": math.floor,
    "percent": lambda x: "%.3f" % x,  # noqa: UP031
    "format": lambda x: f"{x:.3f}",
    "item": lambda x: x.item(),
    "tolist": lambda x: x.tolist(),
    "asarray": np.asarray,
    "list": lambda x: np.array([x, x]),
    "mean": lambda x: np.mean([x, x]),
    "r_": lambda x: np.r_[x, x],
}
KINDS: dict[str, Callable[[Any], Any]] = {
    "leaf": lambda lib: lib.leaf(1.5),
    "result": lambda lib: lib.leaf(0.75) * 2,
    "constant": lambda lib: lib.leaf(1.5).detach(),
}


class Theirs:
    """PyTorch."""

    no_grad = torch.no_grad

    @staticmethod
    def leaf(array: Any) -> Any:
        return torch.tensor(np.array(array), requires_grad=True)

    @staticmethod
    def integers(array: Any) -> Any:
        return torch.tensor(np.array(array))


class Ours:
    """This package."""

    no_grad = tinygrad_norm.no_grad

    @staticmethod
    def leaf(array: Any) -> Any:
        return tinygrad_norm.Tensor(np.array(array), requires_grad=True)

    @staticmethod
    def integers(array: Any) -> Any:
        return tinygrad_norm.Tensor(np.array(array))


@pytest.fixture(autouse=True)
def _every_warning() -> Iterator[None]:
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


def outcome(lib: Any, work: Callable[[Any], Any], recording: bool = True) -> tuple[str, Any]:
    """What came of it: a value, and whether with a warning; or an error."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            if recording:
                found = work(lib)
            else:
                with lib.no_grad():
                    found = work(lib)
        except (RuntimeError, TypeError, ValueError, IndexError):
            return "refused", None
    warned = any(issubclass(warning.category, UserWarning) for warning in told)
    return "warned" if warned else "given", found


@pytest.mark.parametrize("recording", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CONVERSIONS)
def test_conversions_end_as_pytorchs_do(name, kind, recording):
    def work(lib: Any) -> Any:
        return CONVERSIONS[name](KINDS[kind](lib))

    ours, theirs = (outcome(lib, work, recording) for lib in (Ours, Theirs))
    assert ours[0] == theirs[0]
    np.testing.assert_array_equal(ours[1], theirs[1])


def first(x: Any) -> Any:
    x[0] = 7.0
    return x


X = [[1.5, 2.0], [0.5, 3.0]]
CHANGES: dict[str, Callable[[Any], Any]] = {
    "+=": lambda x: operator.iadd(x, 2),
    "-= itself": lambda x: operator.isub(x, x),
    "*= a row": lambda x: operator.imul(x, x[0] * 1.0),
    "/=": lambda x: operator.itruediv(x, 4),
    "**=": lambda x: operator.ipow(x, 2),
    "too large": lambda x: operator.iadd(x, x.reshape(1, 2, 2)),
    "a row": first,
    "an element": lambda x: x.__setitem__((1, 0), -1),
    "several": lambda x: x.__setitem__(([0, 1], [1, 0]), 9.0),
    "where": lambda x: x.__setitem__(x > 1, 0.0),
    "out of range": lambda x: x.__setitem__(2, 0.0),
    "another shape": lambda x: x.__setitem__(0, x),
    "a row of a row": lambda x: operator.iadd(x[0], 5),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize(
    ("kind", "recording"), [("leaf", True), ("leaf", False), ("constant", True), ("constant", False)]
)
def test_changes_in_place_end_as_pytorchs_do(name, kind, recording):
    if name == "a row of a row" and (kind, recording) == ("leaf", True):
        return  # there a row is a recorded result, which PyTorch changes together with the leaf, and so refuses

    def work(lib: Any) -> Any:
        x = lib.leaf(X) if kind == "leaf" else lib.leaf(X).detach()
        alias = x.detach()
        CHANGES[name](x)
        return x.detach().numpy(), alias.numpy()

    ours, theirs = (outcome(lib, work, recording) for lib in (Ours, Theirs))
    assert ours[0] == theirs[0]
    np.testing.assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda n: operator.iadd(n, 1),
        lambda n: operator.iadd(n, 0.5),
        lambda n: operator.itruediv(n, 2),
        lambda n: operator.imul(n, n),
    ],
)
def test_changes_of_integers_end_as_pytorchs_do(change):
    ours, theirs = (outcome(lib, lambda lib: change(lib.integers([1, 2, 3])).tolist()) for lib in (Ours, Theirs))
    assert ours == theirs


def test_a_loop_that_updates_parameters_goes_where_pytorchs_goes():
    ends = []
    for lib in (Ours, Theirs):
        weights = [lib.leaf(X), lib.leaf([2.0, -1.0])]
        averages = [weight.detach() * 1.0 for weight in weights]
        for _ in range(5):
            (weights[0] @ weights[1] * (weights[0] @ weights[1])).sum().backward()
            with lib.no_grad():
                for weight, average in zip(weights, averages, strict=True):
                    weight -= 0.01 * weight.grad
                    average *= 0.9
                    average += 0.1 * weight
                    weight.grad = None
        ends.append([tensor.detach().numpy() for tensor in (*weights, *averages)])
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_hooks_that_come_and_go_see_what_pytorchs_see():
    seen: list[list[Any]] = []
    for lib in (Ours, Theirs):
        x, calls = lib.leaf([1.0, 2.0]), []

        def once(gradient: Any) -> None:
            calls.append("once")  # noqa: B023 - called in this round of the loop
            (handle.remove if hasattr(handle, "remove") else handle)()  # noqa: B023

        def double(gradient: Any) -> Any:
            calls.append("double")  # noqa: B023
            return gradient * 2

        handle = x.register_hook(once)
        x.register_hook(double)
        twice = x.register_hook(double)
        (x * 3).sum().backward()
        (twice.remove if hasattr(twice, "remove") else twice)()
        (x * 3).sum().backward()
        seen.append([*calls, *x.grad.tolist()])
    assert seen[0] == seen[1] == ["once", "double", "double", "double", 18.0, 18.0]
