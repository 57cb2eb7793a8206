"""What the figures depend on: the machine and the versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from threadpoolctl import threadpool_info

PACKAGES = {"NumPy": "numpy", "SciPy": "scipy", "Numba": "numba", "PyTorch": "torch", "JAX": "jax"}


def describe() -> str:
    """The processor, its threads, the versions, and the core that BLAS chose, a line each."""
    import scipy.linalg  # noqa: F401 # brings a BLAS of its own

    versions = [f"{title} {found}" for title, package in PACKAGES.items() if (found := _version(package))]
    pools = [
        f"BLAS: {pool['internal_api']} {pool['version']}, {pool.get('architecture', '?')} core, "
        f"{pool['num_threads']} threads ({Path(pool['filepath']).name.partition('-')[0]})"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return "\n".join(
        [f"- {processor()}, {os.cpu_count()} threads", f"- Python {platform.python_version()}, {', '.join(versions)}"]
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
