"""`tinygrad-norm graph`: the computation of a net of the zoo as a picture, a page or a text."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path
from typing import Any

from tinygrad_norm.models import create_model, list_models
from tinygrad_norm.output import printable
from tinygrad_norm.training.recipe import NORMS
from tinygrad_norm.viz import draw_graph
from tinygrad_norm.viz.drawing import SUFFIXES, check_output
from tinygrad_norm.viz.facts import SHOWN


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    command = commands.add_parser("graph", help="draw a net", description="Draw the computation of a net of the zoo.")
    command.add_argument("model", metavar="MODEL", help=f"one of {', '.join(list_models())}")
    command.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help=f"{', '.join(SUFFIXES)} (default: MODEL.svg)"
    )
    ways = command.add_mutually_exclusive_group()
    ways.add_argument("--backward", action="store_true", help="the way of the gradients, and what is kept for it")
    ways.add_argument("--both", action="store_true", help="both ways in one picture")
    command.add_argument("--depth", type=int, metavar="N", help="levels of modules that are open (default: 2)")
    command.add_argument("--all", action="store_true", help="open all levels, down to each op")
    command.add_argument("--no-fold", action="store_true", help="draw equal blocks each by itself")
    command.add_argument("--composed", action="store_true", help="fused ops as their definitions, in primitives")
    command.add_argument("--casts", action="store_true", help="with --composed, where they change dtype as well")
    command.add_argument(
        "--show",
        nargs="*",
        metavar="FACT",
        help=f"{', '.join(SHOWN)} (default: shape parameters, and with the way back saved gradient)",
    )
    command.add_argument(
        "--norm", metavar="NAME", help=f"{', '.join(NORMS)}; not instance for mlp (default: the model's own)"
    )
    command.add_argument("--eval", action="store_true", help="in inference (default: in training, as it is trained)")
    command.add_argument("--batch-size", type=int, default=2, metavar="N", help="images (default: 2)")
    command.add_argument("--image-size", type=int, default=32, metavar="N", help="height and width (default: 32)")
    command.add_argument("--open", action="store_true", help="show it in the browser")
    command.set_defaults(run=run_graph)


def run_graph(args: argparse.Namespace) -> None:
    """Draw, print totals and where the drawing is."""
    for name in ("batch_size", "image_size"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} should be 1 or more, not {getattr(args, name)}")
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
