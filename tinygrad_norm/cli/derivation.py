"""`tinygrad-norm derive`: a norm's formula, the derivation of its gradient, its kernels, and a page of all that."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from tinygrad_norm.certificate import certify
from tinygrad_norm.certificate.norm_examples import norm_layers
from tinygrad_norm.certificate.targets import load_target
from tinygrad_norm.checks import did_you_mean
from tinygrad_norm.cli.arguments import Commands, add_command, add_flags, add_named_options, add_output
from tinygrad_norm.derived import DerivedNorm, derive
from tinygrad_norm.files import check_writable, write_atomically
from tinygrad_norm.models.norm_catalog import derived_norm, layer_named
from tinygrad_norm.models.norms import OF_IMAGES
from tinygrad_norm.output import printable
from tinygrad_norm.viz.norm_page import norm_page
from tinygrad_norm.viz.render import check_renderer

WRITTEN = {
    ".html": "a page of all of it, with pictures",
    ".txt": "the derivation",
    ".tex": "the derivation, as a part of a LaTeX document",
    ".py": "the generated kernels",
}


def add_commands(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands, "derive", run_derive, "derive the gradient of a norm from its definition, path by path"
    )
    command.add_argument(
        "what",
        metavar="WHAT",
        help="a norm layer of nn, or its name in --norm; or a definition: path/to/file.py:Name, or package.module:Name",
    )
    forms = command.add_mutually_exclusive_group()
    add_flags(forms, latex="print LaTeX", source="print the generated kernels")
    add_output(forms, "FILE", "; ".join(f"{suffix}: {words}" for suffix, words in WRITTEN.items()))
    add_flags(command, certify="with -o FILE.html, the table of the gradient certificate too, which takes a minute")
    add_named_options(command, "what --certify tells the norm, such as r_max=3")


def run_derive(args: argparse.Namespace) -> None:
    """Print the derivation or the kernels, or write them or a page to a file.

    Raises:
        ValueError: there is no such norm, it is no definition that derives, or the file's suffix is unknown.
        OSError: the file could not be written.
    """
    args.what = layer_named(args.what)
    suffix = check_output(args.output) if args.output is not None else ""
    if args.certify and suffix != ".html":
        raise ValueError("derive: --certify takes -o FILE.html, got none; tinygrad-norm certify prints the table")
    if args.options and not args.certify:
        raise ValueError("derive: --option is for --certify, got no --certify")
    norm = _norm(args.what)
    if suffix == ".html":
        layer = "" if ":" in args.what else args.what
        certificate = certify(layer or norm, **dict(args.options or ())) if args.certify else ""
        text = norm_page(norm, layer, str(certificate))
    elif args.source or suffix == ".py":
        text = _source(norm)
    else:
        latex = norm.derivation.latex
        text = _tex(latex) if suffix == ".tex" else latex if args.latex else f"{norm.derivation}"
    if args.output is None:
        print(text, end="\n" * (not text.endswith("\n")))
        return
    write_atomically(args.output, text.encode() + b"\n" * (not text.endswith("\n")))
    print(f"written: {printable(args.output)}")


def check_output(path: Path) -> str:
    """Refuse, before any work, a file in which nothing can be written.

    Returns:
        Its suffix, in small letters.

    Raises:
        ValueError: the suffix is unknown.
        OSError: the file could not be written.
        NoRendererError: a page is wanted, and Graphviz, which draws its graph, is not there.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITTEN:
        raise ValueError(f"derive: the suffix of a file is {', '.join(WRITTEN)}, got {path.suffix!r}")
    check_writable(path)
    if suffix == ".html":
        check_renderer("svg")
    return suffix


def _norm(what: str) -> DerivedNorm:
    if ":" in what:
        found = load_target(what, "derive")
        return found if isinstance(found, DerivedNorm) else derive(found)
    layers = norm_layers()
    if what not in layers:
        hint = did_you_mean(what, [*layers, *OF_IMAGES]) or f" (they are {', '.join(layers)})"
        own = "path/to/file.py:Name, or package.module:Name"
        raise ValueError(f"derive: {what!r} is no norm layer{hint}; for one of your own: {own}")
    return derived_norm(what)


def _tex(latex: str) -> str:
    """A derivation in which words are text, and formulas are displayed."""
    lines = []
    for line in map(str.strip, latex.splitlines()):
        formula = re.fullmatch(r"(itself|through|so|)(?: (\S+)(?=:))?:? ?([^:]* = .*|(?<=: ).*)", line)
        name, acts, rest = line.partition(" acts on y")
        if formula:
            words, through, shown = formula.groups()
            lines.append(f"{words}{f' ${through}$' if through else ''} \\[ {shown} \\]".strip())
        else:
            lines.append(f"${name}$ acts on $y${rest}" if acts else line)
    return "\n".join(lines)


def _source(norm: DerivedNorm) -> str:
    if not norm.source:
        raise ValueError(f"derive: {norm.__name__} has no kernels: it is computed in NumPy, in float64")
    return norm.source
