"""The one global random generator: weight initialization and dropout draw from it.

Loaders and augmentation own theirs, so that the order of the data does not depend on the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_norm.checks import check_integer
from tinygrad_norm.forks import free_when_forking

_generator = np.random.Generator(np.random.PCG64())
free_when_forking(_generator.bit_generator.lock)


def generator() -> np.random.Generator:
    """Return the global generator, always the same object."""
    return _generator


def manual_seed(seed: int | np.integer[Any]) -> np.random.Generator:
    """Restart the global generator from a seed, and return it.

    Raises:
        TypeError: the seed is not an integer.
        ValueError: the seed is negative.

    Example:
        >>> _ = manual_seed(0)
        >>> first = nn.Linear(3, 2).weight.numpy()
        >>> _ = manual_seed(0)
        >>> np.array_equal(first, nn.Linear(3, 2).weight.numpy())
        True
    """
    _generator.bit_generator.state = np.random.PCG64(check_integer("manual_seed: seed", seed, 0, math.inf)).state
    return _generator


def state_dict() -> dict[str, Any]:
    """Return the generator's state as strings, integers and dicts, ready for JSON."""
    return dict(_generator.bit_generator.state)


def load_state_dict(state: Mapping[str, Any]) -> None:
    """Continue from a state that `state_dict` returned; a state that is refused changes nothing.

    Raises:
        ValueError: the state is not one of a PCG64 generator.
    """
    trial = np.random.PCG64()
    try:
        trial.state = dict(state)  # type: ignore[assignment] # NumPy itself checks that it fits
        if trial.state != state:
            raise ValueError("a number in it is not a whole one")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"random.load_state_dict: not the state of a PCG64 generator ({error!r})") from error
    _generator.bit_generator.state = trial.state
