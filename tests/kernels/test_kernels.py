"""Which kernels an array gets."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import array_api_strict
import numpy as np
import pytest

from tinygrad_norm import definitions, kernels

HAS_NUMBA = find_spec("numba") is not None


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    monkeypatch.setattr(kernels, "_use_cpu", HAS_NUMBA)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_of_numpy_get_the_fast_ones_where_numba_is_installed(dtype):
    name = kernels.of(np.zeros(3, dtype)).__name__
    assert name == ("tinygrad_norm.kernels.cpu" if HAS_NUMBA else "tinygrad_norm.definitions")


@pytest.mark.parametrize(
    "array", [np.zeros(3, np.float16), np.zeros(3, int), array_api_strict.zeros(3), np.ma.zeros(3)]
)
def test_all_others_get_the_reference(array):
    assert kernels.of(array) is definitions


def test_the_reference_can_be_asked_for():
    kernels.use("reference")
    assert kernels.of(np.zeros(3)) is definitions


def test_the_environment_can_ask_for_the_reference():
    code = "import numpy, tinygrad_norm.kernels as k; print(k.of(numpy.zeros(3)).__name__)"
    environment = {"TINYGRAD_NORM_KERNELS": "reference"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "tinygrad_norm.definitions"


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="'gpu' is not known; 'cpu' and 'reference' are"):
        kernels.use("gpu")


def test_asking_for_the_fast_ones_without_numba_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'tinygrad-norm\[fast\]'"):
        kernels.use("cpu")


def test_what_the_environment_asks_for_is_known_or_refused():
    code = "import tinygrad_norm.kernels"
    environment = {"TINYGRAD_NORM_KERNELS": "Reference"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "TINYGRAD_NORM_KERNELS: 'Reference' is not known; 'cpu' and 'reference' are" in done.stderr


@pytest.mark.parametrize("beside", ["numba.py", "numba/__init__.py", "numba/data.txt"])
def test_a_folder_or_file_called_numba_beside_a_script_is_not_it(tmp_path, beside):
    path = tmp_path / beside
    path.parent.mkdir(exist_ok=True)
    path.touch()
    (tmp_path / "script.py").write_text(
        "import tinygrad_norm.kernels as k, numpy; print(k.of(numpy.zeros(3)).__name__)"
    )
    done = subprocess.run([sys.executable, "script.py"], check=True, capture_output=True, text=True, cwd=tmp_path)
    shadowed = not HAS_NUMBA or beside != "numba/data.txt"  # a folder without __init__.py hides nothing
    assert done.stdout.strip() == f"tinygrad_norm.{'definitions' if shadowed else 'kernels.cpu'}"
