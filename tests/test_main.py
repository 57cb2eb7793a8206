"""`python -m tinygrad_norm`, in a folder of somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MARKING = "open('mark', 'w')\n"


@pytest.fixture
def strange(tmp_path):
    """A folder with modules and programs that leave a mark."""
    for name in ("threadpoolctl", "matplotlib", "pygraphviz", "tqdm"):
        (tmp_path / f"{name}.py").write_text(MARKING)
    for name in ("uname", "dot", "gcc"):
        (tmp_path / name).write_text("#!/bin/sh\n: > mark\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "norms.py").write_text("from tinygrad_norm import ops\n\n\ndef double(x):\n    return 2 * ops.exp(x)\n")
    return tmp_path


@pytest.mark.parametrize("command", ["info", "certify norms:double", "certify norms.py:double"])
def test_nothing_in_the_working_folder_runs_but_what_is_named(command, strange):
    environment = {"PATH": f".{os.pathsep}{os.environ['PATH']}", "TINYGRAD_NORM_KERNELS": "reference"}
    done = subprocess.run(
        [sys.executable, "-m", "tinygrad_norm", *command.split()],
        cwd=strange,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (strange / "mark").exists()
