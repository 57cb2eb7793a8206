"""The package as a whole: quick to import, light to import, and what its metadata says it is."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version

import tinygrad_norm

HEAVY = ("matplotlib", "numba", "pygraphviz", "scipy", "tensorboardX", "torch")


def run_python(code: str) -> str:
    """What a fresh interpreter prints; bytecode is kept, as for any user."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def test_import_takes_under_300_ms():
    code = "import time; start = time.perf_counter(); import tinygrad_norm; print(time.perf_counter() - start)"
    assert any(float(run_python(code)) < 0.3 for _ in range(10))  # the best of several: the machine may be busy


def test_import_brings_no_optional_package():
    code = f"import sys, tinygrad_norm; print(*[name for name in {HEAVY} if name in sys.modules])"
    assert run_python(code) == ""


def test_version_is_the_distributions():
    assert tinygrad_norm.__version__ == version("tinygrad-norm")


def test_every_public_name_exists_once():
    public = tinygrad_norm.__all__
    assert public
    assert len(public) == len(set(public))
    assert [name for name in public if not hasattr(tinygrad_norm, name)] == []
