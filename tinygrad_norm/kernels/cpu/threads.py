"""The threads of kernels: Intel's TBB where its library is installed, else OpenMP or what else Numba brings.

OpenMP gives each thread its share of the work, and all wait for the last: with another process on one of two cores a
kernel takes as long as that process's time slice. With TBB, whoever is awake takes the work.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, files
from itertools import product

from numba import config, threading_layer
from threadpoolctl import ThreadpoolController

from tinygrad_norm.forks import free_when_forking
from tinygrad_norm.kernels.cpu.numba_internals import OPENMP, _launch_threads, global_compiler_lock

_TBB = {"linux": "libtbb.so.12", "win32": "tbb12.dll", "darwin": "libtbb.12.dylib"}

team = free_when_forking(threading.Lock())
"""One kernel at a time has all threads: one of Numba's threading layers cannot be entered twice, and none has to be.

TBB puts its threads away for a fork, which it cannot while they work; GNU's OpenMP does not survive one, so a forked
process keeps to one thread, whatever the layer.
"""
free_when_forking(global_compiler_lock)  # after the team's, which a kernel that is not yet compiled holds
if sys.platform != "win32":
    os.register_at_fork(after_in_child=lambda: team.acquire(blocking=False))


def layer() -> str:
    """Return the name of the threading layer in use: "tbb", "omp" or "workqueue"."""
    _launch_threads()
    name: str = threading_layer()
    return name


def _load_tbb() -> bool:
    """Load TBB's library by its path, where pip put it and the system's loader does not look; Numba finds it loaded."""
    if str(config.THREADING_LAYER).lower() in ("omp", "workqueue"):
        return False
    try:
        installed = files("tbb") or ()
    except PackageNotFoundError:
        return False
    try:
        for file in installed:
            if file.name == _TBB.get(sys.platform):
                ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
                return True
    except OSError:
        pass  # not made for this machine; `layer()` and `tinygrad-norm info` tell what is in use
    return False


def _let_openmp_sleep() -> None:
    """Have OpenMP's threads sleep soon after a kernel: by default they spin, and keep NumPy's BLAS from the cores.

    GNU's spin for about 1 ms, which bridges what Python does between two kernels: to wake one takes 0.1 ms.
    """
    policy = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "100000"}
    if not policy.keys().isdisjoint(os.environ):
        return
    os.environ.update(policy)  # read once, when the library is loaded
    try:
        import_module(OPENMP)
    except ImportError:
        pass  # Numba has another threading layer here
    finally:
        for name in policy:
            del os.environ[name]


class _SingleThreadedBlas:
    """While somebody is in here, SciPy's BLAS uses one thread, and afterwards as many as before."""

    def __init__(self) -> None:
        self._lock = free_when_forking(threading.Lock())
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


single_threaded_blas = _SingleThreadedBlas()


@cache
def _scipy_pools() -> list[tuple[Callable[[], int], Callable[[int], object]]]:
    """Two functions for each BLAS that SciPy calls: one gets its number of threads, one sets it."""
    import_module("scipy.linalg.cython_blas")
    pools = [pool for pool in ThreadpoolController().lib_controllers if pool.user_api == "blas"]
    scipy = [pool for pool in pools if "scipy" in pool.filepath] or pools  # or the one that it shares with NumPy
    return [_openblas(pool.filepath) or (pool.get_num_threads, pool.set_num_threads) for pool in scipy]


def _openblas(path: str) -> tuple[Callable[[], int], Callable[[int], object]] | None:
    """OpenBLAS has both as functions, which take a microsecond: threadpoolctl looks for them at each call."""
    library = ctypes.CDLL(path)
    for prefix, suffix in product(("", "scipy_"), ("", "_", "64_", "_64")):
        names = [f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
        if all(hasattr(library, name) for name in names):
            get, set_to = (getattr(library, name) for name in names)
            return get, set_to
    return None


if not _load_tbb():
    _let_openmp_sleep()
