"""`tinygrad-norm profile`: what a net costs, op by op."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm import random
from tinygrad_norm.checks import check_integer
from tinygrad_norm.cli.arguments import Commands, add_command, add_flags, add_model, add_norm, add_options, add_output
from tinygrad_norm.cli.replay import print_replays
from tinygrad_norm.dtypes import Array
from tinygrad_norm.figures import check_format, new_figure
from tinygrad_norm.files import check_writable
from tinygrad_norm.modes import composed
from tinygrad_norm.nn import CrossEntropyLoss, Module
from tinygrad_norm.optim import Optimizer
from tinygrad_norm.output import printable
from tinygrad_norm.tables import format_table, plural
from tinygrad_norm.tensor import Tensor
from tinygrad_norm.training.preparation import make_model, make_optimizer
from tinygrad_norm.training.recipe import Recipe, recipe_for
from tinygrad_norm.training.step import take_step
from tinygrad_norm.viz.timeline import Timeline, median

CLASSES = 10
OUTSIDE = "outside of ops: Python, sums of gradients that meet, memory given back, and this measurement itself"


def add_commands(commands: Commands) -> None:
    """Add the command."""
    words, defaults = "measure time and memory of a training step, op by op", {"top": 10, "repeats": 5}
    command = add_command(commands, "profile", run_profile, words, batch_size=64, image_size=32, **defaults)
    add_model(command)
    add_norm(command)
    add_options(command, int, "N", batch_size="images a step (default: 64)")
    add_options(command, int, "N", image_size="height and width (default: 32)")
    add_options(command, int, "N", top="how many ops are listed (default: 10)")
    add_options(command, int, "N", repeats="how many steps are timed (default: 5)")
    add_flags(command, composed="run fused ops as their definitions", captured="replay the step, launch by launch")
    add_flags(command, json="print all figures as JSON")
    add_output(command, "FILE", "draw memory and time (.png, .svg, .pdf), or write .json")


@dataclass(frozen=True)
class StepTimes:
    """What one training step took, in seconds, and what its ops did."""

    forward: float
    backward: float
    optimizer: float
    timeline: Timeline


def run_profile(args: argparse.Namespace) -> None:
    """Time some training steps after a first one that is not counted, and print the medians."""
    recipe = recipe_for(args.model, batch_size=args.batch_size, image_size=args.image_size, norm=args.norm)
    top, repeats = check_integer("--top", args.top, 1), check_integer("--repeats", args.repeats, 1)
    size = f"{args.batch_size}×3×{args.image_size}×{args.image_size}"
    how = ", every fused op as its definition" if args.composed else ""
    title = f"{recipe.model}, input {size}{how}"
    if args.captured:
        if args.output is not None:
            raise ValueError(f"profile --captured: it prints alone, and draws nothing into {printable(args.output)}")
        print_replays(args, title, make_whole_step(recipe))
        return
    if args.output is not None:
        check_profile_output(args.output)
    step = make_step(recipe)
    with composed(args.composed):
        step()
        steps = [step() for _ in range(repeats)]
    middle = median([step.timeline for step in steps])
    seconds = {name: [getattr(step, name) for step in steps] for name in ("forward", "backward", "optimizer")}
    if args.output is not None:
        middle.save(args.output)
    if args.json:
        print(json.dumps(_figures(args, middle, seconds, top), indent=2))
        return
    print(f"{title}: the median of {plural(repeats, 'training step')}\n")
    print(f"{_totals(middle, seconds)}\n\n{middle.describe_peak()}, parameters and their gradients not counted")
    print(f"\n{middle.tables(top, sum(map(statistics.median, seconds.values())))}")
    if args.output is not None:
        print(f"\nwritten: {printable(args.output)}")


class _Parts(NamedTuple):
    """What a training step is made of."""

    model: Module
    optimizer: Optimizer
    loss: CrossEntropyLoss
    images: Array
    labels: Array


def _parts(recipe: Recipe) -> _Parts:
    """A net in training, and random images for it."""
    random.manual_seed(recipe.seed)
    model = make_model(recipe, 3, CLASSES).train()
    rng = np.random.default_rng(recipe.seed)
    shape = (recipe.batch_size, 3, recipe.image_size, recipe.image_size)
    images, labels = rng.standard_normal(shape).astype(np.float32), rng.integers(CLASSES, size=recipe.batch_size)
    loss = CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    return _Parts(model, make_optimizer(recipe, model), loss, images, labels)


def make_whole_step(recipe: Recipe) -> Callable[[], Any]:
    """Return a function that takes one training step with random images, as a trainer does."""
    parts = _parts(recipe)
    return lambda: take_step(*parts)


def make_step(recipe: Recipe) -> Callable[[], StepTimes]:
    """Return a function that takes one training step with random images, and times it."""
    model, optimizer, loss, images, labels = _parts(recipe)

    def step() -> StepTimes:
        optimizer.zero_grad()
        x = Tensor(images)
        with Timeline() as timeline:
            began = time.perf_counter()
            value = loss(model(x), labels)
            forward = time.perf_counter()
            value.backward()
            backward = time.perf_counter()
        updating = time.perf_counter()
        optimizer.step()
        return StepTimes(forward - began, backward - forward, time.perf_counter() - updating, timeline)

    return step


def check_profile_output(path: Path) -> None:
    """Refuse, before any work, a file that could not be written.

    Raises:
        ValueError: the suffix is unknown.
        OSError: it lies where nothing can be written.
        ImportError: a picture is wanted, and matplotlib is not installed.
    """
    check_format("profile", path, ".json")
    if path.suffix.lower() != ".json":
        new_figure(1, 1)
    check_writable(path)


def _totals(middle: Timeline, seconds: dict[str, list[float]]) -> str:
    """Return the parts of a step, and how much of each is in ops."""
    whole = sum(map(statistics.median, seconds.values()))
    rows = [("", "ms", "of time", "in ops", "outside")]
    for name, runs in seconds.items():
        part = statistics.median(runs)
        inside = middle.seconds_of("forward" if name == "forward" else "backward") if name != "optimizer" else 0.0
        figures = (f"{1e3 * inside:,.2f}", f"{1e3 * (part - inside):,.2f}") if name != "optimizer" else ("", "")
        rows.append((name, f"{1e3 * part:,.2f}", f"{part / whole:.1%}", *figures))
    rows.append(("step", f"{1e3 * whole:,.2f}", "100.0%", "", ""))
    return f"{format_table(rows)}\n{OUTSIDE}"


def _figures(args: argparse.Namespace, middle: Timeline, seconds: dict[str, list[float]], top: int) -> dict[str, Any]:
    most, event = middle.peak
    return {
        **{name: getattr(args, name) for name in ("model", "batch_size", "image_size", "norm", "composed", "repeats")},
        "seconds": {name: statistics.median(runs) for name, runs in seconds.items()},
        "seconds_outside_ops": middle.outside_ops,
        "peak_bytes": most,
        "peak_after": None if event is None else asdict(event),
        "slowest": [asdict(event) for event in middle.slowest(top)],
        "largest": [asdict(event) for event in middle.largest(top)],
    }
