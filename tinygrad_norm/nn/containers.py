"""Modules that hold others in order: Sequential calls one after the other, ModuleList leaves the calling to you."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, SupportsIndex, overload

from tinygrad_norm.nn.module import Module


class _Ordered(Module):
    """Modules in order, by number, each an attribute under its own name."""

    def __iter__(self) -> Iterator[Module]:
        return iter(self._own_modules().values())

    def __len__(self) -> int:
        return len(self._own_modules())

    @overload
    def __getitem__(self, index: SupportsIndex) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Module | Self:
        if isinstance(index, slice):
            return self._part(list(self._own_modules().items())[index])
        return self._item(index)[1]

    def _part(self, items: Iterable[tuple[str, Module]]) -> Self:
        """Return a container of some of these modules. It leaves their names on the tape alone."""
        part = type(self).__new__(type(self))
        Module.__init__(part)
        vars(part).update(items, training=self.training)
        return part

    def __setitem__(self, index: SupportsIndex, module: Module) -> None:
        self._add(self._item(index)[0], module)

    def append(self, module: Module) -> Self:
        """Add a module at the end, under the next free number; return this container."""
        numbers = map(str, itertools.count(len(self)))
        self._add(next(number for number in numbers if number not in vars(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end, in order; return this container."""
        for module in modules:
            self.append(module)
        return self

    def _item(self, index: SupportsIndex) -> tuple[str, Module]:
        items, number = list(self._own_modules().items()), operator.index(index)
        if not -len(items) <= number < len(items):
            raise IndexError(f"{type(self).__name__} holds {len(items)} modules, none at index {number}")
        return items[number]

    def _add(self, name: str, module: object) -> None:
        if not isinstance(module, Module):
            hint = ""
            if isinstance(module, type) and issubclass(module, Module):
                hint = f"; did you mean {module.__name__}(...)?"
            elif isinstance(module, list | tuple):
                hint = f"; did you mean {type(self).__name__}(*modules)?"
            raise TypeError(f"{type(self).__name__}: item {name} is a Module, got {module!r}{hint}")
        setattr(self, name, module)


class Sequential(_Ordered):
    """Call modules one after the other, each with what the one before returned.

    A condition, `model(x, labels)`, is given to each module that takes one, as `ConditionalBatchNorm2D` does, and a
    Sequential with one in it.

    Args:
        modules: named "0", "1", ...; or one mapping of names to modules.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1D(8), nn.ReLU(), nn.Linear(8, 2))
        >>> model(Tensor(np.random.default_rng(0).normal(size=(16, 4)), dtype="float32")).shape
        (16, 2)
        >>> model[1]
        BatchNorm1D(8, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        only = modules[0] if len(modules) == 1 else None
        named = only.items() if isinstance(only, Mapping) else ((str(n), module) for n, module in enumerate(modules))
        for name, module in named:
            self._add(name, module)

    @property
    def takes_condition(self) -> bool:
        """Whether one of the modules takes a condition."""
        return any(takes_condition(module) for module in self)

    def forward(self, x: Any, *condition: Any) -> Any:
        """Return what the last module makes of it."""
        if condition and not self.takes_condition:
            raise TypeError(
                "Sequential: the input is x alone, as no module in it takes a condition, "
                f"got {1 + len(condition)} inputs"
            )
        for value in tuple(vars(self).values()):
            if isinstance(value, Module):
                x = value(x, *condition) if condition and takes_condition(value) else value(x)
        return x


def takes_condition(module: Module) -> bool:
    """Return whether a module says that it is called with x and a condition."""
    return getattr(module, "takes_condition", False) is True


class ModuleList(_Ordered):
    """A list of modules that its owner finds the parameters of; it is not called itself.

    Example:
        >>> layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
        >>> len(layers), [name for name, _ in layers.named_parameters()][:2]
        (3, ['0.weight', '0.bias'])
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def _part(self, items: Iterable[tuple[str, Module]]) -> Self:
        return super()._part((str(number), module) for number, (_, module) in enumerate(items))
