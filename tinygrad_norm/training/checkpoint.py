"""Checkpoints: model, optimizer and all that a run needs to go on exactly, in one safetensors file without pickle.

Arrays are the file's tensors ("model.layers.0.weight", "optimizer.state.0.momentum"); all else is one JSON text in its
metadata. The file's SHA-256 covers both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from tinygrad_norm import random
from tinygrad_norm.checks import check_path, described
from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.output import printable
from tinygrad_norm.schema import ANYTHING, COUNT, MAPPING, check_form, check_json, cut_lines
from tinygrad_norm.training.safetensors import DIGEST, read_safetensors, save_safetensors
from tinygrad_norm.training.state import join_state, split_state

VERSION = 1
FIELD = "tinygrad_norm.checkpoint"
FORM = {"version": COUNT, "random": MAPPING, "parts": {"extra": ANYTHING, ...: ANYTHING}}


class Stateful(Protocol):
    """Anything whose state can be saved: models, optimizers, schedules, loaders, trainers."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the state as nested dicts, lists, numbers, text and arrays."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Take up such a state."""


def save_checkpoint(
    path: StrPath,
    model: Stateful,
    optimizer: Stateful | None = None,
    *,
    schedule: Stateful | None = None,
    loader: Stateful | None = None,
    extra: Any = None,
) -> None:
    """Write the state of all that is given, and of the global random generator, to `path`.

    A crash at any moment leaves the old file or the new one.

    Args:
        path: the file; by custom it ends in ".safetensors".
        model: a Module, with its parameters and buffers.
        optimizer: with what it remembers of each parameter.
        schedule: of the learning rate.
        loader: with its position.
        extra: whatever else should come back: nested dicts, lists, numbers, text and arrays.

    Raises:
        TypeError: `path` is no path, or a part has no state.

    Example:
        >>> model = nn.Linear(3, 2)
        >>> save_checkpoint("run.safetensors", model, optim.SGD(model.parameters(), lr=0.1), extra={"epoch": 3})
        >>> load_checkpoint("run.safetensors")["extra"]
        {'epoch': 3}
    """
    save_parts(path, _checked_parts("save_checkpoint", path, model, loader, optimizer, schedule), extra)


def load_checkpoint(
    path: StrPath,
    model: Stateful | None = None,
    optimizer: Stateful | None = None,
    *,
    schedule: Stateful | None = None,
    loader: Stateful | None = None,
) -> dict[str, Any]:
    """Give all that is passed its state back, or, if any of it does not fit, change nothing.

    With an optimizer training is meant to go on, so the global random generator goes on from the saved state as well.

    Returns:
        "version" of the format, "parts" whose state the file has, and what was saved as "extra".

    Raises:
        TypeError: `path` is no path, or a part has no state.
        ValueError: the file is no checkpoint, is cut short or was altered, lacks a part, or is of another model or
            one of another dtype; then the message lists what differs.

    Example:
        >>> model, other = nn.Linear(3, 2), nn.Linear(3, 2)
        >>> save_checkpoint("run.safetensors", model)
        >>> load_checkpoint("run.safetensors", other)["parts"]
        ['model']
        >>> np.array_equal(model.weight.numpy(), other.weight.numpy())
        True
    """
    return load_parts(path, _checked_parts("load_checkpoint", path, model, loader, optimizer, schedule))


def _checked_parts(function: str, path: StrPath, *given: Any) -> dict[str, Stateful]:
    """Return the parts given by name, once they and the path are what they are called."""
    check_path(function, path)
    parts = given_parts(*given)
    for name, part in parts.items():
        if isinstance(part, type) or not hasattr(part, "state_dict"):
            raise TypeError(
                f"{function}: {name} is itself, not its state, and has a state_dict(), got {described(part)}"
            )
    return parts


def save_parts(path: StrPath, parts: Mapping[str, Stateful], extra: Any = None) -> None:
    """Write the states of named parts, and of the global random generator."""
    trees, arrays = {}, {}
    for name, state in {**{name: part.state_dict() for name, part in parts.items()}, "extra": extra}.items():
        trees[name], found = split_state(state, name)
        arrays.update(found)
    text = json.dumps({"version": VERSION, "random": random.state_dict(), "parts": trees}, allow_nan=False)
    try:
        check_json(text)
    except ValueError as error:
        raise ValueError(f"save_checkpoint: {error}") from None  # it could not be read again
    save_safetensors(path, arrays, {FIELD: text})


def load_parts(
    path: StrPath, parts: Mapping[str, Stateful], *, every: bool = False, saved: CheckpointContent | None = None
) -> dict[str, Any]:
    """Give each of the named parts its state back, or change nothing; returns what `load_checkpoint` does.

    With `every`, a part in the file that is not asked for is an error too. What the file holds is read, unless it was
    already and is given as `saved`.
    """
    saved = saved or read_checkpoint(path)
    if missing := [name for name in parts if name not in saved.states]:
        raise ValueError(f"{os.fspath(path)} holds no state of {', '.join(missing)}, only of {_listed(saved.states)}")
    if every and (unasked := [name for name in saved.states if name not in parts]):
        raise ValueError(f"{os.fspath(path)} holds the state of {_listed(unasked)}, which this run lacks")
    before = {name: part.state_dict() for name, part in parts.items()}  # a schedule's depends on the optimizer
    try:
        for name, part in parts.items():
            check_form(saved.states[name], MAPPING, f"the state of {name}")
            part.load_state_dict(saved.states[name])
            if name == "model":
                _check_dtypes(saved.states[name], before[name])
        if "optimizer" in parts:
            random.load_state_dict(saved.generator)
    except BaseException as error:
        for name, state in before.items():
            parts[name].load_state_dict(state)
        if isinstance(error, (TypeError, ValueError)):  # what a part says of a state that does not fit
            reason = cut_lines(str(error))
            raise ValueError(f"{os.fspath(path)} was not loaded, and nothing was changed: {reason}") from error
        raise
    return {"version": VERSION, "parts": list(saved.states), "extra": saved.extra}


class CheckpointContent(NamedTuple):
    """What a checkpoint holds: the states by part, that of the random generator, and what was saved as "extra"."""

    states: dict[str, Any]
    generator: Any
    extra: Any


def read_checkpoint(path: StrPath) -> CheckpointContent:
    """Read what a checkpoint holds, and give it to nobody.

    Raises:
        ValueError: the file is no checkpoint, is cut short or was altered.
    """
    arrays, metadata = read_safetensors(path)
    if FIELD not in metadata:
        advice = "read it with load_safetensors, and give a model its own with load_state_dict"
        raise ValueError(f"{os.fspath(path)} is no checkpoint, but arrays alone; {advice}")
    if DIGEST not in metadata:
        raise ValueError(f"{os.fspath(path)} was altered: the checksum of the checkpoint is missing")
    try:
        check_json(metadata[FIELD])
        content = json.loads(metadata[FIELD])
        check_form(content, {"version": COUNT, ...: ANYTHING}, "it")
        if (version := content["version"]) == VERSION:
            check_form(content, FORM, "it")
            states = {name: join_state(tree, arrays) for name, tree in content["parts"].items()}
    except (KeyError, TypeError, ValueError) as error:
        reason = cut_lines(f"{type(error).__name__}: {error}")
        raise ValueError(f"{os.fspath(path)} is no checkpoint: its description is malformed ({reason})") from error
    if version != VERSION:
        reads = f"this package reads version {VERSION}"
        raise ValueError(f"{os.fspath(path)} is a checkpoint of version {version}; {reads}")
    return CheckpointContent(states, content["random"], states.pop("extra"))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(printable, names))


def _check_dtypes(saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """A model casts what it loads, after which a run would not go on exactly."""
    for name, array in saved.items():
        current = own.get(name)
        if not (isinstance(array, np.ndarray) and isinstance(current, np.ndarray)):
            continue
        if array.dtype.kind == "f" and array.dtype != current.dtype:
            cast = f"call model.astype({str(array.dtype)!r}) first"
            raise ValueError(f"the checkpoint's {name} is {array.dtype}, the model's {current.dtype}; {cast}")


def given_parts(model: Any, loader: Any, optimizer: Any, schedule: Any, trainer: Any = None) -> dict[str, Stateful]:
    """Return what is given by name, in the order of loading: a schedule goes by what the optimizer has loaded."""
    parts = {"model": model, "loader": loader, "optimizer": optimizer, "schedule": schedule, "trainer": trainer}
    return {name: part for name, part in parts.items() if part is not None}
