"""What an optimizer knows of its parameters: dicts that tell what changes in them, and what Python reads of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_norm import generation, launch


class Watched(dict[str, Any]):
    """A dict that tells whoever records a plan which values Python looks up: a replay would have them as they were.

    The package's own code, which has launches look them up anew (`launch.item`), goes past this: dict.get(group, name).
    """


class ParamState(Watched):
    """What is remembered of one parameter; a step aside, the package looks at none of it."""

    tells_each_look = True


class ParamGroup(Watched):
    """Parameters and their options: a dict that raises the generation whenever it is changed."""

    raises_generation = True


def _reading(name: str, one: bool) -> Callable[..., Any]:
    """Return the method of dict, which tells that it reads one value, or all."""
    method = getattr(dict, name)

    def read(self: Watched, *arguments: Any) -> Any:
        if launch.active:
            for key in arguments[:1] if one else dict.keys(self):
                launch.looked_up(self, key)
        return method(self, *arguments)

    return read


def _telling(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that tells of the change that it makes."""

    def change(self: ParamGroup, *arguments: Any, **items: Any) -> Any:
        result = method(self, *arguments, **items)
        generation.advance()
        return result

    return change


for _name in ("__getitem__", "get", "pop", "setdefault"):
    setattr(Watched, _name, _reading(_name, True))
# Of dict(group) and {**group} nobody is told unless the class has an __iter__ of its own: then they look up each key.
for _name in ("__iter__", "__eq__", "__ne__", "__or__", "__ror__", "__repr__", "copy", "items", "popitem", "values"):
    setattr(Watched, _name, _reading(_name, False))
for _name in ("__setitem__", "__delitem__", "__ior__", "update", "setdefault", "pop", "popitem", "clear"):
    setattr(ParamGroup, _name, _telling(getattr(ParamGroup, _name)))
