"""Ours and the peers side by side: time, memory and scaling, each judged by its target.

python -m benchmarks [--only PART ...] [--check] [--rounds N] [--compile] [--output FILE]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import machine, models
from benchmarks.nets import NETS
from benchmarks.options import Options
from benchmarks.report import Report

RESULTS = Path(__file__).with_name("RESULTS.md")

PARTS: dict[str, Callable[[Report, Options], None]] = {"models": models.run}


def main() -> int:
    """Measure, print, write; with --check return 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*PARTS, *NETS],
        metavar="PART",
        help=f"some parts ({', '.join(PARTS)}), or some nets ({', '.join(NETS)})",
    )
    parser.add_argument("--rounds", type=int, help="rounds of each measurement (as many as fit in its time)")
    parser.add_argument("--compile", action="store_true", help="a column for torch.compile, which takes minutes more")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--output", type=Path, help=f"file for the results ({RESULTS.name}, if all parts are run)")
    args = parser.parse_args()
    if forced := sorted(name for name in os.environ if name.startswith("OPENBLAS_")):
        sys.exit(f"benchmarks: {', '.join(forced)} would change what BLAS does; unset them, a stock install has none")
    only = set(args.only or ())
    options = Options([name for name in NETS if name in only] or list(NETS), args.rounds, args.compile)
    parts = [part for part in PARTS if part in only] or (["models"] if only else list(PARTS))
    output = args.output or (None if only else RESULTS)

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
    print(report.targets())
    missed = report.missed()
    print(f"benchmarks: {len(missed)} of {len(report.verdicts)} targets missed", file=sys.stderr)
    return int(args.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
