"""`tinygrad-norm train`, `evaluate`, `diagnose` and `models`: the nets of the zoo."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import shlex
import sys
from pathlib import Path

from tinygrad_norm.cli.arguments import (
    Commands,
    add_command,
    add_data_arguments,
    add_eager,
    add_flags,
    add_model,
    add_output_arguments,
    add_recipe_arguments,
    not_empty,
    recipe_changes,
)
from tinygrad_norm.models import create_model
from tinygrad_norm.models.registry import MODELS
from tinygrad_norm.nn.flops import count_flops
from tinygrad_norm.output import printable
from tinygrad_norm.tables import format_table, plural
from tinygrad_norm.training.callbacks import Callback
from tinygrad_norm.training.confusion import confusion_table
from tinygrad_norm.training.evaluation import Evaluation, evaluate
from tinygrad_norm.training.logs import strict_json
from tinygrad_norm.training.preparation import count_parameters, load_split, load_training, make_loader, make_optimizer
from tinygrad_norm.training.recipe import Recipe, recipe_for
from tinygrad_norm.training.run import Result, train
from tinygrad_norm.training.saved_run import CHANGEABLE, CHECKPOINT, SavedRun, find_checkpoint, read_run
from tinygrad_norm.training.trainer import Trainer


def add_commands(commands: Commands) -> None:
    """Add the four commands."""
    command = add_command(commands, "train", run_train, "train a net of the zoo")
    add_model(command)
    add_recipe_arguments(command)
    add_output_arguments(command, "runs/MODEL")
    command.add_argument(
        "--resume", nargs="?", const="", metavar="FILE", help="go on from a checkpoint (that of the folder)"
    )

    command = add_command(commands, "evaluate", run_evaluate, "measure a trained net on test images")
    _add_checkpoint_arguments(command)
    add_eager(command)
    add_flags(command, confusion="print which class was taken for which")

    words = "check a trained net's norms, and say what to do"
    _add_checkpoint_arguments(add_command(commands, "diagnose", run_diagnose, words))

    command = add_command(commands, "models", run_models, "list the zoo: parameters and floating-point operations")
    add_flags(command, imagenet="in the form for 224×224 pixels and 1,000 classes", json="print JSON")


class Announcement(Callback):
    """Says what is trained, once it is certain that it can be."""

    def __init__(self, recipe: Recipe, folder: Path, epochs_before: int) -> None:
        self.recipe, self.folder, self.epochs_before = recipe, folder, epochs_before

    def on_train_begin(self, trainer: Trainer) -> None:
        recipe, done = self.recipe, f" ({trainer.epoch} done)" if trainer.epoch else ""
        net = f"{recipe.model} ({count_parameters(trainer.model):,} parameters) on {printable(recipe.data)}"
        epochs = f"{plural(recipe.epochs, 'epoch')}{done}"
        print(f"{net}: {epochs}, into {printable(self.folder)}", file=sys.stderr)
        if recipe.epochs != self.epochs_before:
            words = f"and was to take {self.epochs_before}: the learning rate goes on as in {recipe.epochs}"
            print(f"{words} (schedule: {recipe.schedule})", file=sys.stderr)


def run_train(args: argparse.Namespace) -> None:
    """Train, print what came of it, and after Ctrl-C how to go on."""
    recipe, folder, saved = _find_run(args)
    epochs_before = recipe.epochs if saved is None else saved.recipe.epochs
    try:
        result = train(
            recipe,
            folder,
            resume=None if saved is None else saved.path,
            download=args.download,
            plot=args.plot,
            confusion=args.confusion,
            progress=not args.quiet,
            callbacks=() if args.quiet else [Announcement(recipe, folder, epochs_before)],
        )
    except KeyboardInterrupt:
        if (folder / CHECKPOINT).exists():
            print(f"go on with: {shlex.join(resume_command(args, folder / CHECKPOINT))}", file=sys.stderr)
        raise
    print(json.dumps(result.to_dict(), indent=2) if args.json else describe_training(result, args.confusion))
    if result.undrawn:  # and warned of
        raise SystemExit(1)


def resume_command(args: argparse.Namespace, checkpoint: Path) -> list[str]:
    """Return the command that goes on with an interrupted run, and shows and draws what this one was asked for."""
    command = ["tinygrad-norm", "train", args.model, "--resume", str(checkpoint)]
    if args.resume is not None:  # a second Ctrl-C leaves a checkpoint that knows nothing of what was changed
        changed = {name: getattr(args, name) for name in CHANGEABLE}
        command += [f"--{name.replace('_', '-')}={value}" for name, value in changed.items() if value is not None]
    return command + [f"--{name}" for name in ("plot", "confusion", "eager", "quiet", "json") if getattr(args, name)]


def run_evaluate(args: argparse.Namespace) -> None:
    """Measure a checkpoint on test images."""
    saved, recipe = _find(args, "evaluate")
    test = load_split(recipe, "test", args.download)
    saved.check_data(test)
    found = evaluate(saved.net(), test)
    if not args.json:
        print(describe_evaluation(recipe, found, args.confusion))
        return
    figures = {"checkpoint": str(saved.path), "model": recipe.model, "data": recipe.data, "images": len(test)}
    figures |= strict_json(dataclasses.asdict(found))
    print(json.dumps(figures, indent=2))


def run_diagnose(args: argparse.Namespace) -> None:
    """Examine a checkpoint's norms on the batches that it was trained with."""
    from tinygrad_norm.doctor import diagnose

    saved, recipe = _find(args, "diagnose")
    training, _ = load_training(recipe, args.download)
    saved.check_data(training)
    model = saved.net()
    diagnosis = diagnose(model, make_loader(recipe, training), make_optimizer(recipe, model))
    if args.json:
        print(json.dumps(diagnosis.to_json(), indent=2))
        return
    print(diagnosis)
    print("Loader and optimizer are the recipe's own: it leaves out a short last batch, and spares norms weight decay.")


