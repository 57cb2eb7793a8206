"""The notebooks in marimo itself: it finds nothing to complain of, and its values are those of the pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "docs" / "notebooks").glob("*.py"))

COMPARE = """
import importlib.util, json, sys
from pathlib import Path
import numpy as np

def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def told(values):
    return {name: repr(np.asarray(value)) for name, value in values.items()
            if isinstance(value, (str, bool, int, float, tuple, list, dict, np.ndarray))}

path = Path(sys.argv[1])
outputs, values = load(path).app.run()
code = load(path.parent.parent / "_code" / "notebook.py")
page = code.Notebook(path.read_text(encoding="utf-8"), str(path))
names = sorted(told(page.values))
mine, theirs = told(page.values), told({name: values[name] for name in names})
assert names and mine == theirs, (mine, theirs)
assert len(outputs) == len(page.cells) - 1  # the setup is no cell to marimo
"""


@pytest.fixture
def environment() -> dict[str, str]:
    return os.environ | {"TINYGRAD_NORM_KERNELS": "reference", "OPENBLAS_NUM_THREADS": "1"}


def test_marimo_finds_nothing_wrong():
    found = subprocess.run(
        [sys.executable, "-m", "marimo", "check", "--strict", *map(str, NOTEBOOKS)], capture_output=True
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_a_script(path, tmp_path, environment):
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_marimo_computes_what_the_page_shows(path, environment):
    done = subprocess.run([sys.executable, "-c", COMPARE, str(path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
