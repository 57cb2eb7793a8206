"""How kernels are compiled: from one source, for one thread and for all of them, each when it is first used.

Numba keeps what it compiled. It would compile anew when the file of a kernel has changed; here, when any file of the
kernels has, for they call each other.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from importlib import import_module
from itertools import product
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba.core import event
from numba.core.compiler import Compiler
from numba.extending import register_jitable
from threadpoolctl import ThreadpoolController

from tinygrad_norm.kernels.cpu import memory

LARGE = 2**18
"""The number of elements from which all threads share the work."""

# NaN and infinity keep their meaning, and x / 0 is infinity, as in NumPy.
_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
_ARITHMETIC = {"contract", "arcp", "nsz"}

_INNER = _OPTIONS | {"no_cpython_wrapper": True, "cache": False, "_nrt": True}
_BARE = _INNER | {"_nrt": False}  # not a public name of Numba's; where it is left out, the caller's choice counts

helper: Callable[..., Any] = numba.njit(fastmath=_ARITHMETIC, **_INNER)
"""Compiles a function that kernels call."""


class _Apart(Compiler):  # type: ignore[misc] # Numba has no types
    """Numba's compiler, told that no two arrays that a function is called with overlap."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()


apart: Callable[..., Any] = numba.njit(pipeline_class=_Apart, fastmath=_ARITHMETIC, **_BARE)
"""As `helper`, for one that writes to several arrays at once, none of which overlaps any other: it is vectorized.

Arrays in a tuple are told apart as well; one that is given twice may only be read. Like a function of a free order, it
counts no references to arrays, which takes longer than to add up a short row: it can neither make an array nor return
one.
"""

inline: Callable[..., Any] = register_jitable(forceinline=True)
"""For a function that is part of whoever calls it: a loop around a call that is left is not vectorized."""

free_order: Callable[..., Any] = numba.njit(fastmath=_ARITHMETIC | {"reassoc"}, forceinline=True, **_BARE)
"""The same for one in which sums may be taken in any order."""


def _let_threads_sleep() -> None:
    """Have OpenMP's threads sleep soon after a kernel: by default they spin, and keep NumPy's BLAS from the cores.

    GNU's spin for about 1 ms, which bridges what Python does between two kernels: to wake one takes 0.1 ms.
    """
    policy = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "100000"}
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
memory.keep()

# One kernel at a time has all threads: one of Numba's threading layers cannot be entered twice, and none has to be.
# GNU's OpenMP does not survive a fork, so a forked process keeps to one thread.
_team = threading.Lock()
if sys.platform != "win32":
    os.register_at_fork(after_in_child=lambda: _team.acquire(blocking=False))


@cache
def _version() -> tuple[Any, ...]:
    """Of all the kernels' files."""
    return tuple((path.name, path.stat().st_mtime_ns) for path in sorted(Path(__file__).parent.glob("*.py")))


def _compiled(source: FunctionType, **options: Any) -> Any:
    dispatcher = numba.njit(source, fastmath=_ARITHMETIC, **_OPTIONS, **options)
    dispatcher._cache._cache_file._source_stamp = _version()  # Numba has no public name for it
    return dispatcher


class Kernel:
    """A function on arrays, written with `prange`. It is called with the size of its work, then its arguments."""

    def __init__(self, source: Any) -> None:
        twin = FunctionType(source.__code__, source.__globals__, source.__name__, None, source.__closure__)
        twin.__qualname__ = f"{source.__qualname__}_parallel"  # by which the cache tells the two apart
        self.serial: Callable[..., Any] = _compiled(source)
        self.parallel: Callable[..., Any] = _compiled(twin, parallel=True)

    def __call__(self, size: int, *arguments: Any) -> Any:
        """Run with all threads where the work is large and they are free, else with one."""
        if size < LARGE or not _team.acquire(blocking=False):
            return self.serial(*arguments)
        try:
            return self.parallel(*arguments)
        finally:
            _team.release()


class ProductKernel(Kernel):
    """A kernel that calls `blas.multiply`, which is SciPy's BLAS: each of our threads has one of its own."""

    def __call__(self, size: int, *arguments: Any) -> Any:
        """Run as any kernel."""
        with _single_threaded_blas:
            return super().__call__(size, *arguments)


class _SingleThreadedBlas:
    """While somebody is in here, SciPy's BLAS uses one thread, and afterwards as many as before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = [get() for get, _ in _scipy_pools()]
                for _, set_to in _scipy_pools():
                    set_to(1)
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for (_, set_to), before in zip(_scipy_pools(), self._before, strict=True):
                    set_to(before)


_single_threaded_blas = _SingleThreadedBlas()


@cache
def _scipy_pools() -> list[tuple[Callable[[], int], Callable[[int], object]]]:
    """What gets and what sets the number of threads of SciPy's BLAS."""
    import_module("scipy.linalg.cython_blas")
    pools = [pool for pool in ThreadpoolController().lib_controllers if pool.user_api == "blas"]
    scipy = [pool for pool in pools if "scipy" in pool.filepath] or pools  # or the one that it shares with NumPy
    return [_openblas(pool.filepath) or (pool.get_num_threads, pool.set_num_threads) for pool in scipy]


def _openblas(path: str) -> tuple[Callable[[], int], Callable[[int], object]] | None:
    """The same two of OpenBLAS itself, which take a microsecond: threadpoolctl looks for them at each call."""
    library = ctypes.CDLL(path)
    for prefix, suffix in product(("", "scipy_"), ("", "_", "64_", "_64")):
        names = [f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
        if all(hasattr(library, name) for name in names):
            get, set_to = (getattr(library, name) for name in names)
            return get, set_to
    return None


_kept = threading.local()


def scratch(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    """An array for a kernel's own use, with anything in it; each thread has one memory for each name."""
    size = math.prod(shape) * dtype.itemsize
    memory: Any = getattr(_kept, name, None)
    if memory is None or memory.size < size:
        memory = np.empty(size, np.uint8)
        setattr(_kept, name, memory)
    return memory[:size].view(dtype).reshape(shape)


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
