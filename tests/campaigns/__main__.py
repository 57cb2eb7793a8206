"""Faults on purpose: damaged files, kills, full disks, signals and forks; and plans of all that can be trained.

A table tells what was not borne.

python -m tests.campaigns [FAMILY ...] [--seed N] [--scale X]      takes minutes
python -m tests.campaigns files --kind headers --case 17           one case again

The exit status is 1 if any case failed. Each depends on the seed, its kind and its number alone, as far as it is not
about moments in time. It is for Linux, which tells how much memory a process has, and has every signal.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a fork takes no threads along
    os.environ.setdefault("TINYGRAD_NORM_KERNELS", "reference")  # and compiled kernels have some

from tests.campaigns import damaged_files, forks, full_disks, kills, plans, signals
from tests.campaigns.campaign import Kind, Outcome, run_kind, table

SHOWN = 5
"""How many failures of a kind are told."""


def all_kinds() -> list[Kind]:
    """What can be tried here: a small disk takes the rights to make one."""
    kinds = [*damaged_files.KINDS, *kills.KINDS, *full_disks.KINDS, *signals.KINDS, *forks.KINDS, *plans.KINDS]
    return kinds + (full_disks.AS_ROOT if full_disks.can_mount() else [])


def main(arguments: Sequence[str] | None = None, kinds: Sequence[Kind] | None = None) -> int:
    """Try what the command line asks for, print the table, and return 1 if any case failed."""
    kinds = all_kinds() if kinds is None else kinds
    families = list(dict.fromkeys(kind.family for kind in kinds))
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"any of {', '.join(map(repr, families))} (all)")
    parser.add_argument("--kind", help="only the cases of this kind")
    parser.add_argument("--case", type=int, help="only the case of this number")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="how many times the usual number of cases (default: 1)"
    )
    args = parser.parse_args(arguments)
    chosen = [
        kind for kind in kinds if (not args.families or kind.family in args.families) and args.kind in (None, kind.name)
    ]
    if not chosen or not set(args.families) <= set(families):
        parser.error(f"there is no such campaign; families are {', '.join(map(repr, families))}")
    outcomes = []
    for kind in chosen:
        numbers = range(max(1, round(kind.cases * args.scale))) if args.case is None else [args.case]
        outcomes.append(run_kind(kind, args.seed, numbers))
        tell(outcomes[-1])
    print(table(outcomes))
    return int(any(outcome.failures for outcome in outcomes))


def tell(outcome: Outcome) -> None:
    """Say on standard error what a kind came to."""
    kind, failures = outcome.kind, outcome.failures
    print(f"{kind.family}, {kind.name}: {outcome.cases} cases, {len(failures)} failures", file=sys.stderr, flush=True)
    for number, complaint in list(failures.items())[:SHOWN]:
        print(f"  case {number}: {complaint}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
