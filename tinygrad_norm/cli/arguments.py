"""The arguments that say how a net is trained, for `tinygrad-norm train` and for examples/cnn_zoo.py alike."""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from tinygrad_norm.checks import did_you_mean
from tinygrad_norm.models import list_models
from tinygrad_norm.models.norms import UNFIT_FOR_ROWS
from tinygrad_norm.models.registry import MODELS
from tinygrad_norm.tables import format_table
from tinygrad_norm.training.recipe import AUGMENTATIONS, FIELDS, NORMS, OPTIMIZERS, SCHEDULES, Recipe, recipe_for

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

DATA = "digits (ships with the package), mnist, fashion-mnist, cifar10, cifar100, or a folder of images or arrays"


class Parser(argparse.ArgumentParser):
    """One that says what is wrong in one line, and what was probably meant."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = tuple(map(str, action.choices))
            hint = did_you_mean(str(value), known)
            raise argparse.ArgumentError(action, f"there is no {value!r}, only {', '.join(known)}{hint}")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is unknown here, for the command itself knows its options and has the help on them."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [word.partition("=")[0] for word in unknown if word.startswith("-")]
            hints = (did_you_mean(option, self._option_string_actions) for option in options)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{next(filter(None, hints), '')}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Leave with status 2."""
        self.exit(2, f"{self.prog}: {message}; try {self.prog} --help\n")


def add_command(commands: Commands, name: str, run: Callable[..., None], words: str, **defaults: Any) -> Parser:
    """Add a command, which runs a function, with its help in words, and the defaults of its options."""
    command = commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
    command.set_defaults(run=run, **defaults)
    return command


def add_flags(parser: argparse._ActionsContainer, **words: str) -> None:
    """Add an option without a value, such as --no-fold for `no_fold`, for each name, with its help."""
    for name, what in words.items():
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=what)


def add_eager(parser: argparse._ActionsContainer) -> None:
    """Add --eager."""
    add_flags(parser, eager="run each step op by op; else it is recorded once and replayed, with the same bits")


def add_options(parser: argparse._ActionsContainer, kind: Callable[[str], Any], value: str, **words: str) -> None:
    """Add an option with a value of a kind, None unless given, for each name, with its help."""
    for name, what in words.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=value, help=what)


def add_named_options(parser: argparse._ActionsContainer, words: str) -> None:
    """Add --option NAME=VALUE, which may be given several times."""
    words = f"{words}: JSON, a Python literal, or text"
    parser.add_argument("--option", type=_option, action="append", dest="options", metavar="NAME=VALUE", help=words)


def not_empty(text: str) -> str:
    """Return the name of a file or folder; a shell makes "" of a variable that is not set."""
    if not text:
        raise argparse.ArgumentTypeError("the name of a file or folder is not empty, got ''; . is the current folder")
    return text


def add_output(parser: argparse._ActionsContainer, value: str, words: str, default: Path | None = None) -> None:
    """Add -o, where to write."""
    parser.add_argument(
        "-o", "--output", type=lambda text: Path(not_empty(text)), default=default, metavar=value, help=words
    )


def add_model(parser: argparse._ActionsContainer) -> None:
    """Add which net of the zoo is meant."""
    parser.add_argument("model", metavar="MODEL", help=f"one of {', '.join(list_models())}")


def add_norm(parser: argparse._ActionsContainer) -> None:
    """Add --norm."""
    of_rows = ", ".join(name for name, kind in MODELS.items() if kind.of_rows)
    unfit = ", ".join(UNFIT_FOR_ROWS)
    add_options(parser, str, "NAME", norm=f"{', '.join(NORMS)}; for {of_rows} not {unfit} (default: the model's own)")


def add_data_arguments(parser: argparse._ActionsContainer, default: str) -> None:
    """Add --data, --data-folder and --download; `default` says which data are used without --data."""
    add_options(parser, not_empty, "NAME|FOLDER", data=f"{DATA} (default: {default})")
    add_options(parser, not_empty, "FOLDER", data_folder="where data sets lie (default: datasets)")
    add_flags(parser, download="fetch the data set if it is not there")


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an option for each entry of a recipe but the model. The model's own defaults stand in the epilog."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = defaults_table()
    data = parser.add_argument_group("data")
    add_data_arguments(data, "digits")
    every = "of each class, hold out every Nth image (default: 10)"
    add_options(data, int, "N", image_size="height and width (default: 32)", validation_every=every)
    data.add_argument(
        "--augment", nargs="*", metavar="NAME", help=f"any of {', '.join(AUGMENTATIONS)}; or nothing, for none"
    )
    mix, paste = "mix pairs of images (default: 0, off)", "paste pieces of images (default: 0, off)"
    add_options(data, float, "ALPHA", mixup=mix, cutmix=paste)
    net = parser.add_argument_group("net")
    add_norm(net)
    add_options(net, float, "P", norm_momentum="weight of a new batch in running statistics (default: 0.1)")
    add_named_options(net, "what else the net takes, such as norm_free=fixup or 'hidden=(64, 32)'")
    steps = parser.add_argument_group("training (the defaults of each model are listed below)")
    add_options(steps, int, "N", epochs="how often each image is seen", batch_size="images a step")
    add_options(steps, str, "NAME", optimizer=", ".join(OPTIMIZERS), schedule=", ".join(SCHEDULES))
    rates = ", ".join(f"{name} {rate:g}" for name, (_, rate) in OPTIMIZERS.items())
    add_options(steps, float, "RATE", lr=f"highest learning rate (of another optimizer: {rates})")
    add_options(steps, float, "RATE", weight_decay="of weights; biases and norms are spared")
    rise, spread = "part of the steps in which the rate rises", "spread over all classes"
    add_options(steps, float, "PART", warmup=rise, label_smoothing=spread)
    add_options(steps, float, "NORM", clip_norm="largest norm of all gradients (default: none)")
    adaptive = "largest gradient of a unit, as a part of its weights, such as 0.01 (default: none)"
    add_options(steps, float, "PART", clip_adaptive=adaptive)
    add_options(steps, int, "N", seed="of all that is random (default: 0)")


def add_output_arguments(parser: argparse.ArgumentParser, folder: str, default: Path | None = None) -> None:
    """Add where a run goes and what it shows; `folder` says in words which one is used without --output."""
    output = parser.add_argument_group("output")
    add_output(output, "FOLDER", f"log, checkpoints, pictures (default: {folder})", default)
    add_flags(output, plot="draw curves.png", confusion="draw confusion.png, and print the matrix")
    add_eager(output)
    add_flags(output, quiet="show no progress", json="print all figures as JSON")


def recipe_changes(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the command line says of a recipe; what it does not say is left out."""
    given = {name: value for name, value in vars(args).items() if name in FIELDS and name != "model"}
    changes = {name: value for name, value in given.items() if value is not None}
    return changes | ({"options": dict(changes["options"])} if "options" in changes else {})


def recipe_from(args: argparse.Namespace, model: str) -> Recipe:
    """Return the model's own recipe with what the command line changes."""
    return recipe_for(model, **recipe_changes(args))


def _option(text: str) -> tuple[str, Any]:
    """Return the name and the value of "width=0.25"; what is neither JSON nor a literal of Python is text."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"an option is NAME=VALUE, such as width=0.5, got {text!r}")
    for read in (json.loads, float, ast.literal_eval):  # JSON has no .5, and no tuple
        with suppress(ValueError, SyntaxError, RecursionError):
            return name, read(value)
    return name, value


def defaults_table() -> str:
    """Return each model's own recipe, for --help."""
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
