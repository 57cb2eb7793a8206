"""How kernels are compiled: from one source, for one thread and for all of them, each when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
from numba.extending import overload, register_jitable

from tinygrad_norm.kernels.cpu import compile_events, memory, threads
from tinygrad_norm.kernels.cpu.cache import cache_of
from tinygrad_norm.kernels.cpu.numba_internals import Compiler, JITCodeLibrary

LARGE = 2**18
"""The number of elements from which all threads share the work."""

# NaN and infinity keep their meaning, and x / 0 is infinity, as in NumPy.
_OPTIONS = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
_ARITHMETIC = {"contract", "arcp", "nsz"}

_INNER = _OPTIONS | {"no_cpython_wrapper": True, "_nrt": True}
_BARE = _INNER | {"_nrt": False}  # where it is left out, the caller's choice counts


class _PartLibrary(JITCodeLibrary):  # type: ignore[misc] # Numba has no types
    """LLVM's code of a function that only kernels call: it is optimized and made machine code as a part of a kernel.

    Numba would do both for each function by itself as well, which took a third of the time to compile a kernel.
    """

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """0, which is how Numba tells that Python cannot call it."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        """Where Numba sets the environment of machine code, of which there is none."""
        return self

    def set_env(self, *_: Any) -> None:
        """Set nothing."""


class _SmallPartLibrary(_PartLibrary):
    """That of a function of numbers, which is optimized by itself too: else a loop around it is not vectorized."""

    def _optimize_functions(self, ll_module: Any) -> None:
        JITCodeLibrary._optimize_functions(self, ll_module)

    def _optimize_final_module(self) -> None:
        JITCodeLibrary._optimize_final_module(self)


class _Part(Compiler):  # type: ignore[misc]
    """Numba's compiler, for a part of a kernel."""

    library = _PartLibrary

    def define_pipelines(self) -> Any:
        self.state.library = self.library(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super().define_pipelines()


class _SmallPart(_Part):
    """The same, for a function of numbers."""

    library = _SmallPartLibrary


class _NoAliasPart(_Part):
    """The same, told that no two arrays that a function is called with overlap."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()


device: Callable[..., Any] = numba.njit(pipeline_class=_Part, fastmath=_ARITHMETIC, **_INNER)
"""Compiles a function that kernels call."""

noalias: Callable[..., Any] = numba.njit(pipeline_class=_NoAliasPart, fastmath=_ARITHMETIC, **_BARE)
"""As `device`, for one that writes to several arrays at once, none of which overlaps any other: it is vectorized.

Arrays in a tuple are told apart as well; one that is given twice may only be read. Like a function of a free order, it
counts no references to arrays, which takes longer than to add up a short row: it can neither make an array nor return
one.
"""

inline: Callable[..., Any] = register_jitable(pipeline_class=_SmallPart, forceinline=True)
"""For a function that is part of whoever calls it: a loop around a call that is left is not vectorized."""


def by_types(choose: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is part of whoever calls it, written by `choose` for the types of its arguments."""

    def called(*_: Any) -> Any:
        raise TypeError("only kernels call this")

    overload(called, jit_options={"pipeline_class": _SmallPart, "forceinline": True}, strict=False)(choose)
    return called


_FREE_ORDER = _ARITHMETIC | {"reassoc"}
reassociate: Callable[..., Any] = numba.njit(pipeline_class=_Part, fastmath=_FREE_ORDER, forceinline=True, **_BARE)
"""Compiles a function in which sums may be taken in any order, as a part of whoever calls it."""

ordered: Callable[..., Any] = numba.njit(pipeline_class=_Part, fastmath=_ARITHMETIC, forceinline=True, **_BARE)
"""For a part of one that is compiled by `reassociate` whose operations stay in the order in which they are written."""

memory.keep()
compile_events.listen()


def compiled(source: FunctionType, arithmetic: Any, **options: Any) -> Any:
    """What Python calls, compiled when it is first called and kept for later processes."""
    dispatcher = numba.njit(source, fastmath=arithmetic, **_OPTIONS, **options)
    dispatcher._cache = cache_of(source)
    return dispatcher


class Kernel:
    """A function on arrays, written with `prange`. It is called with the size of its work, then its arguments."""

    arithmetic: Any = _ARITHMETIC
    """What the compiler may make of operations; False if each is done as it is written."""

    def __init__(self, source: Any) -> None:
        twin = FunctionType(source.__code__, source.__globals__, source.__name__, None, source.__closure__)
        twin.__qualname__ = f"{source.__qualname__}_parallel"  # by which the cache tells the two apart
        self.serial: Callable[..., Any] = compiled(source, self.arithmetic)
        self.parallel: Callable[..., Any] = compiled(twin, self.arithmetic, parallel=True)

    def __call__(self, size: int, *arguments: Any) -> Any:
        """Run with all threads where the work is large and they are free, else with one."""
        if size < LARGE or not threads.team.acquire(blocking=False):
            return self.serial(*arguments)
        try:
            return self.parallel(*arguments)
        finally:
            threads.team.release()

    def bound(self, size: int, *arguments: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """What a call with these arguments, of which there will be many, comes to: a function and its arguments."""
        return (self, (size, *arguments)) if size >= LARGE else (self.serial, arguments)


class GemmKernel(Kernel):
    """A kernel that calls `blas.gemm`, which is SciPy's BLAS: each of our threads has one of its own."""

    def __call__(self, size: int, *arguments: Any) -> Any:
        """Run as any kernel."""
        with threads.single_threaded_blas:
            return super().__call__(size, *arguments)

    def bound(self, *arguments: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """A call as it is: BLAS has one thread within it."""
        return self, arguments
