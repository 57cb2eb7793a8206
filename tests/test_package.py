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
    """In seconds of the processor, which others on the machine cannot lengthen; later runs find the bytecode."""
    code = "import time; start = time.process_time(); import tinygrad_norm; print(time.process_time() - start)"
    assert min(float(run_python(code)) for _ in range(5)) < 0.3


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


def test_no_module_is_imported_as_late_as_by_the_first_tensor():
    """Python holds a lock while it imports, and a fork by another thread meanwhile would leave it held in the child."""
    code = (
        "import sys, tinygrad_norm as t; before = set(sys.modules); t.Tensor([[1.0, 2.0]]) @ t.Tensor([[1.0], [2.0]]); "
        "print(*sorted(set(sys.modules) - before))"
    )
    environment = os.environ | {"TINYGRAD_NORM_KERNELS": "reference"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == ""
