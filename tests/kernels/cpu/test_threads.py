"""The threads of kernels: which layer has them, and that neither it nor a fork changes a result."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
from numba.core.compiler_lock import global_compiler_lock

from tinygrad_norm import forks
from tinygrad_norm.cli import main
from tinygrad_norm.kernels.cpu import threads

# A training step whose kernels have enough work for all threads: a product, a norm, a convolution.
STEP = """
import hashlib
import numpy as np
from tinygrad_norm import Tensor, nn, ops, random
from tinygrad_norm.kernels.cpu import threads
random.manual_seed(0)
rng = np.random.default_rng(0)
images = Tensor(rng.normal(size=(8, 3, 64, 64)), dtype="float32")
model = nn.Sequential(nn.Conv2D(3, 16, 3), nn.BatchNorm2D(16, activation="relu"), nn.Flatten(), nn.Linear(61504, 40))
ops.cross_entropy(model(images), rng.integers(0, 40, 8)).backward()
digest = hashlib.sha256(b"".join(p.grad.raw.tobytes() for p in model.parameters()))
print(threads.layer(), digest.hexdigest())
"""


def run(code: str, **environment: str) -> str:
    """What a process of its own prints."""
    environment = os.environ | environment
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    return done.stdout.strip()


def test_tbb_shares_out_the_work_where_it_is_installed():
    try:
        version("tbb")
    except PackageNotFoundError:
        assert threads.layer() in ("omp", "workqueue")
    else:
        assert threads.layer() == "tbb"


def test_info_names_the_layer(capsys):
    assert main(["info"]) == 0
    name = {"tbb": "TBB", "omp": "OpenMP", "workqueue": "Numba's workqueue"}[threads.layer()]
    assert f"Numba, compiled on first use; {name} shares their work" in capsys.readouterr().out


@pytest.mark.parametrize("asked", ["omp", "workqueue"])
def test_another_layer_can_be_asked_for_and_gives_the_same_bits(asked):
    layer, digest = run(STEP, NUMBA_THREADING_LAYER=asked).split()
    assert layer == asked
    assert digest == run(STEP, NUMBA_NUM_THREADS="3").split()[1]


def test_a_library_that_does_not_load_leaves_the_next_layer(monkeypatch):
    def refuse(path, mode):
        raise OSError("wrong ELF class")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not threads._load_tbb()


def test_no_fork_meets_a_lock_of_the_kernels_that_another_thread_holds():
    registered = [reference() for reference in forks._locks]
    team, compiling = registered.index(threads.team), registered.index(global_compiler_lock)
    assert team < compiling  # whoever has the team may have to wait for a compilation, never the other way round
    assert threads.single_threaded_blas._lock in registered
