"""Time one training step of the MLP, ours and PyTorch's, and print the ratio to the fastest eager PyTorch.

python -m benchmarks [--rounds N] [--check]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numba
import numpy as np
from threadpoolctl import threadpool_info

from benchmarks import mlp
from benchmarks.timing import Timing, interleave

TARGET = 1.3
"""Our step over PyTorch's, at most, under --check."""


def main() -> int:
    """Measure, print, and with --check return 1 where the target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="rounds of each contender (40)")
    parser.add_argument("--check", action="store_true", help=f"fail if the ratio is over {TARGET}")
    args = parser.parse_args()
    if forced := sorted(name for name in os.environ if name.startswith("OPENBLAS_")):
        sys.exit(f"benchmarks: {', '.join(forced)} would change what BLAS does; unset them, a stock install has none")
    print_machine()
    times = interleave(mlp.CONTENDERS, args.rounds)
    ratio = print_table("training step, MLP 784-256-128-10 with batch norm, batch 64, Adam, float32", times)
    return int(args.check and ratio > TARGET)


def print_table(title: str, times: dict[str, Timing]) -> float:
    """Print milliseconds and ratios; return ours over the fastest of the others, by medians."""
    print(f"\n{title}\n{'':28}{'min':>8}{'median':>8}{'10-90 %':>16}   ms")
    for name, timing in times.items():
        print(f"{name:28}{timing.least:8.3f}{timing.median:8.3f}{f'{timing.low:.3f}-{timing.high:.3f}':>16}")
    (mine, ours), *others = times.items()
    name, fastest = min(others, key=lambda item: item[1].median)
    ratio = ours.median / fastest.median
    print(f"{mine} / {name}: {ratio:.2f} by medians, {ours.least / fastest.least:.2f} by minima")
    return ratio


def print_machine() -> None:
    """Print what the figures depend on."""
    print(
        f"{processor()}, {os.cpu_count()} threads; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"Numba {numba.__version__}, PyTorch {version('torch')}"
    )
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            core = f"{pool['internal_api']} {pool['version']}, {pool.get('architecture', '?')}"
            print(f"BLAS: {core}, {pool['num_threads']} threads")


def processor() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
