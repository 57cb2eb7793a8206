"""The command line: `tinygrad-norm`, or `python -m tinygrad_norm`."""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_norm import __version__
from tinygrad_norm.cli import certification, derivation, experiment, graphs, inspection, installation, norms, zoo
from tinygrad_norm.cli.arguments import Parser
from tinygrad_norm.cli.exit_status import run_command
from tinygrad_norm.modes import eager


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status, as `run_command` says. A certificate that fails, and a picture that cannot be drawn after
        training, leave with status 1.
    """

    def command() -> None:
        args = make_parser().parse_args(arguments)
        with eager(getattr(args, "eager", False)):
            args.run(args)

    return run_command(command, "tinygrad-norm")


def make_parser() -> Parser:
    """Return the parser of the command line; `run` of what it returns is the command's function."""
    parser = Parser(prog="tinygrad-norm", description="Normalization and autodiff that can be read.")
    parser.add_argument("--version", action="version", version=f"tinygrad-norm {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")
    for family in (zoo, norms, experiment, graphs, inspection, certification, derivation, installation):
        family.add_commands(commands)
    return parser
