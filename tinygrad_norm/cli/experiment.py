"""`tinygrad-norm experiment`: the normalization experiments."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tinygrad_norm.cli.arguments import Commands, add_command, add_eager, add_flags, add_options, add_output
from tinygrad_norm.output import printable
from tinygrad_norm.tables import format_table


def add_commands(commands: Commands) -> None:
    """Add `experiment`."""
    command = add_command(commands, "experiment", run_experiment, "run a normalization experiment, or list them")
    command.add_argument("name", nargs="?", metavar="NAME", help="which one; without it, all are listed")
    add_eager(command)
    add_flags(command, quick="smaller, in under two minutes", quiet="show no progress")
    add_output(command, "FOLDER", "report, figures, picture (runs/NAME[-quick])")
    add_options(command, int, "N", seeds="repeat with so many seeds (the experiment's own)")


def run_experiment(args: argparse.Namespace) -> None:
    """Run one experiment and print where its report is, or list their names."""
    from tinygrad_norm import experiments

    if args.name is None:
        print(format_table([(name, experiments.describe(name)) for name in experiments.names()]))
        return
    folder = args.output or Path("runs", f"{args.name.replace(':', '-')}{'-quick' if args.quick else ''}")
    try:
        report = experiments.run(args.name, folder, quick=args.quick, seeds=args.seeds, progress=not args.quiet)
    except KeyboardInterrupt:
        print(f"interrupted: nothing is kept of {args.name}, whose files are written at its end", file=sys.stderr)
        raise
    print("\n".join([*report.summary, f"the report: {printable(report.path)}"]))
