"""How kernels are compiled: from one source, for one thread and for all of them, each when it is first used.

Numba keeps what it compiled as long as the file of the kernel is unchanged. So what a kernel calls stands in its file.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from types import FunctionType
from typing import Any

import numba
from numba.core import event

LARGE = 2**18
"""The number of elements from which all threads share the work."""

# NaN and infinity keep their meaning, and x / 0 is infinity, as in NumPy.
_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy"}
_ARITHMETIC = {"contract", "arcp", "nsz"}

helper: Callable[..., Any] = numba.njit(fastmath=_ARITHMETIC, **_OPTIONS)
"""Compiles a function that kernels call."""

free_order: Callable[..., Any] = numba.njit(fastmath=_ARITHMETIC | {"reassoc"}, **_OPTIONS)
"""The same for one in which sums may be taken in any order."""


def _let_threads_sleep() -> None:
    """Have OpenMP's threads sleep soon after a kernel: by default they spin, and keep NumPy's BLAS from the cores.

    GNU's spin for about 0.1 ms, which bridges the passes of a kernel and its neighbours: to wake one takes as long.
    """
    policy = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
    if not policy.keys().isdisjoint(os.environ):
        return
    os.environ.update(policy)  # read once, when the library is loaded
    try:
        import_module("numba.np.ufunc.omppool")
    except ImportError:
        pass  # Numba has another threading layer here
    finally:
        for name in policy:
            del os.environ[name]


_let_threads_sleep()

# One kernel at a time has all threads: one of Numba's threading layers cannot be entered twice, and none has to be.
# GNU's OpenMP does not survive a fork, so a forked process keeps to one thread.
_team = threading.Lock()
if sys.platform != "win32":
    os.register_at_fork(after_in_child=lambda: _team.acquire(blocking=False))


class Kernel:
    """A function on arrays, written with `prange`. It is called with the size of its work, then its arguments."""

    def __init__(self, source: Any) -> None:
        twin = FunctionType(source.__code__, source.__globals__, source.__name__, None, source.__closure__)
        twin.__qualname__ = f"{source.__qualname__}_parallel"  # by which the cache tells the two apart
        self.serial: Callable[..., Any] = numba.njit(source, fastmath=_ARITHMETIC, **_OPTIONS)
        self.parallel: Callable[..., Any] = numba.njit(twin, parallel=True, fastmath=_ARITHMETIC, **_OPTIONS)

    def __call__(self, size: int, *arguments: Any) -> Any:
        """Run with all threads where the work is large and they are free, else with one."""
        if size < LARGE or not _team.acquire(blocking=False):
            return self.serial(*arguments)
        try:
            return self.parallel(*arguments)
        finally:
            _team.release()


class _Announcement(event.Listener):  # type: ignore[misc] # Numba has no types
    """Says once, on stderr, why the first use of a kernel takes a while: Numba's cache does not have it."""

    said = False

    def on_start(self, event: Any) -> None:
        if not self.said and event.data["dispatcher"].__module__.startswith(__package__):
            self.said = True
            print("tinygrad_norm: compiling kernels, which later runs find in the cache", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        """Say nothing more."""


event.register("numba:compile", _Announcement())
