"""`tinygrad-norm graph`: the computation of a net of the zoo as a picture, a page or a text."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path

from tinygrad_norm.checks import check_integer
from tinygrad_norm.cli.arguments import Commands, add_command, add_flags, add_model, add_norm, add_options, add_output
from tinygrad_norm.models import create_model
from tinygrad_norm.output import printable
from tinygrad_norm.viz import draw_graph
from tinygrad_norm.viz.drawing import SUFFIXES, check_output
from tinygrad_norm.viz.facts import SHOWN


def add_commands(commands: Commands) -> None:
    """Add the command."""
    words = "draw the computation of a net of the zoo"
    command = add_command(commands, "graph", run_graph, words, batch_size=2, image_size=32)
    add_model(command)
    add_output(command, "FILE", f"{', '.join(SUFFIXES)} (default: MODEL.svg)")
    ways = command.add_mutually_exclusive_group()
    way = "the way of the gradients, and what is kept for it"
    add_flags(ways, backward=way, both="both ways in one picture")
    add_options(command, int, "N", depth="levels of modules that are open (default: 2)")
    add_flags(command, all="open all levels, down to each op", no_fold="draw equal blocks each by itself")
    add_flags(command, composed="fused ops as their definitions, in primitives")
    add_flags(command, casts="with --composed, where they change dtype as well")
    command.add_argument(
        "--show",
        nargs="*",
        metavar="FACT",
        help=f"{', '.join(SHOWN)} (default: shape parameters, and with the way back saved gradient)",
    )
    add_norm(command)
    add_flags(command, eval="in inference (default: in training, as it is trained)", open="show it in the browser")
    add_options(command, int, "N", batch_size="images (default: 2)", image_size="height and width (default: 32)")


def run_graph(args: argparse.Namespace) -> None:
    """Draw, print totals and where the drawing is."""
    check_integer("--batch-size", args.batch_size, 1)
    check_integer("--image-size", args.image_size, 1)
    if args.all and args.depth is not None:
        raise ValueError("--all and --depth exclude each other")
    options = {} if args.norm is None else {"norm": args.norm}
    path = args.output or Path(f"{args.model}.svg")
    check_output(path)
    show = args.show
    if path.suffix.lower() == ".html":  # which colours by gradients, and says all the rest anyway
        show = [*(show or ()), "gradient"]
    model = create_model(args.model, 10, image_size=args.image_size, **options)
    shape = args.batch_size, 3, args.image_size, args.image_size
    try:
        drawing = draw_graph(
            model.train(not args.eval),
            shape,
            depth=None if args.all else 2 if args.depth is None else args.depth,
            fold=not args.no_fold,
            direction="backward" if args.backward else "both" if args.both else "forward",
            composed=args.composed,
            casts=args.casts,
            title=f"{args.model}, {' × '.join(map(str, shape))}",
            show=show,
        )
    except ValueError as error:
        if "has no variance" not in str(error):
            raise
        raise ValueError(f"{error}; --eval draws it in inference") from error
    drawing.save(path)
    print(f"{drawing.summary()}\nthe drawing: {printable(path)}")
    if args.open and not webbrowser.open(path.resolve().as_uri()):
        print("no browser could be started", file=sys.stderr)
