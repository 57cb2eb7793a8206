"""What the figures depend on: the machine and the versions."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

PACKAGES = {"NumPy": "numpy", "SciPy": "scipy", "Numba": "numba", "PyTorch": "torch", "JAX": "jax"}


def describe() -> str:
    """The processor, its threads, the versions, and the core that BLAS chose, a line each."""
    import scipy.linalg  # noqa: F401 # brings a BLAS of its own
    from threadpoolctl import threadpool_info

    from tinygrad_norm.kernels.cpu import threads

    versions = [f"{title} {found}" for title, package in PACKAGES.items() if (found := _version(package))]
    pools = [
        f"BLAS: {pool['internal_api']} {pool['version']}, {pool.get('architecture', '?')} core, "
        f"{pool['num_threads']} threads ({Path(pool['filepath']).name.partition('-')[0]})"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return "\n".join(
        [
            f"- {processor()}, {os.cpu_count()} threads; {threads.layer()} has those of the kernels",
            f"- Python {platform.python_version()}, {', '.join(versions)}",
        ]
        + [f"- {pool}" for pool in pools]
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def product_rate() -> float:
    """GFLOP/s of a large float32 matrix product."""
    side = 2048
    a, b = np.random.default_rng(0).standard_normal((2, side, side), np.float32)
    out = np.empty_like(a)
    return 2 * side**3 / _least_seconds(lambda: np.matmul(a, b, out=out)) / 1e9


def copy_bandwidth() -> float:
    """GB/s, read and written, of copying 256 MB by as many threads as there are."""
    threads = os.cpu_count() or 1
    source, target = [np.ones((threads, 2**26 // threads), np.float32) for _ in range(2)]
    with ThreadPoolExecutor(threads) as pool:
        seconds = _least_seconds(lambda: list(pool.map(np.copyto, target, source)))
    return 2 * source.nbytes / seconds / 1e9


def _least_seconds(run: Callable[[], object], calls: int = 5) -> float:
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)
