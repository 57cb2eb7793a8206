"""Ctrl-C while a command is still being imported, by `python -m` and by the script."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tinygrad_norm import startup

# A module that is imported early or late, in whose place a signal comes; the first is imported by the package itself.
MOMENTS = ["tinygrad_norm.nn.containers", "tinygrad_norm.cli.zoo"]
INTERRUPT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["MOMENT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
"""
SCRIPT = "import sys\nfrom tinygrad_norm.cli import main\nsys.exit(main())\n"


@pytest.fixture
def interrupted(tmp_path):
    """Runs Python with some arguments; it is interrupted as it imports a module."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT)
    (tmp_path / "tinygrad-norm").write_text(SCRIPT)
    (tmp_path / "other.py").write_text(SCRIPT)

    def run(moment, *arguments):
        environment = os.environ | {"MOMENT": moment, "PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("command", [["-m", "tinygrad_norm"], ["tinygrad-norm"]], ids=["module", "script"])
def test_a_command_ends_with_a_word_and_status_130(interrupted, moment, command):
    done = interrupted(moment, *command, "info")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "tinygrad-norm: interrupted\n")


@pytest.mark.parametrize("command", [["other.py"], ["-m", "other"], ["-c", SCRIPT]], ids=["script", "module", "code"])
def test_a_program_that_imports_the_package_gets_its_keyboard_interrupt(interrupted, command):
    done = interrupted(MOMENTS[0], *command, "tinygrad_norm")
    assert done.returncode == -signal.SIGINT
    assert done.stderr.endswith("KeyboardInterrupt\n")


def test_a_command_that_runs_gets_its_keyboard_interrupt(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, startup.end_quietly)
        startup.hand_over()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # by nohup, perhaps
        startup.hand_over()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
