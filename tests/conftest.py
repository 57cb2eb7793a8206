"""What every test stands on: fixed seeds, no window, and one hypothesis profile."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

os.environ["MPLBACKEND"] = "Agg"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started deaf to Ctrl-C

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("repeatable")

# What compares with, or consists of, an optional package is collected where that package is installed;
# .ci/run visits every combination.
GRAPHVIZ = (
    "viz/test_drawing",
    "viz/test_html",
    "viz/test_norm_page",
    "viz/test_layout",
    "viz/test_levels",
    "cli/test_graphs",
)
_COMPILERS = "jax", "onnx", "onnxruntime", "torch"
collect_ignore_glob = [
    *(["parity/*"] if find_spec("torch") is None else []),
    *(["conformance/test_frameworks_jax.py"] if find_spec("jax") is None else []),
    *(["conformance/test_compiling_peers.py"] if any(find_spec(name) is None for name in _COMPILERS) else []),
    *(["conformance/test_frameworks_onnx.py"] if find_spec("onnx") is None or find_spec("onnxruntime") is None else []),
    *(["browser"] if find_spec("playwright") is None else []),
    *([f"{name}.py" for name in GRAPHVIZ] if find_spec("pygraphviz") is None else []),
    *(["kernels/cpu/*", "derivation/test_outer.py"] if find_spec("numba") is None else []),
    *(
        [
            "test_figures.py",
            "test_notebooks.py",
            "training/test_curves.py",
            "training/test_confusion_plot.py",
            "viz/test_timeline_picture.py",
        ]
        if find_spec("matplotlib") is None
        else []
    ),
    *(["test_notebooks_in_marimo.py"] if find_spec("marimo") is None or find_spec("matplotlib") is None else []),
    *(["data/test_folder.py"] if find_spec("PIL") is None else []),
    *(["training/test_tensorboard.py"] if find_spec("tensorboardX") is None else []),
]


def pytest_report_header() -> str:
    """Say what is left out, so that nothing is skipped silently."""
    return f"not collected, for want of an optional package: {', '.join(collect_ignore_glob) or 'nothing'}"


@pytest.fixture(autouse=True)
def _seed():
    """Let no test depend on how much randomness the tests before it drew."""
    from tinygrad_norm import random

    random.manual_seed(0)


@pytest.fixture
def plain_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernels of norms, each of which takes seconds to compile: for what does not depend on who computes."""
    from tinygrad_norm import kernels

    monkeypatch.setattr(kernels, "_use_cpu", False)


@pytest.fixture
def wait_for_line() -> Callable[..., str]:
    """Waits for a line on a program's standard error, and not for ever."""

    def wait(process: subprocess.Popen[str], beginning: str, seconds: float = 60) -> str:
        others, timer = [], threading.Timer(seconds, process.kill)
        timer.start()
        try:
            for line in process.stderr:
                if line.startswith(beginning):
                    return line
                others.append(line)
        finally:
            timer.cancel()
        return pytest.fail(f"no line began with {beginning!r} in {seconds:g} s, only: {''.join(others)}")

    return wait


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded source of inputs and of random cotangents."""
    return np.random.default_rng(0)


@pytest.fixture
def few_digits(tmp_path: Path) -> Path:
    """A folder with 120 digits to train with and 40 to test with, for runs of a second."""
    from tinygrad_norm.data import digits

    folder = tmp_path / "few-digits"
    folder.mkdir()
    for split, count in (("train", 12), ("test", 4)):
        images, labels = digits(split)[:]
        chosen = np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(10)])
        np.save(folder / f"{split}_images.npy", images[chosen])
        np.save(folder / f"{split}_labels.npy", labels[chosen])
    return folder
