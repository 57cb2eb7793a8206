"""Train the nets of the zoo on handwritten digits, with the norm of your choice.

    python examples/cnn_zoo.py                            # all of them, in turn
    python examples/cnn_zoo.py resnet18 vgg16 --norm group

Each net gets a folder in runs/cnn_zoo with its log, its checkpoints and, with --plot and --confusion, its pictures, and
all of them one table at the end. After Ctrl-C, --resume goes on with the net at hand. `tinygrad-norm train` does the
same for one net.
Read it from top to bottom: the plan, the runs, the table, the command line.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tinygrad_norm import eager
from tinygrad_norm.cli.arguments import add_output_arguments, add_recipe_arguments, recipe_from
from tinygrad_norm.cli.exit_status import run_command
from tinygrad_norm.cli.zoo import describe_evaluation
from tinygrad_norm.figures import new_figure
from tinygrad_norm.models import list_models
from tinygrad_norm.tables import format_table
from tinygrad_norm.training import Recipe, Result, plot_curves, train
from tinygrad_norm.training.preparation import load_data, prepare, rehearse
from tinygrad_norm.training.run import check_folder
from tinygrad_norm.training.saved_run import CHECKPOINT


@dataclass
class Plan:
    """What will be trained, where, and from which checkpoint if from one."""

    recipe: Recipe
    folder: Path
    resume: Path | None


def make_plans(args: argparse.Namespace) -> list[Plan]:
    """One plan for each net. What cannot be trained is found out here, before minutes of work.

    A net that was not asked for by name is left out if it refuses, as mlp does instance norm, which it has no form of.
    """
    if args.plot or args.confusion:
        new_figure(1, 1)  # is matplotlib there?
    plans, refusals = [], []
    for name in dict.fromkeys(args.models or list_models()):
        try:
            plans.append(make_plan(args, name))
        except ValueError as error:
            refusals.append(f"{name}: {error}")
    if refusals and (args.models or not plans):
        raise ValueError(refusals[0])
    for refusal in refusals:
        print(f"left out, {refusal}", file=sys.stderr)
    return plans


def make_plan(args: argparse.Namespace, name: str) -> Plan:
    """The plan for one net, tried out on a batch."""
    recipe, folder = recipe_from(args, name), args.output / name
    checkpoint = folder / CHECKPOINT
    plan = Plan(recipe, folder, checkpoint if args.resume and checkpoint.exists() else None)
    check_folder(folder, plan.resume)
    training, _, _ = load_data(recipe, args.download)
    model, _, loader = prepare(recipe, training)
    rehearse(model, loader)
    return plan


def run(plans: list[Plan], args: argparse.Namespace) -> list[Result]:
    """Train one net after the other."""
    results = []
    for plan in plans:
        options = {"plot": args.plot, "confusion": args.confusion, "progress": not args.quiet}
        if not args.quiet:
            print(f"\n{plan.recipe.model}", file=sys.stderr)
        try:
            results.append(train(plan.recipe, plan.folder, resume=plan.resume, **options))
        except FloatingPointError as error:
            raise FloatingPointError(f"{plan.recipe.model}: {error}") from error
    return results


def table(results: list[Result]) -> str:
    """What came of it, a row for each net."""
    rows = [("model", "norm", "parameters", "epochs", "seconds", "test accuracy")]
    for result in results:
        norm, epochs = result.recipe.norm or "its own", str(len(result.history))
        figures = f"{result.parameters:,}", epochs, f"{result.seconds:.1f}", f"{result.test.accuracy:.2%}"
        rows.append((result.recipe.model, norm, *figures))
    return format_table(rows)


def main() -> None:
    """Read the command line, train, and print the table."""
    args = parse_arguments()
    plans = make_plans(args)
    with eager(args.eager):
        results = run(plans, args)
    if args.plot:
        histories = {result.recipe.model: result.history for result in results}
        plot_curves(histories, args.output / "curves.png", f"The zoo on {plans[0].recipe.data}")
    if args.json:
        print(json.dumps([result.to_dict() for result in results], indent=2))
        return
    if args.confusion:
        print("\n".join(describe_evaluation(result.recipe, result.test, confusion=True) for result in results))
    print(table(results))


def parse_arguments() -> argparse.Namespace:
    """The command line; what a recipe cannot be is refused when it is made."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"any of {', '.join(list_models())} (all)")
    add_recipe_arguments(parser)
    add_output_arguments(parser, "runs/cnn_zoo", Path("runs/cnn_zoo"))
    parser.add_argument("--resume", action="store_true", help="go on with what is in the folder")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main))
