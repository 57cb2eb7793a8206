"""`tinygrad-norm info` and `tinygrad-norm inspect`: what this installation runs on, and what a file holds."""

from __future__ import annotations

import os
import platform
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from tinygrad_norm import kernels
from tinygrad_norm.cli.arguments import Commands, add_command
from tinygrad_norm.output import printable
from tinygrad_norm.training.safetensors import read_header

WIDEST = 60
"""Letters of a column of names; longer ones stand out of it."""
PACKAGES = ("numpy", "numba", "scipy", "tbb", "threadpoolctl", "graphviz", "pygraphviz", "matplotlib", "tensorboardX")


def add_commands(commands: Commands) -> None:
    """Add `info` and `inspect`."""
    add_command(commands, "info", lambda args: show_info(), "what this installation runs on, for a bug report")
    words = "what a checkpoint or another safetensors file holds"
    add_command(commands, "inspect", lambda args: show_file(args.file), words).add_argument("file")


def show_info() -> None:
    """Print versions, processor, BLAS and the kernels in use."""
    print(f"tinygrad-norm {_version('tinygrad-norm')}, Python {platform.python_version()}, {platform.platform()}")
    for package in PACKAGES:
        print(f"{package:14}{_version(package)}")
    print(f"kernels       {_kernels()}")
    print(f"processors    {os.cpu_count()}")
    if _version("threadpoolctl") != "not installed":
        from threadpoolctl import threadpool_info

        for pool in threadpool_info():
            core = f", {pool['architecture']} kernels" if "architecture" in pool else ""
            print(f"{pool['user_api']:14}{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads{core}")


def show_file(path: str) -> None:
    """Print the name, dtype and shape of each array of a safetensors file, and the total, from its header alone."""
    entries = read_header(path).entries
    names = [printable(entry.name) for entry in entries]
    width = min(max(map(len, names), default=0), WIDEST)
    for name, entry in zip(names, entries, strict=True):
        print(f"{name:{width}}  {entry.dtype!s:8} {entry.shape}")
    print(f"{len(entries)} arrays, {sum(entry.end - entry.begin for entry in entries):,} bytes")


def _kernels() -> str:
    """Return which kernels are in use, and what shares out their work or why there is no better."""
    if lacking := kernels.missing():
        return f"plain NumPy, for want of {', '.join(lacking)} (pip install 'tinygrad-norm[fast]')"
    if os.environ.get("TINYGRAD_NORM_KERNELS") == "reference":
        return "plain NumPy, as TINYGRAD_NORM_KERNELS says"
    layers = {"tbb": "TBB", "omp": "OpenMP", "workqueue": "Numba's workqueue"}
    threads = import_module("tinygrad_norm.kernels.cpu.threads")
    return f"Numba, compiled on first use; {layers[threads.layer()]} shares their work among the threads"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
