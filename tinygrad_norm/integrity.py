"""Notices when an array that the tape saved was changed in place since.

NumPy tells nobody of a write, so two things are watched. Code of this package that writes in place says so
(`mark_changed`, a version number). A user can only write through an array that a tensor handed out (`expose`), so from
then on its bytes are compared: with a checksum from the moment of saving, or, where it was saved before it was first
handed out, from that moment. Arrays that nobody asked for cost one lookup.
"""

from __future__ import annotations

import weakref
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Seal(NamedTuple):
    """What was true of an array when the tape saved it."""

    version: int
    checksum: int | None


UNTOUCHED = Seal(0, None)


class _Watch:
    """What is known of one block of memory that can have changed."""

    __slots__ = ("checksum", "owner", "version")

    def __init__(self, owner: weakref.ref[Array]) -> None:
        self.owner = owner
        self.version = 0
        self.checksum: int | None = None


_watched: dict[int, _Watch] = {}


def mark_changed(array: Array) -> None:
    """Say that `array` was just written in place by code of this package."""
    _watch(array).version += 1


def expose(array: Array) -> None:
    """Say that `array` leaves the package, so that anybody may write to its memory from now on."""
    watch = _watch(array)
    if watch.checksum is None:
        watch.checksum = _checksum(owner_of(array))


def seal(array: Array) -> Seal:
    """What `intact` will compare `array` with."""
    watch = _watched.get(id(array if array.base is None else owner_of(array)))
    if watch is None:
        return UNTOUCHED
    return Seal(watch.version, None if watch.checksum is None else _checksum(array))


def intact(array: Array, seal: Seal) -> bool:
    """Whether `array` holds what it held when `seal` was made."""
    owner = array if array.base is None else owner_of(array)
    watch = _watched.get(id(owner))
    if watch is None:
        return True
    if watch.version != seal.version:
        return False
    if seal.checksum is not None:
        return _checksum(array) == seal.checksum
    return watch.checksum is None or _checksum(owner) == watch.checksum


def _watch(array: Array) -> _Watch:
    owner = owner_of(array)
    key = id(owner)
    watch = _watched.get(key)
    if watch is None:
        watch = _watched[key] = _Watch(weakref.ref(owner, lambda _: _watched.pop(key, None)))
    return watch


def owner_of(array: Array) -> Array:
    """The array whose memory `array` looks at."""
    base = array.base
    while base is not None and isinstance(base, np.ndarray):
        array, base = base, base.base
    return array


def _checksum(array: Array) -> int:
    # CRC-32 catches every change of up to 32 neighbouring bits, so every change of a single float32.
    return zlib.crc32(np.ascontiguousarray(array).data)
