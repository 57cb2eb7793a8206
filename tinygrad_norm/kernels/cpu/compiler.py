"""How kernels are compiled: from one source, for one thread and for all of them, each when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
from numba.extending import register_jitable

from tinygrad_norm.kernels.cpu import compile_events, memory, threads
from tinygrad_norm.kernels.cpu.cache import cache_of
from tinygrad_norm.kernels.cpu.numba_internals import Compiler

LARGE = 2**18
"""The number of elements from which all threads share the work."""

# NaN and infinity keep their meaning, and x / 0 is infinity, as in NumPy.
_OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
_ARITHMETIC = {"contract", "arcp", "nsz"}

_INNER = _OPTIONS | {"no_cpython_wrapper": True, "_nrt": True}
_BARE = _INNER | {"_nrt": False}  # where it is left out, the caller's choice counts

device: Callable[..., Any] = numba.njit(fastmath=_ARITHMETIC, **_INNER)
"""Compiles a function that kernels call."""


class _NoAlias(Compiler):  # type: ignore[misc] # Numba has no types
    """Numba's compiler, told that no two arrays that a function is called with overlap."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()


noalias: Callable[..., Any] = numba.njit(pipeline_class=_NoAlias, fastmath=_ARITHMETIC, **_BARE)
"""As `device`, for one that writes to several arrays at once, none of which overlaps any other: it is vectorized.

Arrays in a tuple are told apart as well; one that is given twice may only be read. Like a function of a free order, it
counts no references to arrays, which takes longer than to add up a short row: it can neither make an array nor return
one.
"""

inline: Callable[..., Any] = register_jitable(forceinline=True)
"""For a function that is part of whoever calls it: a loop around a call that is left is not vectorized."""

reassociate: Callable[..., Any] = numba.njit(fastmath=_ARITHMETIC | {"reassoc"}, forceinline=True, **_BARE)
"""Compiles a function in which sums may be taken in any order, as a part of whoever calls it."""

ordered: Callable[..., Any] = numba.njit(fastmath=_ARITHMETIC, forceinline=True, **_BARE)
"""For a part of one that is compiled by `reassociate` whose operations stay in the order in which they are written."""

memory.keep()
compile_events.listen()


def _compiled(source: FunctionType, **options: Any) -> Any:
    dispatcher = numba.njit(source, fastmath=_ARITHMETIC, **_OPTIONS, **options)
    dispatcher._cache = cache_of(source)
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
        if size < LARGE or not threads.team.acquire(blocking=False):
            return self.serial(*arguments)
        try:
            return self.parallel(*arguments)
        finally:
            threads.team.release()


class GemmKernel(Kernel):
    """A kernel that calls `blas.gemm`, which is SciPy's BLAS: each of our threads has one of its own."""

    def __call__(self, size: int, *arguments: Any) -> Any:
        """Run as any kernel."""
        with threads.single_threaded_blas:
            return super().__call__(size, *arguments)
