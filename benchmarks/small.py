"""What Python costs: a training step of a net so small that there is little else, and a plan that does nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks import targets
from benchmarks.contenders import OURS, tried
from benchmarks.memory import in_new_process
from benchmarks.nets import LEARNING_RATE
from benchmarks.options import Options
from benchmarks.report import Report, milliseconds, progress, ratio
from benchmarks.timing import Maker, Team

TITLE = "64-128(BN, ReLU)-10, batch 32, a step of SGD"
CALLS = 20_000


def run(report: Report, options: Options) -> None:
    """Time the step, ours, PyTorch's and JAX's, and the empty plan."""
    progress(TITLE)
    makers: dict[str, Maker] = {
        OURS: partial(our_step, False),
        "captured": partial(our_step, True),
        "PyTorch": partial(torch_step, False),
        "PyTorch, fused SGD": partial(torch_step, True),
    }
    if find_spec("jax"):
        makers["JAX jit"] = jax_step
    with Team() as team:
        timings = team.time(makers, 4.0, options.rounds)
    report.say("## What Python costs")
    report.timings(TITLE, timings)
    eager = min((timings["PyTorch"], timings["PyTorch, fused SGD"]), key=lambda timing: timing.median)
    found = ratio(timings["captured"], eager)
    report.say(f"Captured over PyTorch: {found}, by minima {found.least:.2f}.")
    report.judge(f"{TITLE}, captured", found.median, targets.SMALL_TRAINING)
    if "JAX jit" in timings:
        report.judge(f"{TITLE}, captured, over JAX jit", ratio(timings["captured"], timings["JAX jit"]).median, 1.0)
    progress("empty plan")
    empty = in_new_process(empty_plan)
    report.say(f"A call of a plan that returns what it is given takes {milliseconds(empty)} ms.")
    report.judge("an empty plan, milliseconds", empty, targets.EMPTY_PLAN)


def data() -> tuple[np.ndarray, np.ndarray]:
    """Random inputs and labels."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((32, 64), np.float32), rng.integers(0, 10, 32)


def our_step(captured: bool) -> Callable[[], object]:
    """Ours, replayed or eager."""
    from tinygrad_norm import Tensor, capture, nn, ops, optim

    model = nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1D(128, activation="relu"), nn.Linear(128, 10))
    optimizer = optim.SGD(model.parameters(), LEARNING_RATE)
    inputs, labels = data()

    def step(inputs: Any, labels: Any) -> Any:
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(Tensor(inputs)), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return tried(partial(capture(step, strict=True), inputs, labels)) if captured else partial(step, inputs, labels)


def torch_step(fused: bool) -> Callable[[], object]:
    """PyTorch's."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 128), torch.nn.BatchNorm1d(128), torch.nn.ReLU(inplace=True), torch.nn.Linear(128, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, fused=fused or None)
    inputs, labels = map(torch.from_numpy, data())

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    return step


def jax_step() -> Callable[[], object]:
    """JAX's, as one jitted function."""
    import jax
    import jax.numpy as jnp

    from benchmarks.jax_peers import State, batch_norm, linear

    inputs, labels = map(jnp.asarray, data())

    def net(state: State, x: Any) -> Any:
        return linear(state, jax.nn.relu(batch_norm(state, linear(state, x, 128))), 10)

    drawn = State()
    net(drawn, inputs)

    def loss(params: Any, running: Any, x: Any, y: Any) -> Any:
        state = State(params, running)
        log_p = jax.nn.log_softmax(net(state, x))
        return -jnp.take_along_axis(log_p, y[:, None], 1).mean(), state.updated

    def step(params: Any, running: Any, x: Any, y: Any) -> Any:
        (value, running), grads = jax.value_and_grad(loss, has_aux=True)(params, running, x, y)
        return [p - LEARNING_RATE * g for p, g in zip(params, grads, strict=True)], running, value

    jitted = jax.jit(step, donate_argnums=(0, 1))
    held: list[Any] = [drawn.params, drawn.running]

    def once() -> None:
        *held[:], value = jitted(*held, inputs, labels)
        value.block_until_ready()

    return once


def empty_plan() -> float:
    """Milliseconds of a call of a plan that returns its argument, the least of ten times many."""
    from tinygrad_norm import Tensor, capture, no_grad

    same, x = capture(lambda x: x, strict=True), Tensor(np.ones(1, np.float32))
    times = []
    with no_grad():
        for _ in range(10):
            began = time.perf_counter()
            for _ in range(CALLS // 10):
                same(x)
            times.append(1e3 * (time.perf_counter() - began) / (CALLS // 10))
    return min(times)
