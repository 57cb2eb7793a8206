"""While a kernel is compiled, the user is told, and Ctrl-C is kept."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import Any

import numba
import pytest
from numba.core import event

from tinygrad_norm.kernels.cpu import compiler

ACTIVATE = """
import numpy as np
from tinygrad_norm.kernels import cpu
z, relu = np.array([-1.0, 2.0]), ("relu", 0.0)
assert cpu.activate(z, ("silu", 0.0)).sum() > 0
assert (cpu.activate(z, relu) == [0, 2]).all()
assert (cpu.activate(z, ("leaky_relu", 0.5)) == [-0.5, 2]).all()
assert (cpu.activation_gradient(z, z, relu) == [0, 2]).all()
assert (cpu.linear(z[None], np.eye(2), None, relu) == [0, 2]).all()
"""


def run(code, cache):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment)


def test_compiling_is_announced_once_and_the_cache_is_silent(tmp_path):
    first, second = run(ACTIVATE, tmp_path), run(ACTIVATE, tmp_path)
    assert first.stderr == "tinygrad_norm: compiling kernels, which takes a while the first time\n"
    assert first.stdout == second.stdout == second.stderr == ""


def compiled():
    """A function like those of the kernels, which no cache holds."""

    def one_more(x):
        return x + 1

    one_more.__module__ = compiler.__name__
    return numba.njit(one_more)


@pytest.fixture
def deaf():
    """Ctrl-C while a kernel is compiled, in a callback from which no exception comes out, as those of C code."""

    class Press(event.Listener):
        times = 1

        def on_start(self, event):
            with contextlib.suppress(KeyboardInterrupt):
                for _ in range(self.times):
                    signal.raise_signal(signal.SIGINT)

        def on_end(self, event):
            pass

    press = Press()
    with event.install_listener("numba:compile", press):
        yield press


def test_ctrl_c_while_a_kernel_is_compiled_is_not_lost(deaf):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        compiled()(1)
    assert signal.getsignal(signal.SIGINT) is handler
    deaf.times = 0
    assert compiled()(1) == 2  # nothing is left of it


def test_functions_of_others_are_compiled_in_silence(capfd):
    """A function that was made from text has no module."""
    names: dict[str, Any] = {}
    exec("def one(x): return x + 1", names)
    assert numba.njit(names["one"])(1) == 2
    assert capfd.readouterr().err == ""
