"""`tinygrad-norm derive`: a norm's formula, and the derivation of its gradient."""

from __future__ import annotations

import argparse

from tinygrad_norm.certificate.targets import load_target
from tinygrad_norm.checks import did_you_mean
from tinygrad_norm.cli.arguments import Commands, add_command, add_flags
from tinygrad_norm.derivation.builtin import BUILT_IN
from tinygrad_norm.derived import DerivedNorm, derive


def add_commands(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands, "derive", run_derive, "derive the gradient of a norm from its definition, path by path"
    )
    command.add_argument(
        "what", metavar="WHAT", help="a norm layer of nn; or a definition: path/to/file.py:Name, or package.module:Name"
    )
    add_flags(command, latex="print LaTeX")


def run_derive(args: argparse.Namespace) -> None:
    """Print the derivation.

    Raises:
        ValueError: there is no such norm, or it is no definition that derives.
    """
    norm = _norm(args.what)
    print(norm.derivation.latex if args.latex else norm.derivation)


def _norm(what: str) -> DerivedNorm:
    if ":" in what:
        found = load_target(what, "derive")
        return found if isinstance(found, DerivedNorm) else derive(found)
    if what not in BUILT_IN:
        hint = did_you_mean(what, BUILT_IN) or f" (they are {', '.join(BUILT_IN)})"
        own = "path/to/file.py:Name, or package.module:Name"
        raise ValueError(f"derive: {what!r} is no norm layer{hint}; for one of your own: {own}")
    return derive(BUILT_IN[what])
