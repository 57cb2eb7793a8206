"""Kernels that name their vectors, on registers of 16, 32 and 64 bytes, as far as this machine has them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
from llvmlite.binding import get_host_cpu_features

CPUS = {"x86-64": "sse2", "haswell": "avx2", "skylake-avx512": "avx512f"}
"""Processors whose widest registers have 16, 32 and 64 bytes, and what they have that others may lack."""

RUN = """
import sys
import numpy as np
from tinygrad_norm.kernels.cpu import depthwise, gemm
rng = np.random.default_rng(0)
x, places = rng.normal(size=(2, 9, 7, 21)).astype(np.float32), rng.normal(size=(3, 3, 21)).astype(np.float32)
y = depthwise.correlate(x, places, (-1, -1), (1, 1), (1, 1), (1, 1), (9, 7))
gradient = depthwise.weight_gradient(y, x, (3, 3), (-1, -1), (1, 1), (1, 1))
gemm._SHORT_WORK, product = 1, np.empty((1, 126, 19), np.float32)
gemm.gemm(x.reshape(1, -1, 21), rng.normal(size=(1, 21, 19)).astype(np.float32), product)
np.savez(sys.argv[1], y=y, gradient=gradient, product=product)
"""


def test_the_width_of_registers_changes_no_bit(tmp_path):
    features = get_host_cpu_features()
    results = {}
    for cpu in ["", *(cpu for cpu, feature in CPUS.items() if features.get(feature))]:
        path = tmp_path / f"{cpu}.npz"
        environment = os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        if not cpu:
            del environment["NUMBA_CPU_NAME"]
        subprocess.run([sys.executable, "-c", RUN, path], check=True, capture_output=True, env=environment)
        results[cpu] = np.load(path)
    for cpu, found in results.items():
        for name, expected in results[""].items():
            if cpu == "x86-64":  # which rounds products before it adds them
                np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-4)
            else:
                np.testing.assert_array_equal(found[name], expected)