def run_models(args: argparse.Namespace) -> None:
    """List the zoo, in its small form or in that for ImageNet."""
    size, classes = (224, 1000) if args.imagenet else (32, 10)
    figures: list[tuple[str, int, int]] = []
    for name, kind in MODELS.items():
        if args.imagenet and "small_images" not in inspect.signature(kind).parameters:
            continue  # it has the small form alone
        model = create_model(name, classes, small_images=not args.imagenet)
        figures.append((name, count_parameters(model), count_flops(model, 1, 3, size, size)))
    if args.json:
        names = ("model", "parameters", "flops")
        print(json.dumps([dict(zip(names, row, strict=True)) for row in figures], indent=2))
        return
    rows = [(name, f"{parameters:,}", f"{flops / 1e6:,.1f}") for name, parameters, flops in figures]
    print(format_table([("model", "parameters", "MFLOPs"), *rows]))
    print(
        f"for one image of 3×{size}×{size} and {classes} classes; a multiplication and an addition are two operations"
    )


def describe_training(result: Result, confusion: bool = False) -> str:
    """Return a result in a few lines."""
    epochs = f"{plural(len(result.history), 'epoch')} in {result.seconds:.1f} s"
    return (
        f"{describe_evaluation(result.recipe, result.test, confusion)}\n"
        f"{epochs}, {result.parameters:,} parameters: {printable(result.checkpoint)}"
    )


def describe_evaluation(recipe: Recipe, found: Evaluation, confusion: bool = False) -> str:
    """Return an evaluation in a line, and the confusion matrix if it is wanted."""
    images = found.confusion.sum()
    figures = f"test accuracy {found.accuracy:.2%}, loss {found.loss:.4f}, {images} images"
    line = f"{recipe.model} on {printable(recipe.data)}: {figures}"
    return f"{line}\n\n{confusion_table(found.confusion, found.class_names)}\n" if confusion else line


def _add_checkpoint_arguments(command: argparse.ArgumentParser) -> None:
    words = "a file that `tinygrad-norm train` wrote, or its folder"
    command.add_argument("checkpoint", type=not_empty, metavar="CHECKPOINT", help=words)
    add_data_arguments(command, "those that it was trained with")
    add_flags(command, json="print all figures as JSON")


def _find(args: argparse.Namespace, purpose: str) -> tuple[SavedRun, Recipe]:
    """Read a checkpoint; return it, and its recipe with what the command line changes."""
    saved = read_run(find_checkpoint(args.checkpoint, purpose))
    return saved, dataclasses.replace(saved.recipe, **recipe_changes(args))


def _find_run(args: argparse.Namespace) -> tuple[Recipe, Path, SavedRun | None]:
    """Return the recipe, the folder and the run to go on with; without options that one's recipe goes on."""
    if not args.resume and args.resume != "":
        recipe = recipe_for(args.model, **recipe_changes(args))
        return recipe, args.output or default_folder(recipe), None
    place = args.resume or args.output or default_folder(recipe_for(args.model, **recipe_changes(args)))
    saved = read_run(find_checkpoint(place, "go on from"))
    recipe = dataclasses.replace(saved.recipe, model=args.model, **recipe_changes(args))
    return recipe, args.output or saved.path.parent, saved


def default_folder(recipe: Recipe) -> Path:
    """Return where a run goes unless told: runs/MODEL, with the norm and the data if they are not the usual ones."""
    parts = [recipe.model, recipe.norm, Path(recipe.data).name if recipe.data != "digits" else None]
    return Path("runs", "-".join(part for part in parts if part))
