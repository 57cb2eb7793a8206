"""`tinygrad-norm certify` and `conformance`: whether a norm, ours or anybody's, can be trusted."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tinygrad_norm.certificate import certify
from tinygrad_norm.certificate.catalog import OPS
from tinygrad_norm.checks import NOT_NEGATIVE, check_integer, check_number
from tinygrad_norm.cli.arguments import Commands, add_command, add_flags, add_named_options, add_options, add_output
from tinygrad_norm.conformance import measure
from tinygrad_norm.conformance.document import document
from tinygrad_norm.conformance.frameworks import FRAMEWORKS
from tinygrad_norm.conformance.kinds import NORM_KINDS
from tinygrad_norm.files import check_writable, write_atomically
from tinygrad_norm.models.norm_catalog import layer_named
from tinygrad_norm.output import UnfailingStream, printable


def add_commands(commands: Commands) -> None:
    """Add the two commands."""
    words = "check a layer's or an op's gradients, and the checks; with --from, the norm of any framework"
    command = add_command(commands, "certify", run_certify, words)
    command.epilog = "The exit status is 0 if all is in order, 1 if not, 2 for bad input."
    command.add_argument(
        "what",
        metavar="WHAT",
        help="a layer of nn, a norm's name in --norm, or an op of ops; or path/to/file.py:Name, or package.module:Name",
    )
    command.add_argument(
        "--shape",
        type=_shape,
        action="append",
        metavar="N,C,...",
        help="of an input of something of your own; once for each input (default: some that fit are looked for)",
    )
    add_named_options(command, "what a norm, an op or a function of your own is told, such as r_max=3 or axes=0,2")
    add_options(command, int, "N", seed="of all that is random (default: 0)")
    add_flags(command, json="print all figures as JSON")
    group = command.add_argument_group("--from: beside the norm's formula in extended precision, at hard inputs")
    known = list(FRAMEWORKS)
    group.add_argument(
        "--from", dest="framework", choices=known, metavar="NAME", help=f"whose norm it is: {', '.join(known)}"
    )
    kinds = f"what it is meant to be: {', '.join(NORM_KINDS)} (default: what its name or its values tell)"
    group.add_argument("--kind", choices=list(NORM_KINDS), metavar="NAME", help=kinds)
    add_options(group, float, "EPS", eps="what is added to the variance (default: 1e-5)")

    words = "measure the norms of all frameworks that are installed, and write the table"
    command = add_command(commands, "conformance", run_conformance, words)
    command.epilog = "It takes a few minutes. The exit status is 0 whatever the norms are like."
    add_output(command, "FILE", "a .md file (default: standard output)")


def run_certify(args: argparse.Namespace) -> None:
    """Print a certificate; leave with status 1 if something is wrong.

    Raises:
        ValueError: there is nothing of that name, or an option does not go with the others.
        ImportError: the framework is not installed.
    """
    unfit = ("shape", "options", "seed") if args.framework else ("kind", "eps")
    for name in unfit:
        if getattr(args, name) is not None:
            option, way = name.replace("options", "option"), "without" if args.framework else "with"
            raise ValueError(f"certify: --{option} is for certify {way} --from")
    certificate: Any
    with _folder_on_path():
        if args.framework:
            eps = 1e-5 if args.eps is None else check_number("--eps", args.eps, NOT_NEGATIVE)
            certificate = measure(args.what, args.framework, args.kind, eps, progress=show)
        else:
            seed = check_integer("--seed", args.seed or 0, 0)
            options = dict(args.options or ())
            if not options.keys().isdisjoint(("name", "seed", "progress")):
                raise ValueError("certify: --option is what a norm is told; a name, a seed or progress is none of it")
            what = args.what if args.what in OPS else layer_named(args.what)
            certificate = certify(what, *(args.shape or ()), seed=seed, progress=show, **options)
    print(json.dumps(certificate.to_json(), indent=2) if args.json else certificate)
    if not certificate:
        raise SystemExit(1)


def run_conformance(args: argparse.Namespace) -> None:
    """Write the table of all frameworks."""
    if args.output is None:
        print(document(show), end="")
        return
    if args.output.suffix.lower() != ".md":
        raise ValueError(f"conformance: the file is .md, got {args.output.suffix!r}")
    check_writable(args.output)
    write_atomically(args.output, document(show).encode())
    print(f"written: {printable(args.output)}")


def show(items: Sequence[Any], doing: str) -> Any:
    """Hand on items, and show a bar on standard error where that is a terminal."""
    from tqdm import tqdm

    stream = UnfailingStream(sys.stderr)
    options = {"leave": False, "dynamic_ncols": True, "file": stream, "disable": not stream.can_redraw()}
    return tqdm(items, desc=doing, **options)


@contextmanager
def _folder_on_path() -> Iterator[None]:
    """Look for package.module:Name in this folder, last."""
    before = list(sys.path)
    sys.path.append(os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = before


def _shape(text: str) -> tuple[int, ...]:
    """Return the lengths of "2,3,4"."""
    try:
        lengths = tuple(int(length) for length in text.split(","))
    except ValueError:
        lengths = ()
    if not lengths or min(lengths) < 1:
        raise argparse.ArgumentTypeError(f"a shape is lengths of at least 1, such as 2,3,4, got {text!r}")
    return lengths
