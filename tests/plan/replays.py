"""A function called eagerly and captured with the same data, which is other data each time."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from tinygrad_norm import Tensor, capture, kernels, random
from tinygrad_norm.certificate import catalog

IMPLEMENTATIONS = ["reference", *(["cpu"] if kernels._use_cpu else [])]
KINDS = ["ordinary", "ties", "NaN", "ordinary", "zeros", "infinity", "huge", "ordinary", "-infinity", "ordinary"]
"""Of the data of each call. The first is recorded, and the 2nd, 4th and 8th are compared by `capture` itself."""
TAME = [kind if kind in ("ordinary", "ties", "zeros") else "ordinary" for kind in KINDS]
"""Of which running statistics stay finite."""


@contextmanager
def implementation(name, monkeypatch):
    """Kernels of one implementation."""
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "_use_cpu", name == "cpu")
        yield


def ordinary(shape, kind, rng):
    """Numbers of this kind, in float32."""
    x = rng.normal(0.2, 1.1, shape).astype(np.float32)
    if kind == "ties":
        return np.round(x)
    if kind in ("zeros", "huge"):
        return np.clip(x, -1.6, 1.6) * {"zeros": 0, "huge": 2e38}[kind]
    if kind != "ordinary" and x.size:
        x.flat[rng.integers(x.size)] = {"NaN": np.nan, "infinity": np.inf, "-infinity": -np.inf}[kind]
    return x


OTHERS = {
    "labels": lambda kind, rng: rng.integers(0, 4, 3),
    "some_labels": lambda kind, rng: np.where(rng.random(3) < 0.5, -100, rng.integers(0, 4, 3)),
    "rows": lambda kind, rng: rng.integers(0, 1 if kind == "ties" else 2, 3),
    "indices": lambda kind, rng: rng.integers(0, 4, (3, 2)),
    "mask": lambda kind, rng: rng.random((3, 4)) < (0 if kind == "zeros" else 0.5),
    "fixed": lambda kind, rng: ordinary((3, 4), kind, rng),
    "fixed_chances": lambda kind, rng: rng.integers(0, 3, (3, 4)).astype(np.float32) / 2,
    "chances": lambda kind, rng: rng.random(4).astype(np.float32),
    "shares": lambda kind, rng: rng.dirichlet(np.ones(4), 3).astype(np.float32),
    "mean": lambda kind, rng: rng.normal(size=2).astype(np.float32),
    "var": lambda kind, rng: rng.uniform(0.5, 2, 2).astype(np.float32),
}
"""Constants, of which no gradient is asked."""


def drawn(inputs):
    """What draws inputs, given as names of `certificate.catalog`, or as the shape of one: arrays and leaves."""
    if isinstance(inputs, tuple):
        return lambda kind, rng: [Tensor(ordinary(inputs, kind, rng), requires_grad=True)]
    shapes = {name: np.shape(array) for name, array in catalog.draw_inputs(np.random.default_rng(0)).items()}

    def draw(kind, rng):
        return [
            OTHERS[name](kind, rng) if name in OTHERS else Tensor(ordinary(shapes[name], kind, rng), requires_grad=True)
            for name in inputs.split()
        ]

    return draw


def of_norm(example, sizes):
    """What draws the inputs of an example of a norm."""

    def draw(kind, rng):
        x, *given = example.draw(sizes, rng, np.float32)
        leaves = [x, *(each for each in given if each.dtype.kind == "f")]
        others = [each for each in given if each.dtype.kind != "f"]
        return [*(Tensor(ordinary(each.shape, kind, rng), requires_grad=True) for each in leaves), *others]

    return draw


def bits(value):
    """What is compared: the form and the bytes of an array."""
    array = getattr(value, "raw", value)
    return (array.shape, str(array.dtype), array.tobytes()) if isinstance(array, np.ndarray) else array


def check_replays(function, draw, layer=None, kinds=KINDS):
    """Call a function of tensors and its backward, eagerly and captured; all is the same. Returns what was captured.

    Args:
        function: gives one tensor of what is drawn; if that wants a gradient, it gets a random cotangent.
        draw: draws inputs of a kind.
        layer: a module that it calls: its parameters' gradients and its buffers are the same too.
        kinds: of the data of each call.
    """
    shape = function(*draw("ordinary", np.random.default_rng(0))).shape
    start = state_of(layer)

    def step(cotangent, *inputs):
        if layer is not None:
            layer.zero_grad()
        y = function(*inputs)
        if y.requires_grad:
            y.backward(cotangent)
        return y.detach()

    fast, states = capture(step), {step: start}
    states[fast] = start
    for number, kind in enumerate(kinds):
        found = []
        for run in (step, fast):
            rng = np.random.default_rng(number)
            random.manual_seed(number)
            set_state(layer, states[run])
            inputs = draw(kind, rng)
            y = run(Tensor(rng.uniform(-1, 1, shape).astype(np.float32)), *inputs)
            grads = [each.grad if isinstance(each, Tensor) else each for each in inputs]
            states[run] = state_of(layer)
            more = [] if layer is None else [each.grad for each in layer.parameters()]
            found.append([*map(bits, [y, *grads, *more, *states[run]]), random.state_dict()])
        assert found[1] == found[0], f"call {number + 1}, {kind}: {fast.why}"
    return fast


def state_of(layer):
    """The arrays of a module's buffers."""
    return [] if layer is None else [each.raw for each in layer.buffers()]


def set_state(layer, state):
    for buffer, raw in zip([] if layer is None else layer.buffers(), state, strict=True):
        buffer.raw = raw.copy()


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_equal(one, other)
        if isinstance(one, np.ndarray):  # of which -0 and 0 were equal, and NaN whatever its bits
            assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())


def eager_reason(function, *arguments):
    """Why a function stays eager, having compared its results with those of a plain call."""
    fast = capture(function)
    for _ in range(5):
        fast(*arguments)
    assert not fast.plans
    return fast.why
