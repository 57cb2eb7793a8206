"""Ours and the peers side by side: time, memory and scaling, each judged by its target.

python -m benchmarks [--only PART ...] [--check] [--rounds N] [--compile] [--output FILE]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import derived, disturbed, every_norm, kernels, machine, memory, models, scaling, small
from benchmarks.nets import NETS
from benchmarks.options import Options
from benchmarks.report import Report

RESULTS = Path(__file__).with_name("RESULTS.md")

PARTS: dict[str, Callable[[Report, Options], None]] = {
    "training": models.training,
    "inference": models.inference,
    "small": small.run,
    "memory": memory.run,
    "busy": disturbed.busy,
    "processes": disturbed.processes,
    "convolutions": kernels.convolutions,
    "norms": kernels.norms,
    "others": kernels.others,
    "derived": derived.run,
    "every-norm": every_norm.run,
    "growth": scaling.growth,
    "threads": scaling.threads,
    "first-step": scaling.first_step,
}
GROUPS = {
    "models": ["training", "inference", "small", "memory"],
    "disturbed": ["busy", "processes"],
    "kernels": ["convolutions", "norms", "others", "derived", "every-norm"],
    "scaling": ["growth", "threads", "first-step"],
}


def main() -> int:
    """Measure, print, write; with --check return 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*GROUPS, *PARTS, *NETS],
        metavar="NAME",
        help=f"{', '.join(GROUPS)}; a part of them: {', '.join(PARTS)}; or a net: {', '.join(NETS)}",
    )
    parser.add_argument("--rounds", type=int, help="rounds of each measurement (as many as fit in its time)")
    parser.add_argument("--compile", action="store_true", help="a column for torch.compile, which takes minutes more")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--output", type=Path, help=f"file for the results ({RESULTS.name}, if nothing is left out)")
    args = parser.parse_args()
    if forced := sorted(name for name in os.environ if name.startswith("OPENBLAS_")):
        sys.exit(f"benchmarks: {', '.join(forced)} would change what BLAS does; unset them, a stock install has none")
    parts, nets = chosen(args.only or [])
    options = Options(nets, args.rounds, args.compile)
    output = args.output or (None if args.only else RESULTS)

    report = Report()
    report.say("## Machine")
    report.say(machine.describe())
    try:
        for part in parts:
            PARTS[part](report, options)
    except KeyboardInterrupt:
        print("benchmarks: interrupted; nothing is written", file=sys.stderr)
        return 130
    if output:
        report.write(output, " ".join(["python -m benchmarks", *sys.argv[1:]]))
    missed = report.missed()
    print(f"## Targets\n\n{report.targets()}\n\n{len(missed)} of {len(report.verdicts)} missed")
    return int(args.check and bool(missed))


def chosen(names: list[str]) -> tuple[list[str], list[str]]:
    """The parts and the nets to run: all where none is named, and what concerns nets where only nets are named."""
    nets = [name for name in NETS if name in names]
    parts = [part for part in PARTS if part in names or any(part in GROUPS.get(name, []) for name in names)]
    return parts or (GROUPS["models"] if nets else list(PARTS)), nets or list(NETS)


if __name__ == "__main__":
    sys.exit(main())
