from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tinygrad_norm.cli.ending import run_command


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("no such norm"), 2, "name: no such norm\n"),
        (FileNotFoundError("no such file"), 2, "name: no such file\n"),
        (ImportError("no matplotlib"), 2, "name: no matplotlib\n"),
        (FloatingPointError("the loss is nan"), 1, "name: the loss is nan\n"),
        (MemoryError(), 1, "name: out of memory: try a smaller --batch-size\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_went_wrong_is_one_line_and_a_status(capsys, error, status, message):
    def command():
        raise error

    assert run_command(command, "name") == status
    assert capsys.readouterr() == ("", message)


def test_a_bug_is_not_dressed_up_as_bad_input():
    def command():
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        run_command(command)


def test_all_is_well(capsys):
    assert run_command(lambda: print("done")) == 0
    assert capsys.readouterr() == ("done\n", "")


@pytest.mark.parametrize("command", ["info", "experiment", "train --help"])
def test_a_reader_that_has_seen_enough_is_no_error(command):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tinygrad_norm", *command.split()],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert err == ""
