"""The command line: `tinygrad-norm`, or `python -m tinygrad_norm`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from tinygrad_norm import __version__
from tinygrad_norm.checks import did_you_mean
from tinygrad_norm.cli import certification, derivation, experiment, graphs, inspection, installation, zoo
from tinygrad_norm.cli.exit_status import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status, as `run_command` says. A certificate that fails, and a picture that cannot be drawn after
        training, leave with status 1.
    """

    def command() -> None:
        args = make_parser().parse_args(arguments)
        args.run(args)

    return run_command(command, "tinygrad-norm")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; `run` of what it returns is the command's function."""
    parser = Parser(prog="tinygrad-norm", description="Normalization and autodiff that can be read.")
    parser.add_argument("--version", action="version", version=f"tinygrad-norm {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", dest="command")
    for family in (zoo, experiment, graphs, inspection, certification, derivation, installation):
        family.add_commands(commands)
    return parser


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
