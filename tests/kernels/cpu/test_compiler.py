"""When kernels run with all threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from numba import prange

from tinygrad_norm.kernels.cpu import compiler, threads

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


def test_a_forked_process_goes_on_with_one_thread(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "error", "-c", FORK], check=True, env=environment)


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


def test_the_threads_are_free_again_after_an_error():
    with pytest.raises(TypeError):
        compiler.Kernel(fill)(compiler.LARGE)
    assert not threads.team.locked()
