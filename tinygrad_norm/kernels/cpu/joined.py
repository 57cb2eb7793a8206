"""One launch in the place of several of one kernel, each on small arrays of its own, as an optimizer's step is.

To call a compiled function takes as long as it treats a thousand elements. A plan knows which launches follow each
other and where their arrays stay: so the addresses stand in a table, and a twin of the kernel takes row after row. It
calls the kernel itself; the compiler makes it a part of the twin, and would choose other products to add in one
operation, so of these kernels each operation is done as it is written: the bits are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import getitem
from typing import Any

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from tinygrad_norm.kernels.cpu.compiler import LARGE, Kernel, compiled, inline
from tinygrad_norm.launch import Array, Late

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class JoinableKernel(Kernel):
    """A kernel on flat arrays of one length and dtype, some of which may be None, and at the end late numbers."""

    arithmetic = False
    _several: Callable[..., Any]

    def several(self, source: Any) -> Any:
        """Decorate the twin: a function of a table of addresses, lengths and an array of the dtype, and the numbers.

        In both tables a row is a launch. A row of addresses has 0 in the place of None, and the length at the end.
        """
        self._several = compiled(source, self.arithmetic)
        return source

    @staticmethod
    def joins(arguments: tuple[Any, ...]) -> bool:
        """Whether a launch is so small that one thread takes it, as it takes all that are joined."""
        return bool(arguments[0] < LARGE)

    def joined(self, launches: Sequence[tuple[Any, ...]]) -> Call:
        """Several launches, given the arguments of each, as one call that may be made again and again."""
        sets = [arguments[1:-1] for arguments in launches]
        addresses = [[0 if each is None else _address(each) for each in arrays] for arrays in sets]
        table = np.array([[*row, arrays[0].size] for row, arrays in zip(addresses, sets, strict=True)], np.int64)
        return self._run, (table, sets, _Numbers([arguments[-1] for arguments in launches]))

    def _run(self, table: Array, sets: list[tuple[Any, ...]], numbers: _Numbers) -> None:
        self._several(table, sets[0][0], numbers())


class _Numbers:
    """The numbers of several launches, a row each, as they are when they are asked for.

    What several are computed from, as a learning rate, is looked up once; and where all rows are alike but for equal
    counts of steps, one is computed.
    """

    def __init__(self, given: list[Late]) -> None:
        sources = {_key(one): one for each in given for one in each.arguments}
        self._sources = [_looked_up(each) for each in sources.values()]
        places = {key: place for place, key in enumerate(sources)}
        rows = [[places[_key(one)] for one in each.arguments] for each in given]
        self._rows = [(each.function, row) for each, row in zip(given, rows, strict=True)]
        self._varying = [{*column} for column in zip(*rows, strict=True) if len({*column}) > 1]
        self._alike = all(each.function is given[0].function for each in given)
        self._table = np.empty((len(given), len(given[0]())))

    def __call__(self) -> Array:
        """A table of them."""
        now = [source() for source in self._sources]
        table, ((function, places), *_) = self._table, self._rows
        if self._alike and all(_is_one([now[place] for place in column]) for column in self._varying):
            table[:] = function(*[now[place] for place in places])
        else:
            for row, (function, places) in enumerate(self._rows):
                table[row] = function(*[now[place] for place in places])
        return table


def _key(each: Any) -> Any:
    """Equal for late numbers that are computed alike from the same things."""
    return (each.function, *map(_key, each.arguments)) if type(each) is Late else id(each)


def _looked_up(each: Any) -> Callable[[], Any]:
    """What gives a number that may be late; a call of a partial takes half the time of one of `Late`."""
    if type(each) is not Late:
        return partial(getitem, (each,), 0)
    return each if any(type(one) is Late for one in each.arguments) else partial(each.function, *each.arguments)


def _is_one(values: list[Any]) -> bool:
    """Whether they are one number; 0 and -0 are two."""
    return len({*values}) == 1 and values[0] != 0


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


@intrinsic
def _pointer(_: Any, address: Any, like: Any) -> tuple[Any, Callable[..., Any]]:
    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(address, like), code


@inline
def array_at(address: int, length: int, like: Array) -> Array:
    """The flat array of that length and the dtype of `like` that lies there."""
    return carray(_pointer(address, like), (length,))
