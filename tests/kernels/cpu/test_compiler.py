"""How kernels are compiled and cached, and when they run with all threads."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import numba
import numpy as np
import pytest
from numba import prange
from numba.core import event

from tinygrad_norm.kernels.cpu import compiler, threads

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

FORK = """
import os
import numpy as np
from tinygrad_norm.kernels import cpu
from tinygrad_norm.kernels.cpu import compiler, threads
compiler.LARGE = 1
z = np.arange(-3.0, 3.0)
y = cpu.activate(z, ("relu", 0.0))
if pid := os.fork():
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
else:
    os._exit(int((cpu.activate(z, ("relu", 0.0)) != y).any()))
"""


def run(code, cache):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment)


def test_compiling_is_announced_once_and_the_cache_is_silent(tmp_path):
    first, second = run(ACTIVATE, tmp_path), run(ACTIVATE, tmp_path)
    assert first.stderr == "tinygrad_norm: compiling kernels, which takes a while the first time\n"
    assert first.stdout == second.stdout == second.stderr == ""


def test_a_forked_process_goes_on_with_one_thread(tmp_path):
    run(FORK, tmp_path)


def fill(y):
    for i in prange(y.size):
        y[i] = i


@pytest.fixture
def kernel(monkeypatch):
    """A kernel, and the list of its two forms in the order of their use."""
    kernel, used = compiler.Kernel(fill), []

    def watched(name, form):
        def call(y):
            used.append(name)
            form(y)

        return call

    for name in ("serial", "parallel"):
        monkeypatch.setattr(kernel, name, watched(name, getattr(kernel, name)))
    return kernel, used


@pytest.mark.parametrize(("size", "form"), [(compiler.LARGE - 1, "serial"), (compiler.LARGE, "parallel")])
def test_the_size_of_the_work_decides(kernel, size, form):
    run_kernel, used = kernel
    y = np.empty(100)
    run_kernel(size, y)
    np.testing.assert_array_equal(y, np.arange(100))
    assert used == [form]


def test_only_one_caller_at_a_time_gets_all_threads(kernel):
    run_kernel, used = kernel
    y = np.empty(100)
    with threads.team:
        other = threading.Thread(target=run_kernel, args=(compiler.LARGE, y))
        other.start()
        other.join()
    run_kernel(compiler.LARGE, y)
    assert used == ["serial", "parallel"]


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


def test_the_threads_are_free_again_after_an_error():
    with pytest.raises(TypeError):
        compiler.Kernel(fill)(compiler.LARGE)
    assert not threads.team.locked()
