"""The command line, called as a user calls it."""

from __future__ import annotations

import pytest

from tinygrad_norm.cli import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Calls `tinygrad-norm` in an empty folder; gives the status and both outputs."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        try:
            status = main(arguments)
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return call
