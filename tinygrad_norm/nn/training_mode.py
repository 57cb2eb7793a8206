"""The modes of a model's parts: training or inference, each for itself, set for a while and put back.

A part that somebody put in inference, while others train, is frozen: it stays so through training. A model all of whose
parts are in inference says nothing of any: it was left so after it was used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygrad_norm.nn.module import Module


def frozen_paths(model: Module, before: Iterable[str] = ()) -> list[str]:
    """Return the paths of the parts that are frozen, or, of a model that is in inference as a whole, those `before`."""
    parts = dict(model.named_modules())
    if not any(part.training for part in parts.values()):
        return list(before)
    return [path for path, part in parts.items() if not part.training]


def start_training(model: Module, before: Iterable[str] = ()) -> list[str]:
    """Put a model that is in inference as a whole in training, but for the parts at the paths `before`.

    A model of which any part trains is left as it is.

    Returns:
        The paths of the parts that are frozen then.
    """
    if not any(part.training for part in model.modules()):
        model.train()
        freeze(model, before)
    return frozen_paths(model)


def freeze(model: Module, paths: Iterable[str]) -> None:
    """Put the parts at these paths in inference, each for itself: not what is inside.

    Raises:
        ValueError: there is no such part; nothing has changed then.
    """
    parts = dict(model.named_modules(remove_duplicate=False))
    paths = list(paths)
    if unknown := [path for path in paths if path not in parts]:
        raise ValueError(f"a part that is to stay in inference is not in the model: {unknown[0]!r}")
    for path in paths:
        parts[path].training = False


@contextmanager
def in_inference(model: Module) -> Iterator[None]:
    """Put a model in inference for a while; afterwards each part is in the mode it was in."""
    with _modes_kept(model):
        model.eval()
        yield


@contextmanager
def in_training(model: Module, frozen: Iterable[str] = ()) -> Iterator[None]:
    """Put a model in training for a while, but for the parts at these paths; afterwards the modes are as before."""
    with _modes_kept(model):
        model.train()
        freeze(model, frozen)
        yield


@contextmanager
def _modes_kept(model: Module) -> Iterator[None]:
    modes = [(part, part.training) for part in model.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
