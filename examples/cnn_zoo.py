"""Train the nets of the zoo on handwritten digits, with the norm of your choice.

    python examples/cnn_zoo.py                            # all of them, in turn
    python examples/cnn_zoo.py resnet18 vgg16 --norm group

Each net gets a folder in runs/cnn_zoo with its log, its checkpoints and its pictures, and all of them one table at the
end. After Ctrl-C, --resume goes on with the net at hand. `tinygrad-norm train` does the same for one net.
Read it from top to bottom: the plan, the runs, the table, the command line.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from tinygrad_norm.cli.arguments import add_recipe_arguments, format_table, recipe_from
from tinygrad_norm.cli.ending import run_command
from tinygrad_norm.models import list_models
from tinygrad_norm.training import Recipe, Result, plot_curves, train
from tinygrad_norm.training.curves import new_figure
from tinygrad_norm.training.run import CHECKPOINT, check_folder, load_data, prepare


@dataclass
class Plan:
    """What will be trained, where, and from which checkpoint if from one."""

    recipe: Recipe
    folder: Path
    resume: Path | None


def make_plans(args: argparse.Namespace) -> list[Plan]:
    """One plan for each net. What cannot be trained is found out here, before minutes of work."""
    plans = []
    for name in args.models:
        recipe, folder = recipe_from(args, name), args.output / name
        checkpoint = folder / CHECKPOINT
        plan = Plan(recipe, folder, checkpoint if args.resume and checkpoint.exists() else None)
        check_folder(folder, plan.resume)
        training, _, _ = load_data(recipe, args.download)
        prepare(recipe, training)
        plans.append(plan)
    return plans


def run(plans: list[Plan], pictures: bool) -> list[Result]:
    """Train one net after the other."""
    results = []
    for plan in plans:
        print(f"\n{plan.recipe.model}", file=sys.stderr)
        results.append(train(plan.recipe, plan.folder, resume=plan.resume, plot=pictures, confusion=pictures))
    return results


def table(results: list[Result]) -> str:
    """What came of it, a row for each net."""
    rows = [("model", "norm", "parameters", "epochs", "seconds", "test accuracy")]
    for result in results:
        norm, epochs = result.recipe.norm or "its own", str(len(result.history))
        figures = f"{result.parameters:,}", epochs, f"{result.seconds:.1f}", f"{result.test.accuracy:.2%}"
        rows.append((result.recipe.model, norm, *figures))
    return format_table(rows)


def can_draw() -> bool:
    """Whether matplotlib can be imported; says so if not."""
    try:
        new_figure(1, 1)
    except ImportError as error:
        print(f"no pictures: {error}", file=sys.stderr)
        return False
    return True


def main() -> None:
    """Read the command line, train, and print the table."""
    args = parse_arguments()
    plans, pictures = make_plans(args), can_draw()
    results = run(plans, pictures)
    if pictures:
        histories = {result.recipe.model: result.history for result in results}
        plot_curves(histories, args.output / "curves.png", f"The zoo on {plans[0].recipe.data}")
    print(json.dumps([result.to_dict() for result in results], indent=2) if args.json else table(results))


def parse_arguments() -> argparse.Namespace:
    """The command line; what a recipe cannot be is refused when it is made."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"any of {', '.join(list_models())} (all)")
    add_recipe_arguments(parser)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("runs/cnn_zoo"), metavar="FOLDER", help="(%(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with what is in the folder")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    args = parser.parse_args()
    args.models = args.models or list_models()
    return args


if __name__ == "__main__":
    sys.exit(run_command(main))
