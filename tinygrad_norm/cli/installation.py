"""`tinygrad-norm info` and `tinygrad-norm inspect`: what this installation runs on, and what a file holds."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tinygrad_norm.training.header import read_header

PACKAGES = ("numpy", "numba", "scipy", "threadpoolctl", "graphviz", "pygraphviz", "matplotlib", "tensorboardX")


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `info` and `inspect`."""
    info = commands.add_parser("info", help="what this installation runs on, for a bug report")
    info.set_defaults(run=lambda args: show_info())
    inspect = commands.add_parser("inspect", help="what a checkpoint or another safetensors file holds")
    inspect.add_argument("file")
    inspect.set_defaults(run=lambda args: show_file(args.file))


def show_info() -> None:
    """Print versions, processor, BLAS and the kernels in use."""
    print(f"tinygrad-norm {_version('tinygrad-norm')}, Python {platform.python_version()}, {platform.platform()}")
    for package in PACKAGES:
        print(f"{package:14}{_version(package)}")
    fast = _version("numba") != "not installed" and os.environ.get("TINYGRAD_NORM_KERNELS") != "reference"
    print(
        f"kernels       {'Numba, compiled on first use' if fast else 'plain NumPy (pip install tinygrad-norm[fast])'}"
    )
    print(f"processors    {os.cpu_count()}")
    if _version("threadpoolctl") != "not installed":
        from threadpoolctl import threadpool_info

        for pool in threadpool_info():
            core = f", {pool['architecture']} kernels" if "architecture" in pool else ""
            print(f"{pool['user_api']:14}{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads{core}")


def show_file(path: str) -> None:
    """Print the name, dtype and shape of each array of a safetensors file, and the total, from its header alone."""
    entries = read_header(path).entries
    width = max([len(entry.name) for entry in entries], default=0)
    for entry in entries:
        print(f"{entry.name:{width}}  {entry.dtype!s:8} {entry.shape}")
    print(f"{len(entries)} arrays, {sum(entry.end - entry.begin for entry in entries):,} bytes")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
