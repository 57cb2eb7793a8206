"""Every op in a captured function, forward and backward: on other data, a replay gives the bits of an eager call."""

from __future__ import annotations

from types import FunctionType

import numpy as np
import pytest

from tests.plan.replays import IMPLEMENTATIONS, check_replays, drawn, implementation
from tinygrad_norm import composed, ops
from tinygrad_norm.certificate import catalog

UNTESTED = {"from_numpy_function", "from_numpy_ufunc"}
"""What runs other ops."""


def call_of(name, example):
    """An op as a function of its inputs."""
    return example.function or (lambda *inputs: getattr(ops, name)(*inputs, *example.arguments, **example.options))


CALLS = {
    f"{name}{f'_{number}' if number else ''}": (example.inputs, call_of(name, example))
    for name, examples in catalog.OPS.items()
    for number, example in enumerate(examples)
}
OF_X = "all any argmax argmin ceil floor isfinite isnan logical_not ones_like round sign stop_gradient zeros_like"
OF_TWO = "equal greater greater_equal less less_equal logical_and logical_or logical_xor not_equal"
CALLS |= {
    name: (names, getattr(ops, name)) for names, each in (("x", OF_X), ("x other", OF_TWO)) for name in each.split()
}
CALLS |= {
    "ones": ("x", lambda x: ops.ones(x.shape) * x),
    "arange": ("x", lambda x: ops.arange(4) + x),
}
MORE = {
    "getitem of rows": ("x rows", lambda x, rows: x[rows]),
    "getitem of places": ("x labels rows", lambda x, columns, rows: x[rows, columns]),
    "getitem of a tensor's columns": ("x", lambda x: x[:, ops.argmax(x, 1)]),
    "getitem of rows and a slice": ("images rows", lambda x, rows: x[rows, ..., 1:]),
    "take of an array": ("x labels", lambda x, places: ops.take(x, places, 1)),
    "where of a mask": ("mask x", lambda mask, x: ops.where(mask, x, 2 * x)),
    "where of a comparison": ("x other", lambda x, y: ops.where(x > y, x, y)),
    "arithmetic with truths": ("x mask", lambda x, mask: x * mask),
    "class weights": ("x labels chances", lambda x, labels, row: ops.cross_entropy(x, labels, row, "sum")),
    "class probabilities": ("x shares", lambda x, shares: ops.cross_entropy(x, shares, label_smoothing=0.1)),
    "ignored classes": ("x some_labels", lambda x, labels: ops.cross_entropy(x, labels, reduction="none")),
    "ignored classes of nll": ("x some_labels", lambda x, labels: ops.nll_loss(x, labels, [0.5, 0.0, 1, 3], "sum")),
    "weights of elements": (
        "x fixed_chances row",
        lambda x, p, row: ops.binary_cross_entropy_with_logits(x, p, row.detach(), pos_weight=row.detach() * 2),
    ),
    "clip by tensors": ("x other row", lambda x, low, high: ops.clip(x, low, high)),
    "a power of a tensor": ("x row", lambda x, y: ops.pow(x, y)),
    "powers of a number": ("x", lambda x: 2**x + x**2 + x**-1.5),
    "pixels": ("images", lambda x: ops.mean(x, (2, 3))),
    "a sum of all": ("x", lambda x: x.sum() + x.max() * x.min() + x.std() + x.prod()),
    "running statistics": (
        "batch mean var",
        lambda x, mean, var: ops.batch_norm(x, mean, var, training=True),
    ),
    "nearest pixels": ("few_images", lambda x: ops.interpolate(x, scale_factor=2)),
    "one of several": ("x", lambda x: ops.logsumexp(x)),
    "a constant mask": ("x", lambda x: x[:, [True, False, True, True]]),
    "numbers on the left": ("x", lambda x: 1 - 2 / x),
    "NumPy's names": ("x other", lambda x, y: np.add(x, np.exp(y)) + np.sum(x, axis=0)),
}
REFUSED = {
    "a mask": ("x mask", lambda x, mask: x[mask].sum(), "indexing by a mask reads elements"),
    "a tensor's mask": ("x", lambda x: x[x > 0].sum(), "indexing by a mask reads elements"),
    "an index": ("x rows", lambda x, rows: x[ops.astype(rows, int)[0]], "an index reads elements"),
}


def test_every_op_has_a_case():
    public = {name for name, op in vars(ops).items() if isinstance(op, FunctionType)}
    assert public - UNTESTED == {name.removesuffix("_1").removesuffix("_2") for name in CALLS}


@pytest.mark.parametrize("how", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", [*CALLS, *MORE])
def test_a_replay_gives_the_bits_of_an_eager_call(name, how, monkeypatch):
    names, function = CALLS.get(name) or MORE[name]
    with implementation(how, monkeypatch):
        fast = check_replays(function, drawn(names))
    assert (len(fast.plans), fast.why) == (1, "")


@pytest.mark.parametrize("name", [*CALLS, *MORE])
def test_so_it_does_of_primitives(name):
    names, function = CALLS.get(name) or MORE[name]
    with composed():
        fast = check_replays(function, drawn(names))
    assert (len(fast.plans), fast.why) == (1, "")


@pytest.mark.parametrize("name", REFUSED)
def test_shapes_that_depend_on_values_are_refused(name):
    names, function, reason = REFUSED[name]
    fast = check_replays(function, drawn(names))
    assert not fast.plans
    assert reason in fast.why
