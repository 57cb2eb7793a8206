"""Checkpoints: model, optimizer and all that a run needs to go on exactly, in one safetensors file without pickle.

Arrays are the file's tensors ("model.layers.0.weight", "optimizer.state.0.momentum"); all else is one JSON text in its
metadata. The file's SHA-256 covers both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from tinygrad_norm import random
from tinygrad_norm.output import printable
from tinygrad_norm.training.safetensors import DIGEST, read_safetensors, save_safetensors
from tinygrad_norm.training.state import join_state, split_state

VERSION = 1
FIELD = "tinygrad_norm.checkpoint"


class Stateful(Protocol):
    """Anything whose state can be saved: models, optimizers, schedules, loaders, trainers."""

    def state_dict(self) -> Mapping[str, Any]:
        """The state as nested dicts, lists, numbers, text and arrays."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Take up such a state."""


def save_checkpoint(
    path: str | os.PathLike[str],
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
    """
    save_parts(path, _given(model, loader, optimizer, schedule), extra)


def load_checkpoint(
    path: str | os.PathLike[str],
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
        ValueError: the file is no checkpoint, is cut short or was altered, lacks a part, or is of another model or
            one of another dtype; then the message lists what differs.
    """
    return load_parts(path, _given(model, loader, optimizer, schedule))


def save_parts(path: str | os.PathLike[str], parts: Mapping[str, Stateful], extra: Any = None) -> None:
    """Write the states of named parts, and of the global random generator."""
    trees, arrays = {}, {}
    for name, state in {**{name: part.state_dict() for name, part in parts.items()}, "extra": extra}.items():
        trees[name], found = split_state(state, name)
        arrays.update(found)
    text = json.dumps({"version": VERSION, "random": random.state_dict(), "parts": trees}, allow_nan=False)
    save_safetensors(path, arrays, {FIELD: text})


def load_parts(path: str | os.PathLike[str], parts: Mapping[str, Stateful], *, every: bool = False) -> dict[str, Any]:
    """Give each of the named parts its state back, or change nothing; returns what `load_checkpoint` does.

    With `every`, a part in the file that is not asked for is an error too.
    """
    states, generator = _read(path)
    extra = states.pop("extra")
    if missing := [name for name in parts if name not in states]:
        raise ValueError(f"{os.fspath(path)} holds no state of {', '.join(missing)}, only of {_listed(states)}")
    if every and (unasked := [name for name in states if name not in parts]):
        raise ValueError(f"{os.fspath(path)} holds the state of {_listed(unasked)}, which this run lacks")
    before = {name: part.state_dict() for name, part in parts.items()}  # a schedule's depends on the optimizer
    try:
        for name, part in parts.items():
            part.load_state_dict(states[name])
            if name == "model":
                _check_dtypes(states[name], before[name])
        if "optimizer" in parts:
            random.load_state_dict(generator)
    except BaseException as error:
        for name, state in before.items():
            parts[name].load_state_dict(state)
        error.add_note(f"{os.fspath(path)} was not loaded, and nothing was changed")
        raise
    return {"version": VERSION, "parts": list(states), "extra": extra}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(printable, names))


def _check_dtypes(saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """A model casts what it loads, after which a run would not go on exactly."""
    for name, array in saved.items():
        current = own.get(name)
        if not (isinstance(array, np.ndarray) and isinstance(current, np.ndarray)):
            continue
        if array.dtype.kind == "f" and array.dtype != current.dtype:
            raise ValueError(
                f"the checkpoint's {name} is {array.dtype}, the model's {current.dtype}; "
                f"call model.astype({str(array.dtype)!r}) first"
            )


def _given(
    model: Stateful | None, loader: Stateful | None, optimizer: Stateful | None, schedule: Stateful | None
) -> dict[str, Stateful]:
    # The order of loading: a schedule goes by what the optimizer has loaded.
    parts = {"model": model, "loader": loader, "optimizer": optimizer, "schedule": schedule}
    return {name: part for name, part in parts.items() if part is not None}


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Any]:
    """The states by part ("extra" among them), and the state of the random generator."""
    arrays, metadata = read_safetensors(path)
    if FIELD not in metadata:
        raise ValueError(
            f"{os.fspath(path)} is no checkpoint, but arrays alone; read it with load_safetensors, "
            "and give a model its own with load_state_dict"
        )
    if DIGEST not in metadata:
        raise ValueError(f"{os.fspath(path)} was altered: the checksum of the checkpoint is missing")
    try:
        content = json.loads(metadata[FIELD])
        version = content["version"]
        if version == VERSION:
            return {name: join_state(tree, arrays) for name, tree in content["parts"].items()}, content["random"]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)} is no checkpoint: its description is malformed ({error!r})") from error
    raise ValueError(f"{os.fspath(path)} is a checkpoint of version {version}; this package reads version {VERSION}")
