"""The arguments that say how a net is trained, for `tinygrad-norm train` and for examples/cnn_zoo.py alike."""

from __future__ import annotations

import argparse
import ast
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinygrad_norm.models import list_models
from tinygrad_norm.tables import format_table
from tinygrad_norm.training.recipe import AUGMENTATIONS, FIELDS, NORMS, OPTIMIZERS, SCHEDULES, Recipe, recipe_for

DATA = "digits (ships with the package), mnist, fashion-mnist, cifar10, cifar100, or a folder of images or arrays"


def add_data_arguments(parser: argparse._ActionsContainer, default: str) -> None:
    """Add --data, --data-folder and --download; `default` says which data are used without --data."""
    parser.add_argument("--data", metavar="NAME|FOLDER", help=f"{DATA} (default: {default})")
    parser.add_argument("--data-folder", metavar="FOLDER", help="where data sets lie (default: datasets)")
    parser.add_argument("--download", action="store_true", help="fetch the data set if it is not there")


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each entry of a recipe but the model. The model's own defaults stand in the epilog."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = defaults_table()
    data = parser.add_argument_group("data")
    add_data_arguments(data, "digits")
    data.add_argument("--image-size", type=int, metavar="N", help="height and width (default: 32)")
    data.add_argument(
        "--validation-every", type=int, metavar="N", help="of each class, hold out every Nth image (default: 10)"
    )
    data.add_argument(
        "--augment", nargs="*", metavar="NAME", help=f"any of {', '.join(AUGMENTATIONS)}; or nothing, for none"
    )
    data.add_argument("--mixup", type=float, metavar="ALPHA", help="mix pairs of images (default: 0, off)")
    data.add_argument("--cutmix", type=float, metavar="ALPHA", help="paste pieces of images (default: 0, off)")
    net = parser.add_argument_group("net")
    net.add_argument("--norm", metavar="NAME", help=f"{', '.join(NORMS)} (default: the model's own)")
    net.add_argument(
        "--norm-momentum", type=float, metavar="P", help="weight of a new batch in running statistics (default: 0.1)"
    )
    net.add_argument(
        "--option",
        type=_option,
        action="append",
        dest="options",
        metavar="NAME=VALUE",
        help="what else the net takes, such as width=0.5 or 'hidden=(64, 32)': JSON, a Python literal, or text",
    )
    steps = parser.add_argument_group("training (the defaults of each model are listed below)")
    steps.add_argument("--epochs", type=int, metavar="N", help="how often each image is seen")
    steps.add_argument("--batch-size", type=int, metavar="N", help="images a step")
    steps.add_argument("--optimizer", metavar="NAME", help=", ".join(OPTIMIZERS))
    rates = ", ".join(f"{name} {rate:g}" for name, (_, rate) in OPTIMIZERS.items())
    steps.add_argument(
        "--lr", type=float, metavar="RATE", help=f"highest learning rate (of another optimizer: {rates})"
    )
    steps.add_argument("--schedule", metavar="NAME", help=", ".join(SCHEDULES))
    steps.add_argument("--warmup", type=float, metavar="PART", help="part of the steps in which the rate rises")
    steps.add_argument("--weight-decay", type=float, metavar="RATE", help="of weights; biases and norms are spared")
    steps.add_argument("--clip-norm", type=float, metavar="NORM", help="largest norm of all gradients (default: none)")
    steps.add_argument("--label-smoothing", type=float, metavar="PART", help="spread over all classes")
    steps.add_argument("--seed", type=int, metavar="N", help="of all that is random (default: 0)")


def add_output_arguments(parser: argparse.ArgumentParser, folder: str, default: Path | None = None) -> None:
    """Add where a run goes and what it shows; `folder` says in words which one is used without --output."""
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o",
        "--output",
        type=Path,
        default=default,
        metavar="FOLDER",
        help=f"log, checkpoints, pictures (default: {folder})",
    )
    output.add_argument("--plot", action="store_true", help="draw curves.png")
    output.add_argument("--confusion", action="store_true", help="draw confusion.png, and print the matrix")
    output.add_argument("--quiet", action="store_true", help="show no progress")
    output.add_argument("--json", action="store_true", help="print all figures as JSON")


def recipe_changes(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of a recipe; what it does not say is left out."""
    given = {name: value for name, value in vars(args).items() if name in FIELDS and name != "model"}
    changes = {name: value for name, value in given.items() if value is not None}
    return changes | ({"options": dict(changes["options"])} if "options" in changes else {})


def recipe_from(args: argparse.Namespace, model: str) -> Recipe:
    """The model's own recipe with what the command line changes."""
    return recipe_for(model, **recipe_changes(args))


def _option(text: str) -> tuple[str, Any]:
    """The name and the value of "width=0.25"; what is neither JSON nor a literal of Python is text."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"should be NAME=VALUE, such as width=0.5, not {text!r}")
    for read in (json.loads, float, ast.literal_eval):  # JSON has no .5, and no tuple
        with suppress(ValueError, SyntaxError, RecursionError):
            return name, read(value)
    return name, value


def defaults_table() -> str:
    """Each model's own recipe, for --help."""
    names = (
        "epochs",
        "batch_size",
        "optimizer",
        "lr",
        "schedule",
        "warmup",
        "weight_decay",
        "label_smoothing",
        "augment",
    )
    rows = [("model", *(name.replace("_", "-") for name in names))]
    for model in list_models():
        values = (getattr(recipe_for(model), name) for name in names)
        rows.append((model, *(" ".join(value) if isinstance(value, tuple) else str(value) for value in values)))
    return "each model's own:\n" + format_table(rows)
