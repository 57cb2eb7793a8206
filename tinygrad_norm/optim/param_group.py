"""A parameter group: its parameters and their options, whose every change is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_norm import generation


class ParamGroup(dict[str, Any]):
    """A dict that raises the generation whenever it is changed."""

    raises_generation = True


def _telling(name: str) -> Callable[..., Any]:
    """Return the method of dict, which tells of the change."""
    method = getattr(dict, name)

    def change(self: ParamGroup, *arguments: Any, **items: Any) -> Any:
        result = method(self, *arguments, **items)
        generation.advance()
        return result

    return change


for _name in ("__setitem__", "__delitem__", "__ior__", "update", "setdefault", "pop", "popitem", "clear"):
    setattr(ParamGroup, _name, _telling(_name))
