"""Notices when an array that the tape saved was changed in place since.

NumPy tells nobody of a write, so two things are watched. Code of this package that writes in place says so
(`mark_changed`, a version). A user can only write through an array that was handed out (`hand_out`), so as long as that
one, or any view of it, is alive, bytes are compared: with a checksum from the moment of saving, or, where an array was
saved before it was handed out, from that moment. Once all of them are gone the bytes are compared one last time, and
from then on cost nothing again. Arrays that nobody asked for cost one lookup.
"""

from __future__ import annotations

import itertools
import threading
import weakref
import zlib
from typing import Any, NamedTuple

import numpy as np

from tinygrad_norm.dtypes import Array
from tinygrad_norm.forks import free_when_forking


class Snapshot(NamedTuple):
    """What was true of an array when the tape saved it."""

    version: int
    found: int
    checksum: int | None


UNTOUCHED = Snapshot(0, 0, None)


class _Watch:
    """What is known of one block of memory that can have changed."""

    __slots__ = ("before", "found", "handed", "owner", "saved", "version")

    def __init__(self, owner: weakref.ref[Array]) -> None:
        self.owner = owner
        self.version = 0
        """Another number after each change that this package told of."""
        self.saved = True
        """Whether the tape may have saved it since."""
        self.found = 0
        """Another number after each change that was found when the arrays handed out were gone."""
        self.handed: dict[int, weakref.ref[Array] | None] = {}
        """The arrays handed out that are alive; None in the place of what may be, which nobody can know."""
        self.before: int | None = None
        """The checksum from before the first of them, for what was saved until then."""

    def settle(self, owner: Array) -> None:
        """Compare the bytes one last time, if nobody is left who could write."""
        if self.before is not None and not self.handed:
            if _checksum(owner) != self.before:
                self.found = next(_changes)
            self.before = None


class _Lent:
    """Lends an array's memory to the one array made from it.

    NumPy has each view of a view refer to the first of them whose memory comes from something that is no array. So the
    array made from this object lives for as long as anything through which its memory can be written.
    """

    __slots__ = ("__array_interface__", "array")

    def __init__(self, array: Array) -> None:
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, "strides": array.strides}


_watched: dict[int, _Watch] = {}
_changes = itertools.count(1)
_lock = free_when_forking(threading.RLock())


def mark_changed(*arrays: Array) -> None:
    """Say that `arrays` were just written in place by code of this package."""
    for array in arrays:
        watch = _watch(owner_of(array))
        watch.before, watch.saved = None, False  # what was saved before is refused, whatever else happens
        watch.version = next(_changes)


def hand_out(array: Array) -> Array:
    """The memory of `array` as an array for somebody outside of the package, who may write to it."""
    owner = owner_of(array)
    watch = _watch(owner)
    with _lock:
        for known in tuple(watch.handed.values()):
            handed = None if known is None else known()
            if handed is not None and lent_by(handed) is array:
                return handed
        if watch.saved and watch.before is None and not watch.handed:
            watch.before = _checksum(owner)
        handed = np.asarray(_Lent(array))
        alive = watch.handed
        reference = weakref.ref(handed, lambda gone: alive.pop(id(gone), None))
        alive[id(reference)] = reference
        return handed


def lent_by(array: Array) -> Array | None:
    """The array whose memory was handed out as `array`; None if that is not what it is."""
    lent: Any = array.base
    return lent.array if type(lent) is _Lent else None


def expose(array: Array) -> None:
    """Say that the memory of `array` is somebody else's, who may write to it at any time."""
    _watch(owner_of(array)).handed[0] = None


def is_lent(array: Array) -> bool:
    """Whether somebody outside of the package may write to `array` at any time."""
    watch = _watched.get(id(owner_of(array)))
    return watch is not None and bool(watch.handed)


def snapshot(array: Array) -> Snapshot:
    """What `unchanged` will compare `array` with."""
    owner = array if array.base is None else owner_of(array)
    watch = _watched.get(id(owner))
    if watch is None:
        return UNTOUCHED
    version = watch.version
    watch.saved = True  # after the version is read: of a change in between, this snapshot knows nothing
    if watch.before is None and not watch.handed:
        return Snapshot(version, watch.found, None)
    with _lock:
        watch.settle(owner)
        return Snapshot(version, watch.found, _checksum(array) if watch.handed else None)


def unchanged(array: Array, snapshot: Snapshot) -> bool:
    """Whether `array` holds what it held when `snapshot` was made."""
    owner = array if array.base is None else owner_of(array)
    watch = _watched.get(id(owner))
    if watch is None:
        return True
    if watch.version != snapshot.version:
        return False
    if snapshot.checksum is not None:
        return _checksum(array) == snapshot.checksum
    if watch.before is not None:
        with _lock:
            watch.settle(owner)
            if watch.before is not None and _checksum(owner) != watch.before:
                return False
    return watch.found == snapshot.found


def owner_of(array: Array) -> Array:
    """The array whose memory `array` looks at."""
    base: Any = array.base
    while base is not None:
        if type(base) is _Lent:
            base = base.array
        elif not isinstance(base, np.ndarray):
            break
        array, base = base, base.base
    return array


def _watch(owner: Array) -> _Watch:
    key = id(owner)
    watch = _watched.get(key)
    if watch is None:  # the callback runs before another array can have the address
        new = _Watch(weakref.ref(owner, lambda _: _watched.pop(key, None)))
        watch = _watched.setdefault(key, new)  # in one step, as another thread may do the same
    return watch


def _checksum(array: Array) -> int:
    # CRC-32 catches every change of up to 32 neighbouring bits, so every change of a single float32.
    return zlib.crc32(np.ascontiguousarray(array).data)
